import { createApp, DaprClient } from "@event-flow/service";
import { sql } from "kysely";
import type { Config } from "./config.ts";
import { createDatabase } from "./database.ts";
import { taskRoutes } from "./routes.ts";

/** Builds the backend: the tasks' API over PostgreSQL, which publishes each change. Opens no connection. */
export async function buildApp(config: Config) {
  const app = await createApp({
    title: "Tasks",
    description: "Each user's tasks. Every change is published as an event.",
    logLevel: config.LOG_LEVEL,
    jwtSecret: config.JWT_SECRET,
    secrets: [config.DATABASE_URL, databasePassword(config.DATABASE_URL), config.DAPR_API_TOKEN ?? ""],
    readiness: {
      database: async () => {
        await sql`select 1`.execute(database);
      },
      sidecar: () => dapr.checkOutbound(),
    },
  });
  const database = createDatabase(config.DATABASE_URL, (err) => {
    app.log.warn({ err }, "Lost an idle connection to the database");
  });
  const dapr = new DaprClient({ port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN });

  await app.register((scope, _options, done) => {
    taskRoutes(scope, { database, dapr });
    done();
  });
  app.addHook("onClose", async () => {
    await Promise.all([database.destroy(), dapr.close()]);
  });
  return { app, database };
}

function databasePassword(url: string): string {
  return decodeURIComponent(new URL(url).password);
}
