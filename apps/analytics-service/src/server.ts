import { migrateWhenReachable } from "@event-flow/postgres";
import { serve, startOrExit } from "@event-flow/service";
import { buildApp } from "./app.ts";
import { readConfig } from "./config.ts";
import { createDatabase, migrations } from "./database.ts";

await startOrExit(async () => {
  const config = readConfig(process.env);
  const database = createDatabase(config.DATABASE_URL);
  const app = await buildApp(config, database);
  app.addHook("onClose", () => database.destroy());
  await serve(app, config.PORT, () =>
    migrateWhenReachable(database, migrations, app.log, config.DATABASE_START_TIMEOUT_SECONDS),
  );
});
