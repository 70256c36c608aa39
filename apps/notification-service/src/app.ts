import { deadLetterKeys, services } from "@event-flow/events";
import { createSubscriber } from "@event-flow/subscriber";
import type { Config } from "./config.ts";
import { Deliverer } from "./deliverer.ts";
import { emailChannel } from "./email.ts";
import { handlers, type Reach } from "./handlers.ts";
import { PushEndpoints } from "./push-endpoints.ts";
import { pushChannel } from "./push.ts";
import { notificationRoutes } from "./routes.ts";
import { Streams } from "./stream.ts";
import { vapidKeys } from "./vapid.ts";

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
      const push = webPush(config);
      const channels = [
        ...(config.EMAIL === "on" ? [emailChannel(dapr)] : []),
        ...(push === undefined ? [] : [pushChannel(push)]),
      ];
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
      scope.addHook("onClose", async () => {
        await deliverer.stop();
        await push?.endpoints.close();
      });
      reach = {
        deliverer,
        told: (userId) => {
          streams.told(userId);
        },
      };
      notificationRoutes(scope, { dapr, streams, available: deliverer.available, push });
    },
    secrets: [config.VAPID_SECRET ?? ""],
    // Any key: what counts is that the store answers.
    readiness: (dapr) => ({ stateStore: () => dapr.getState(deadLetterKeys.list).then(() => undefined) }),
  });
}

function webPush({ VAPID_SECRET, VAPID_SUBJECT: subject, PUSH_ENDPOINTS_ALLOWED }: Config) {
  if (VAPID_SECRET === undefined || subject === undefined) return undefined;
  const keys = vapidKeys(VAPID_SECRET);
  return { keys, publicKey: keys.publicKey, subject, endpoints: new PushEndpoints(PUSH_ENDPOINTS_ALLOWED) };
}
