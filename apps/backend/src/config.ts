import { services } from "@event-flow/events";
import { databaseEnvironment } from "@event-flow/postgres";
import { readEnvironment, serviceEnvironment, sharedToken } from "@event-flow/service";

const environment = {
  ...serviceEnvironment(services.backend.port),
  ...databaseEnvironment,
  /** What the recurring-task service shows when it wants a next task made. */
  NEXT_TASK_TOKEN: sharedToken(),
};

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(environment, env);
}
