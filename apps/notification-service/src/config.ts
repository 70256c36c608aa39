import { services } from "@event-flow/events";
import { readEnvironment, serviceEnvironment, token } from "@event-flow/service";

const environment = {
  ...serviceEnvironment(services.notificationService.port),
  /** What the sidecar shows with each call; the injector sets it with `dapr.io/app-token-secret`. */
  APP_API_TOKEN: token(),
};

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(environment, env);
}
