import { services } from "@event-flow/events";
import { readEnvironment } from "@event-flow/service";
import { subscriberEnvironment } from "@event-flow/subscriber";

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(subscriberEnvironment(services.notificationService), env);
}
