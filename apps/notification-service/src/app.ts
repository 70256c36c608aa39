import { deadLetterKeys, services } from "@event-flow/events";
import { createSubscriber } from "@event-flow/subscriber";
import type { Config } from "./config.ts";
import { handlers } from "./handlers.ts";
import { notificationRoutes } from "./routes.ts";

/** Builds the notification service: turns each event into a notification in the state store. Opens no connection. */
export function buildApp(config: Config) {
  return createSubscriber({
    identity: services.notificationService,
    title: "Notifications",
    description: "What each user was notified of.",
    config,
    handlers,
    routes: notificationRoutes,
    // Any key: what counts is that the store answers.
    readiness: (dapr) => ({ stateStore: () => dapr.getState(deadLetterKeys.list).then(() => undefined) }),
  });
}
