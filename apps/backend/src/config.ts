import { services } from "@event-flow/events";
import { databaseEnvironment } from "@event-flow/postgres";
import { readEnvironment, serviceEnvironment } from "@event-flow/service";

const environment = { ...serviceEnvironment(services.backend.port), ...databaseEnvironment };

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(environment, env);
}
