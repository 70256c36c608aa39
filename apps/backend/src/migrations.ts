import type { Migrations } from "@event-flow/postgres";
import { sql, type Kysely } from "kysely";

/** In the order of their names. What has been released is never edited: a change is a new migration. */
export const migrations: Migrations = {
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
