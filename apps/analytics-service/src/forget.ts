/**
 * Forgets every change, so that the figures are made anew from the topics: for when those are read again from their start, with
 * the service stopped. Without it, reading them again only adds what is missing.
 */
import { startOrExit } from "@event-flow/service";
import { sql } from "kysely";
import { readConfig } from "./config.ts";
import { createDatabase } from "./database.ts";

await startOrExit(async () => {
  const database = createDatabase(readConfig(process.env).DATABASE_URL);
  await sql`truncate changes`.execute(database);
  await database.destroy();
  console.log("Every change is forgotten.");
});
