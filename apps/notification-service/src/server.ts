import { serve, startOrExit } from "@event-flow/service";
import { buildApp } from "./app.ts";
import { readConfig } from "./config.ts";

await startOrExit(async () => {
  const config = readConfig(process.env);
  await serve(await buildApp(config), config.PORT);
});
