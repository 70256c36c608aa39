import { services } from "@event-flow/events";
import { readEnvironment, sharedToken } from "@event-flow/service";
import { subscriberEnvironment } from "@event-flow/subscriber";

const environment = {
  ...subscriberEnvironment(services.recurringTaskService),
  /** What it shows to the backend. */
  NEXT_TASK_TOKEN: sharedToken(),
};

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(environment, env);
}
