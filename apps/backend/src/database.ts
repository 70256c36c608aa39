import { openDatabase } from "@event-flow/postgres";
import type { ColumnType, Generated, GeneratedAlways, Kysely, Selectable } from "kysely";

interface TasksTable {
  id: GeneratedAlways<number>;
  user_id: string;
  title: string;
  description: string | null;
  completed: Generated<boolean>;
  priority_id: number | null;
  due_date: ColumnType<Date | null, string | null, string | null>;
  /** The series that it is one of: RFC 5545's RRULE, its time zone and DTSTART. All three or none. */
  recurrence_rule: string | null;
  recurrence_time_zone: string | null;
  recurrence_start: ColumnType<Date | null, string | null, string | null>;
  created_at: Generated<Date>;
  updated_at: Generated<Date>;
  /** How often the task was changed, from 1. */
  version: Generated<number>;
}

/** Which task a task was followed by. It outlives the next one: who deletes that wants no other in its place. */
interface SuccessionsTable {
  predecessor_id: number;
  task_id: number;
}

export interface Schema {
  tasks: TasksTable;
  successions: SuccessionsTable;
}

export type TaskRow = Selectable<TasksTable>;
export type Database = Kysely<Schema>;

/** Opens nothing yet: the pool connects with the first query. */
export function createDatabase(url: string, onIdleError: (error: Error) => void): Database {
  return openDatabase<Schema>({ url, applicationName: "event-flow-backend", onIdleError });
}
