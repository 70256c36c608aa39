import type { nextTaskSchema } from "@event-flow/events";
import type { Recurrence } from "@event-flow/recurrence";
import { sql } from "kysely";
import type { z } from "zod";
import type { Database, TaskRow } from "./database.ts";

/** The columns that a user writes. */
export interface TaskFields {
  title: string;
  description: string | null;
  priority_id: number | null;
  due_date: string | null;
  recurrence: Recurrence | null;
}

interface Owned {
  user_id: string;
  id: number;
}

/** What decides on the task after one. */
type Predecessor = Pick<
  TaskRow,
  "version" | "completed" | "due_date" | "recurrence_rule" | "recurrence_time_zone" | "recurrence_start"
> & { readonly next_id: number | null };

const unchangedColumns = [
  "id",
  "user_id",
  "title",
  "description",
  "completed",
  "priority_id",
  "due_date",
  "recurrence_rule",
  "recurrence_time_zone",
  "recurrence_start",
  "created_at",
] as const;
/** All of them, by name; see `preparing` in database.ts. */
const columns = [...unchangedColumns, "updated_at", "version"] as const;

/** What a next task has of its predecessor. */
const copiedColumns = [
  "user_id",
  "title",
  "description",
  "priority_id",
  "recurrence_rule",
  "recurrence_time_zone",
  "recurrence_start",
] as const;

// Not now(), which is when the transaction began: this change may have waited for another one of the same task. And later
// than that one also where the clock was set back, by what a Date can tell apart.
const changeTime = sql<Date>`greatest(clock_timestamp(), updated_at + interval '1 millisecond')`;
const nextVersion = sql<number>`version + 1`;

/** The columns of a series that begins with the task. */
function seriesColumns({ recurrence, due_date }: Pick<TaskFields, "recurrence" | "due_date">) {
  return {
    recurrence_rule: recurrence?.rule ?? null,
    recurrence_time_zone: recurrence?.time_zone ?? null,
    recurrence_start: recurrence === null ? null : due_date,
  };
}

/** The start of the series that a changed task is one of: it goes on as long as neither recurrence nor due date are others. */
function seriesStart({ rule, time_zone }: Recurrence, dueDate: string | null) {
  // Users have due dates to the millisecond.
  const asAnswered = sql`date_trunc('milliseconds', due_date) = date_trunc('milliseconds', ${dueDate}::timestamptz)`;
  return sql<string | null>`
    case when recurrence_rule = ${rule} and recurrence_time_zone = ${time_zone} and ${asAnswered}
    then recurrence_start else ${dueDate}::timestamptz end
  `;
}

/** A statement that makes a task and returns it. */
export function insertTask(db: Database, userId: string, { recurrence, ...fields }: TaskFields) {
  return db
    .insertInto("tasks")
    .values({ user_id: userId, ...fields, ...seriesColumns({ recurrence, ...fields }) })
    .returning(columns);
}

/** A statement that changes a task and returns it. The row is locked until the commit: one task's changes are in one order. */
export function updateTask(
  db: Database,
  { user_id, id }: Owned,
  { recurrence, ...fields }: TaskFields & { completed: boolean | undefined },
) {
  return db
    .updateTable("tasks")
    .set({
      ...fields,
      ...seriesColumns({ recurrence, ...fields }),
      ...(recurrence !== null && { recurrence_start: seriesStart(recurrence, fields.due_date) }),
      updated_at: changeTime,
      version: nextVersion,
    })
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

/**
 * A statement that makes the task after a recurring one and returns it, unless the predecessor isn't completed, was changed
 * since the due date was computed, or has a next one. It is locked until the commit: what it's found to be, it stays.
 */
export function insertNext(db: Database, predecessor: number, { version, due_date }: z.infer<typeof nextTaskSchema>) {
  return db
    .insertInto("tasks")
    .columns([...copiedColumns, "due_date"])
    .expression((on) =>
      on
        .selectFrom("tasks")
        .select(copiedColumns)
        .select(sql<string>`${due_date}::timestamptz`.as("due_date"))
        .where("id", "=", predecessor)
        .where("completed", "=", true)
        .where("version", "=", version)
        .where("recurrence_rule", "is not", null)
        .where((on) => on.not(on.exists(on.selectFrom("successions").where("predecessor_id", "=", predecessor))))
        .forUpdate(),
    )
    .returning(columns);
}

/** A statement that notes by which task another is followed; it fails if that one was followed meanwhile. */
export function noteSuccession(db: Database, predecessor: number) {
  return db
    .insertInto("successions")
    .columns(["predecessor_id", "task_id"])
    .expression(sql`select ${predecessor}::bigint, id from changed`);
}

/** A task with the id of the one that it was followed by. */
export async function findPredecessor(db: Database, id: number): Promise<Predecessor | undefined> {
  return db
    .selectFrom("tasks")
    .leftJoin("successions", "predecessor_id", "id")
    .select(["version", "completed", "due_date", "recurrence_rule", "recurrence_time_zone", "recurrence_start"])
    .select("task_id as next_id")
    .where("id", "=", id)
    .executeTakeFirst();
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
