import { sql, type Kysely } from "kysely";
import type { Schema, TaskRow } from "./database.ts";

/** The columns that a user writes. */
export interface TaskFields {
  title: string;
  description: string | null;
  priority_id: number | null;
  due_date: string | null;
}

interface Owned {
  user_id: string;
  id: number;
}

// Not now(), which is when the transaction began: this change may have waited for another one of the same task. And later
// than that one also where the clock was set back, by what a Date can tell apart.
const changeTime = sql<Date>`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`;
const nextVersion = sql<number>`version + 1`;

export async function insertTask(db: Kysely<Schema>, userId: string, fields: TaskFields): Promise<TaskRow> {
  return db
    .insertInto("tasks")
    .values({ user_id: userId, ...fields })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function findTask(db: Kysely<Schema>, { user_id, id }: Owned): Promise<TaskRow | undefined> {
  return db.selectFrom("tasks").selectAll().where("user_id", "=", user_id).where("id", "=", id).executeTakeFirst();
}

/** Like `findTask`, and keeps others from changing the task until the transaction ends. */
export async function lockTask(db: Kysely<Schema>, { user_id, id }: Owned): Promise<TaskRow | undefined> {
  return db
    .selectFrom("tasks")
    .selectAll()
    .where("user_id", "=", user_id)
    .where("id", "=", id)
    .forUpdate()
    .executeTakeFirst();
}

/** A user's tasks whose id is greater than `after`, in the order of ids. */
export async function listTasks(
  db: Kysely<Schema>,
  {
    user_id,
    completed,
    after,
    limit,
  }: { user_id: string; completed: boolean | undefined; after: number; limit: number },
): Promise<TaskRow[]> {
  return db
    .selectFrom("tasks")
    .selectAll()
    .where("user_id", "=", user_id)
    .where("id", ">", after)
    .$if(completed !== undefined, (query) => query.where("completed", "=", completed === true))
    .orderBy("id")
    .limit(limit)
    .execute();
}

/** Updating a row locks it until the commit, so that one task's changes, and with them their events, are in one order. */
export async function updateTask(
  db: Kysely<Schema>,
  { user_id, id }: Owned,
  changes: Partial<TaskFields & { completed: boolean | undefined }>,
): Promise<TaskRow | undefined> {
  return db
    .updateTable("tasks")
    .set({ ...changes, updated_at: changeTime, version: nextVersion })
    .where("user_id", "=", user_id)
    .where("id", "=", id)
    .returningAll()
    .executeTakeFirst();
}

/** Deletes a task and returns when, and which change of the task that is. */
export async function deleteTask(
  db: Kysely<Schema>,
  { user_id, id }: Owned,
): Promise<{ deleted_at: Date; version: number } | undefined> {
  return db
    .deleteFrom("tasks")
    .where("user_id", "=", user_id)
    .where("id", "=", id)
    .returning([changeTime.as("deleted_at"), nextVersion.as("version")])
    .executeTakeFirst();
}
