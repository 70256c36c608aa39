import { services } from "@event-flow/events";
import { readEnvironment } from "@event-flow/service";
import { subscriberEnvironment } from "@event-flow/subscriber";
import { z } from "zod";

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(
    {
      ...subscriberEnvironment(services.notificationService),
      /** Whether the sidecar has the binding for e-mail. */
      EMAIL: z.enum(["on", "off"], "must be on or off").default("off"),
    },
    env,
  );
}
