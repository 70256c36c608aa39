import { serve, startOrExit } from "@event-flow/service";
import { buildApp } from "./app.ts";
import { readConfig } from "./config.ts";
import { migrateWhenReachable } from "./migrations.ts";

await startOrExit(async () => {
  const config = readConfig(process.env);
  const { app, database } = await buildApp(config);
  await serve(app, config.PORT, () => migrateWhenReachable(database, app.log, config.DATABASE_START_TIMEOUT_SECONDS));
});
