import { secret } from "@event-flow/service";
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

/** The environment variables of a service that has a database. */
export const databaseEnvironment = {
  DATABASE_URL: z.string(databaseUrl).refine(isPostgresUrl, databaseUrl).meta(secret),
  /** How long to wait at the start for a database that is not there yet. */
  DATABASE_START_TIMEOUT_SECONDS: z
    .string()
    .regex(/^\d{1,4}$/, "must be a whole number of seconds, at most 9999")
    .transform(Number)
    .default(60),
};

/** What no log line may show of a database's URL. */
export function databaseSecrets(url: string): string[] {
  return [url, decodeURIComponent(new URL(url).password)];
}
