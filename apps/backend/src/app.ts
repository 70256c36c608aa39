import { services } from "@event-flow/events";
import { databaseSecrets } from "@event-flow/postgres";
import { createApp, DaprClient, openTracing } from "@event-flow/service";
import type { Config } from "./config.ts";
import { createDatabase } from "./database.ts";
import { createMeter, showBacklog } from "./metrics.ts";
import { changeWithOutbox, readBacklog } from "./outbox.ts";
import { nextTaskRoutes } from "./next-task.ts";
import { Relay } from "./relay.ts";
import { taskRoutes } from "./routes.ts";

/** Builds the backend: the tasks' API over PostgreSQL, and the relay that publishes each change. Opens no connection. */
export async function buildApp(config: Config) {
  const tracing = await openTracing(services.backend.name, config);
  const app = await createApp({
    title: "Tasks",
    description: "Each user's tasks. Every change is published as an event.",
    logLevel: config.LOG_LEVEL,
    users: config,
    appApiToken: config.APP_API_TOKEN,
    secrets: [...databaseSecrets(config.DATABASE_URL), config.DAPR_API_TOKEN ?? "", config.NEXT_TASK_TOKEN],
    // Not the sidecar: without it changes are taken, and their events follow. How many wait is told besides.
    readiness: { database: async () => ({ outbox: await readBacklog(database) }) },
    tracing,
  });
  const database = createDatabase(config.DATABASE_URL, (err) => {
    app.log.warn({ err }, "Lost an idle connection to the database");
  });
  showBacklog(app.metrics, () => readBacklog(database));
  const dapr = new DaprClient({ port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN, tracing });
  const relay = new Relay({
    databaseUrl: config.DATABASE_URL,
    dapr,
    log: app.log,
    meter: createMeter(app.metrics),
    tracing,
  });

  const change = changeWithOutbox(database, relay, tracing);
  await app.register((scope, _options, done) => {
    taskRoutes(scope, { database, change });
    done();
  });
  await app.register((scope, _options, done) => {
    nextTaskRoutes(scope, { database, change, appApiToken: config.APP_API_TOKEN, token: config.NEXT_TASK_TOKEN });
    done();
  });
  app.addHook("onClose", async () => {
    // The last requests were answered; what they committed is relayed yet.
    await relay.stop();
    await Promise.all([database.destroy(), dapr.close()]);
  });
  return { app, database, relay };
}
