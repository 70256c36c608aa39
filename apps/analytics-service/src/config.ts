import { services } from "@event-flow/events";
import { databaseEnvironment } from "@event-flow/postgres";
import { readEnvironment } from "@event-flow/service";
import { subscriberEnvironment } from "@event-flow/subscriber";

const environment = { ...subscriberEnvironment(services.analyticsService), ...databaseEnvironment };

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(environment, env);
}
