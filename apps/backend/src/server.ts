import { migrateWhenReachable } from "@event-flow/postgres";
import { serve, startOrExit } from "@event-flow/service";
import { buildApp } from "./app.ts";
import { readConfig } from "./config.ts";
import { migrations } from "./migrations.ts";

await startOrExit(async () => {
  const config = readConfig(process.env);
  const { app, database, relay } = await buildApp(config);
  await serve(app, config.PORT, async () => {
    await migrateWhenReachable(database, migrations, app.log, config.DATABASE_START_TIMEOUT_SECONDS);
    relay.start();
  });
});
