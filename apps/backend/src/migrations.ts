import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyBaseLogger } from "fastify";
import { sql, type Kysely } from "kysely";
import { Migrator, type Migration } from "kysely/migration";
import type { Database } from "./database.ts";

/** In the order of their names. What has been released is never edited: a change is a new migration. */
const migrations: Record<string, Migration> = {
  "0001_tasks": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("tasks")
        .addColumn("id", "bigint", (column) => column.generatedAlwaysAsIdentity().primaryKey())
        .addColumn("user_id", "uuid", (column) => column.notNull())
        .addColumn("title", "text", (column) => column.notNull())
        .addColumn("description", "text")
        .addColumn("completed", "boolean", (column) => column.notNull().defaultTo(false))
        .addColumn("priority_id", "bigint")
        .addColumn("due_date", "timestamptz")
        .addColumn("created_at", "timestamptz", (column) => column.notNull().defaultTo(sql`now()`))
        .addColumn("updated_at", "timestamptz", (column) => column.notNull().defaultTo(sql`now()`))
        .execute();
      // A list is one user's, page by page in the order of ids.
      await db.schema.createIndex("tasks_user_id_id").on("tasks").columns(["user_id", "id"]).execute();
    },
  },
  "0002_outbox": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable("tasks")
        .addColumn("version", "integer", (column) => column.notNull().defaultTo(1))
        .execute();
      // The changes whose events the broker doesn't have yet, in the order in which those of each task were made. A queue: each
      // row is written once, read and deleted, so its pages need no room for updates. Each thousand dead rows are worth a vacuum
      // at full speed. Left to the defaults, which follow the table's size and pause, a day's dead rows would lie before the
      // first live one of its index.
      await sql`
        create table outbox (
          id bigint generated always as identity primary key,
          event_id uuid not null default gen_random_uuid(),
          type text not null,
          traceparent text not null,
          task json not null
        ) with (
          autovacuum_vacuum_scale_factor = 0,
          autovacuum_vacuum_threshold = 1000,
          autovacuum_vacuum_cost_delay = 0
        )
      `.execute(db);
    },
  },
  "0003_recurrence": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable("tasks")
        .addColumn("recurrence_rule", "text")
        .addColumn("recurrence_time_zone", "text")
        .addColumn("recurrence_start", "timestamptz")
        .execute();
      // Its key is what makes sure that a task is followed once. No key of another table for the next one, which may go.
      await db.schema
        .createTable("successions")
        .addColumn("predecessor_id", "bigint", (column) =>
          column.primaryKey().references("tasks.id").onDelete("cascade"),
        )
        .addColumn("task_id", "bigint", (column) => column.notNull())
        .execute();
    },
  },
};

/** Brings the database's schema up to date. Replicas that start together take turns by Kysely's advisory lock. */
async function migrate(database: Database): Promise<string[]> {
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
export async function migrateWhenReachable(
  database: Database,
  log: FastifyBaseLogger,
  timeoutSeconds: number,
): Promise<void> {
  const deadline = Date.now() + timeoutSeconds * 1_000;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const applied = await migrate(database);
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
