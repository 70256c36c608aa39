import { serve, startOrExit } from "@event-flow/service";
import { buildApp } from "./app.ts";
import { readConfig } from "./config.ts";
import { migrateWhenReachable } from "./migrations.ts";

await startOrExit(async () => {
  const config = readConfig(process.env);
  const { app, database, relay } = await buildApp(config);
  await serve(app, config.PORT, async () => {
    await migrateWhenReachable(database, app.log, config.DATABASE_START_TIMEOUT_SECONDS);
    relay.start();
  });
});
