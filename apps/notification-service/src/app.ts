import { deadLetterKeys } from "@event-flow/events";
import { createApp, DaprClient } from "@event-flow/service";
import type { Config } from "./config.ts";
import { notificationRoutes } from "./routes.ts";
import { subscriptionRoutes } from "./subscriptions.ts";

/** Builds the notification service: turns each event into a notification in the state store. Opens no connection. */
export async function buildApp(config: Config) {
  const app = await createApp({
    title: "Notifications",
    description: "What each user was notified of.",
    logLevel: config.LOG_LEVEL,
    jwtSecret: config.JWT_SECRET,
    secrets: [config.DAPR_API_TOKEN ?? "", config.APP_API_TOKEN ?? ""],
    readiness: {
      sidecar: () => dapr.checkOutbound(),
      // Any key: what counts is that the store answers.
      stateStore: () => dapr.getState(deadLetterKeys.list).then(() => undefined),
    },
  });
  const dapr = new DaprClient({ port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN });

  await app.register((scope, _options, done) => {
    notificationRoutes(scope, dapr);
    done();
  });
  await app.register((scope, _options, done) => {
    subscriptionRoutes(scope, { dapr, appApiToken: config.APP_API_TOKEN });
    done();
  });
  app.addHook("onClose", () => dapr.close());
  return app;
}
