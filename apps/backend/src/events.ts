import { randomUUID } from "node:crypto";
import { services, type CloudEvent, type EventData, type EventType } from "@event-flow/events";
import type { TaskRow } from "./database.ts";

/** What happened to a task. */
export type TaskEvent = { [T in EventType]: CloudEvent<T> }[EventType];

function taskEvent<T extends EventType>(
  type: T,
  { at, version, traceparent, data }: { at: Date; version: number; traceparent: string; data: EventData<T> },
): CloudEvent<T> {
  return {
    specversion: "1.0",
    id: randomUUID(),
    source: services.backend.appId,
    type,
    subject: String(data.task_id),
    time: at.toISOString(),
    datacontenttype: "application/json",
    taskversion: version,
    traceparent,
    data,
  };
}

export function taskCreated(task: TaskRow, traceparent: string): TaskEvent {
  return taskEvent("task_created", {
    at: task.created_at,
    version: task.version,
    traceparent,
    data: {
      task_id: task.id,
      user_id: task.user_id,
      title: task.title,
      priority_id: task.priority_id,
      due_date: task.due_date?.toISOString() ?? null,
      created_at: task.created_at.toISOString(),
    },
  });
}

export function taskUpdated(task: TaskRow, traceparent: string): TaskEvent {
  return taskEvent("task_updated", {
    at: task.updated_at,
    version: task.version,
    traceparent,
    data: {
      task_id: task.id,
      user_id: task.user_id,
      title: task.title,
      completed: task.completed,
      priority_id: task.priority_id,
      updated_at: task.updated_at.toISOString(),
    },
  });
}

export function taskCompleted(task: TaskRow, traceparent: string): TaskEvent {
  return taskEvent("task_completed", {
    at: task.updated_at,
    version: task.version,
    traceparent,
    data: {
      task_id: task.id,
      user_id: task.user_id,
      completed: task.completed,
      completed_at: task.updated_at.toISOString(),
    },
  });
}

export function taskDeleted(
  { id, user_id, deleted_at, version }: { id: number; user_id: string; deleted_at: Date; version: number },
  traceparent: string,
): TaskEvent {
  return taskEvent("task_deleted", {
    at: deleted_at,
    version,
    traceparent,
    data: { task_id: id, user_id, deleted_at: deleted_at.toISOString() },
  });
}
