import { services } from "@event-flow/events";
import { readEnvironment, secret, serviceEnvironment, sharedToken } from "@event-flow/service";
import { z } from "zod";

const databaseUrl = "must be a URL like postgres://user:password@host:5432/database";

function isPostgresUrl(value: string): boolean {
  try {
    const url = new URL(value);
    // A percent sign that encodes nothing would fail only when connecting.
    decodeURIComponent(`${url.username}${url.password}${url.pathname}`);
    return ["postgres:", "postgresql:"].includes(url.protocol) && url.hostname !== "" && url.pathname.length > 1;
  } catch {
    return false;
  }
}

const environment = {
  ...serviceEnvironment(services.backend.port),
  DATABASE_URL: z.string(databaseUrl).refine(isPostgresUrl, databaseUrl).meta(secret),
  /** How long to wait at the start for a database that is not there yet. */
  DATABASE_START_TIMEOUT_SECONDS: z
    .string()
    .regex(/^\d{1,4}$/, "must be a whole number of seconds, at most 9999")
    .transform(Number)
    .default(60),
  /** What the recurring-task service shows when it wants a next task made. */
  NEXT_TASK_TOKEN: sharedToken(),
};

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(environment, env);
}
