import { sql } from "kysely";
import type { Database, TaskRow } from "./database.ts";

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

const unchangedColumns = [
  "id",
  "user_id",
  "title",
  "description",
  "completed",
  "priority_id",
  "due_date",
  "created_at",
] as const;
/** All of them, by name; see `preparing` in database.ts. */
const columns = [...unchangedColumns, "updated_at", "version"] as const;

// Not now(), which is when the transaction began: this change may have waited for another one of the same task. And later
// than that one also where the clock was set back, by what a Date can tell apart.
const changeTime = sql<Date>`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`;
const nextVersion = sql<number>`version + 1`;

/** A statement that makes a task and returns it. */
export function insertTask(db: Database, userId: string, fields: TaskFields) {
  return db
    .insertInto("tasks")
    .values({ user_id: userId, ...fields })
    .returning(columns);
}

/** A statement that changes a task and returns it. The row is locked until the commit: one task's changes are in one order. */
export function updateTask(
  db: Database,
  { user_id, id }: Owned,
  fields: TaskFields & { completed: boolean | undefined },
) {
  return db
    .updateTable("tasks")
    .set({ ...fields, updated_at: changeTime, version: nextVersion })
    .where("user_id", "=", user_id)
    .where("id", "=", id)
    .returning(columns);
}

/** Like `updateTask`, of a task that is not yet so. */
export function completeTask(db: Database, { user_id, id }: Owned, completed: boolean) {
  return db
    .updateTable("tasks")
    .set({ completed, updated_at: changeTime, version: nextVersion })
    .where("user_id", "=", user_id)
    .where("id", "=", id)
    .where("completed", "!=", completed)
    .returning(columns);
}

/** A statement that deletes a task and returns it, with the time and the number of that change. */
export function deleteTask(db: Database, { user_id, id }: Owned) {
  return db
    .deleteFrom("tasks")
    .where("user_id", "=", user_id)
    .where("id", "=", id)
    .returning(unchangedColumns)
    .returning([changeTime.as("updated_at"), nextVersion.as("version")]);
}

export async function findTask(db: Database, { user_id, id }: Owned): Promise<TaskRow | undefined> {
  return db.selectFrom("tasks").select(columns).where("user_id", "=", user_id).where("id", "=", id).executeTakeFirst();
}

/** A user's tasks whose id is greater than `after`, in the order of ids. */
export async function listTasks(
  db: Database,
  {
    user_id,
    completed,
    after,
    limit,
  }: { user_id: string; completed: boolean | undefined; after: number; limit: number },
): Promise<TaskRow[]> {
  return db
    .selectFrom("tasks")
    .select(columns)
    .where("user_id", "=", user_id)
    .where("id", ">", after)
    .$if(completed !== undefined, (query) => query.where("completed", "=", completed === true))
    .orderBy("id")
    .limit(limit)
    .execute();
}
