import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyBaseLogger } from "fastify";
import type { Kysely } from "kysely";
import { Migrator, type Migration } from "kysely/migration";

/** In the order of their names. What has been released is never edited: a change is a new migration. */
export type Migrations = Readonly<Record<string, Migration>>;

/** Brings the database's schema up to date. Replicas that start together take turns by Kysely's advisory lock. */
async function migrate<Schema>(database: Kysely<Schema>, migrations: Migrations): Promise<string[]> {
  const migrator = new Migrator({
    db: database,
    provider: { getMigrations: () => Promise.resolve(migrations) },
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined) {
    throw error instanceof Error ? error : new Error("Kysely could not migrate", { cause: error });
  }
  return (results ?? []).map(({ migrationName }) => migrationName);
}

/** Migrates, and waits for a database that is not there yet: the pods of a new cluster start in any order. */
export async function migrateWhenReachable<Schema>(
  database: Kysely<Schema>,
  migrations: Migrations,
  log: FastifyBaseLogger,
  timeoutSeconds: number,
): Promise<void> {
  const deadline = Date.now() + timeoutSeconds * 1_000;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const applied = await migrate(database, migrations);
      log.info({ applied, attempt }, "The database's schema is up to date");
      return;
    } catch (err) {
      const wait = Math.min(250 * 2 ** (attempt - 1), 5_000);
      if (Date.now() + wait > deadline) {
        throw new Error(`The database could not be migrated within ${timeoutSeconds} s`, { cause: err });
      }
      log.warn({ reason: (err as Error).message, attempt, retryInMs: wait }, "The database is not ready yet");
      await sleep(wait);
    }
  }
}
