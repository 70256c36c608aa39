import { openDatabase, type Migrations } from "@event-flow/postgres";
import { sql, type Kysely } from "kysely";

/** One change of a task, as its event tells of it. */
interface ChangesTable {
  user_id: string;
  task_id: number;
  version: number;
  type: string;
  at: string;
  /** Whether the task was completed after the change; null if it was gone. */
  completed: boolean | null;
  /** Whether the event says by when the task is due: not all do. */
  due_known: boolean;
  due_date: string | null;
}

export type Database = Kysely<{ changes: ChangesTable }>;

/** In the order of their names. What has been released is never edited: a change is a new migration. */
export const migrations: Migrations = {
  "0001_changes": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("changes")
        .addColumn("user_id", "uuid", (column) => column.notNull())
        .addColumn("task_id", "bigint", (column) => column.notNull())
        .addColumn("version", "integer", (column) => column.notNull())
        .addColumn("type", "text", (column) => column.notNull())
        .addColumn("at", "timestamptz", (column) => column.notNull())
        .addColumn("completed", "boolean")
        .addColumn("due_known", "boolean", (column) => column.notNull())
        .addColumn("due_date", "timestamptz")
        // In the order in which it's read: a user's tasks, each one's changes.
        .addPrimaryKeyConstraint("changes_pkey", ["user_id", "task_id", "version"])
        .execute();
    },
  },
};

/** Opens nothing yet. */
export function createDatabase(url: string): Database {
  // A lost idle connection is opened again by who needs one, and readiness tells when that can't be done.
  return openDatabase({ url, applicationName: "event-flow-analytics", onIdleError: () => undefined });
}

/** Resolves if the database answers. */
export async function checkDatabase(database: Database): Promise<void> {
  await sql`select 1`.execute(database);
}
