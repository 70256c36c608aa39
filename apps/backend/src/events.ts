import { services, type CloudEvent, type EventData, type EventType, type Series } from "@event-flow/events";
import type { TaskRow } from "./database.ts";

/** An event of a task. */
export type TaskEvent = { [T in EventType]: CloudEvent<T> }[EventType];

/** The columns that changes noted by a replica from before migration 0003 don't have. */
type LaterColumn = "recurrence_rule" | "recurrence_time_zone" | "recurrence_start";
type AsJson<T> = [T] extends [Date | null] ? T | string : T;

/** A task as it was right after a change, or right before it was deleted; times may be as JSON has them. */
export type ChangedTask = { [K in Exclude<keyof TaskRow, LaterColumn>]: AsJson<TaskRow[K]> } & {
  [K in LaterColumn]?: AsJson<TaskRow[K]>;
};

/** A change of a task, and what is known of its event before there is one. */
export interface TaskChange {
  readonly event_id: string;
  readonly type: EventType;
  readonly traceparent: string;
  /** Its `version` and `updated_at` are the change's own. */
  readonly task: ChangedTask;
}

function iso(time: Date | string): string {
  return new Date(time).toISOString();
}

/** The series that a task is one of; null if it's a single one, undefined if that isn't known. */
export function seriesOf(task: Pick<TaskRow, LaterColumn>): Series | null;
export function seriesOf(task: Pick<ChangedTask, LaterColumn>): Series | null | undefined;
export function seriesOf(task: Pick<ChangedTask, LaterColumn>): Series | null | undefined {
  const { recurrence_rule: rule, recurrence_time_zone: time_zone, recurrence_start: start } = task;
  if (rule === undefined) return undefined;
  return rule && time_zone && start ? { rule, time_zone, starts_at: iso(start) } : null;
}

function dueDate({ due_date }: ChangedTask): string | null {
  return due_date === null ? null : iso(due_date);
}

const dataOf: { [T in EventType]: (task: ChangedTask) => EventData<T> } = {
  task_created: (task) => ({
    task_id: task.id,
    user_id: task.user_id,
    title: task.title,
    priority_id: task.priority_id,
    due_date: dueDate(task),
    created_at: iso(task.created_at),
  }),
  task_updated: (task) => ({
    task_id: task.id,
    user_id: task.user_id,
    title: task.title,
    completed: task.completed,
    priority_id: task.priority_id,
    due_date: dueDate(task),
    recurrence: seriesOf(task),
    updated_at: iso(task.updated_at),
  }),
  task_completed: (task) => ({
    task_id: task.id,
    user_id: task.user_id,
    completed: task.completed,
    due_date: dueDate(task),
    recurrence: seriesOf(task),
    completed_at: iso(task.updated_at),
  }),
  task_deleted: (task) => ({ task_id: task.id, user_id: task.user_id, deleted_at: iso(task.updated_at) }),
};

/** The event that tells of a change: the same one however often it is made. */
export function eventOf({ event_id, type, traceparent, task }: TaskChange): TaskEvent {
  return {
    specversion: "1.0",
    id: event_id,
    source: services.backend.appId,
    type,
    subject: String(task.id),
    time: iso(task.updated_at),
    datacontenttype: "application/json",
    taskversion: task.version,
    traceparent,
    data: dataOf[type](task),
    // TypeScript does not see that `data` is of the very type.
  } as TaskEvent;
}
