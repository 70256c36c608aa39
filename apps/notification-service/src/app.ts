import { deadLetterKeys, services } from "@event-flow/events";
import { createSubscriber } from "@event-flow/subscriber";
import type { Config } from "./config.ts";
import { Deliverer } from "./deliverer.ts";
import { emailChannel } from "./email.ts";
import { handlers, type Reach } from "./handlers.ts";
import { notificationRoutes } from "./routes.ts";
import { Streams } from "./stream.ts";

/** Builds the notification service: turns each event into a notification in the state store. Opens no connection. */
export function buildApp(config: Config) {
  let reach: Reach | undefined;
  return createSubscriber({
    identity: services.notificationService,
    title: "Notifications",
    description: "What each user was notified of, and how users are reached.",
    config,
    handlers: handlers(() => {
      if (reach === undefined) throw new Error("The routes are registered first");
      return reach;
    }),
    routes: (scope, dapr) => {
      const channels = [...(config.EMAIL === "on" ? [emailChannel(dapr)] : [])];
      const deliverer = new Deliverer(channels, { dapr, log: scope.log, registry: scope.metrics });
      const streams = new Streams(dapr);
      scope.addHook("onListen", (done) => {
        deliverer.start();
        done();
      });
      scope.addHook("preClose", (done) => {
        streams.stop();
        done();
      });
      scope.addHook("onClose", () => deliverer.stop());
      reach = {
        deliverer,
        told: (userId) => {
          streams.told(userId);
        },
      };
      notificationRoutes(scope, { dapr, streams, available: deliverer.available });
    },
    // Any key: what counts is that the store answers.
    readiness: (dapr) => ({ stateStore: () => dapr.getState(deadLetterKeys.list).then(() => undefined) }),
  });
}
