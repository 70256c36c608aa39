import { services } from "@event-flow/events";
import { databaseSecrets, isUnavailable } from "@event-flow/postgres";
import { createSubscriber } from "@event-flow/subscriber";
import { noteChanges } from "./changes.ts";
import type { Config } from "./config.ts";
import { checkDatabase, type Database } from "./database.ts";
import { statsRoutes } from "./routes.ts";

/** Builds the analytics service: notes what becomes of tasks, and works figures out of that. Opens no connection. */
export function buildApp(config: Config, database: Database) {
  return createSubscriber({
    identity: services.analyticsService,
    title: "Analytics",
    description: "Figures of what becomes of tasks.",
    config,
    secrets: databaseSecrets(config.DATABASE_URL),
    handlers: noteChanges(database),
    isTransient: isUnavailable,
    routes: (scope) => {
      statsRoutes(scope, database);
    },
    readiness: () => ({ database: () => checkDatabase(database) }),
  });
}
