/**
 * What a good engineer would write without an outbox: this backend, whose requests publish by Dapr's official SDK after the
 * commit. An event whose publishing fails is logged and lost.
 */
import { randomUUID } from "node:crypto";
import { CommunicationProtocolEnum, DaprClient } from "@dapr/dapr";
import { components, topic } from "@event-flow/events";
import { migrateWhenReachable } from "@event-flow/postgres";
import { createApp, serve, startOrExit } from "@event-flow/service";
import { sql } from "kysely";
import { readConfig } from "../../../apps/backend/src/config.ts";
import { createDatabase, type Database, type TaskRow } from "../../../apps/backend/src/database.ts";
import { eventOf, type TaskEvent } from "../../../apps/backend/src/events.ts";
import { migrations } from "../../../apps/backend/src/migrations.ts";
import type { Change } from "../../../apps/backend/src/outbox.ts";
import { taskRoutes } from "../../../apps/backend/src/routes.ts";

function changeAndPublish(database: Database, publish: (event: TaskEvent) => Promise<void>): Change {
  return async (about, statement) => {
    const { rows } = await sql<TaskRow>`${statement}`.execute(database);
    const [task] = rows;
    if (task !== undefined) await publish(eventOf({ ...about, event_id: randomUUID(), task }));
    return task;
  };
}

await startOrExit(async () => {
  const config = readConfig(process.env);
  const app = await createApp({
    title: "Tasks",
    description: "Each user's tasks. Every change is published by its request.",
    logLevel: config.LOG_LEVEL,
    users: config,
    appApiToken: config.APP_API_TOKEN,
    secrets: [],
    readiness: {},
  });
  const database = createDatabase(config.DATABASE_URL, (err) => {
    app.log.warn({ err }, "Lost an idle connection to the database");
  });
  const dapr = new DaprClient({
    daprHost: "127.0.0.1",
    daprPort: String(config.DAPR_HTTP_PORT),
    communicationProtocol: CommunicationProtocolEnum.HTTP,
  });

  const publish = async (event: TaskEvent) => {
    const { error } = await dapr.pubsub.publish(components.pubsub, topic(event.type), event, {
      contentType: "application/cloudevents+json",
      metadata: { partitionKey: String(event.data.task_id) },
    });
    if (error === undefined) app.log.info({ eventId: event.id, type: event.type }, `Published event: ${event.type}`);
    else app.log.error({ err: error, eventId: event.id }, "The event could not be published");
  };

  await app.register((scope, _options, done) => {
    taskRoutes(scope, { database, change: changeAndPublish(database, publish) });
    done();
  });
  app.addHook("onClose", async () => {
    await Promise.all([database.destroy(), dapr.stop()]);
  });
  await serve(app, config.PORT, () =>
    migrateWhenReachable(database, migrations, app.log, config.DATABASE_START_TIMEOUT_SECONDS),
  );
});
