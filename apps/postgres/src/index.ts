export { answerUnavailable, isUnavailable } from "./availability.ts";
export { openDatabase, type DatabaseOptions } from "./database.ts";
export { databaseEnvironment, databaseSecrets } from "./environment.ts";
export { migrateWhenReachable, type Migrations } from "./migrations.ts";
