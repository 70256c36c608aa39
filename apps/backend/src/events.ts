import { randomUUID } from "node:crypto";
import { services, type CloudEvent, type EventData, type EventType } from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
import type { FastifyBaseLogger } from "fastify";
import type { TaskRow } from "./database.ts";

/** Publishes what happened to a task. Rejects if the broker does not have it. */
export async function publish<T extends EventType>(
  dapr: DaprClient,
  log: FastifyBaseLogger,
  type: T,
  data: EventData<T>,
): Promise<void> {
  const taskId = String(data.task_id);
  const event: CloudEvent<T> = {
    specversion: "1.0",
    id: randomUUID(),
    source: services.backend.appId,
    type,
    subject: taskId,
    time: new Date().toISOString(),
    datacontenttype: "application/json",
    data,
  };
  const start = performance.now();
  await dapr.publish(event, taskId);
  const durationMs = Math.round((performance.now() - start) * 10) / 10;
  log.info(
    { eventId: event.id, type, taskId: data.task_id, userId: data.user_id, durationMs },
    `Published event: ${type}`,
  );
}

export function taskCreated(task: TaskRow): EventData<"task_created"> {
  return {
    task_id: task.id,
    user_id: task.user_id,
    title: task.title,
    priority_id: task.priority_id,
    due_date: task.due_date?.toISOString() ?? null,
    created_at: task.created_at.toISOString(),
  };
}

export function taskUpdated(task: TaskRow): EventData<"task_updated"> {
  return {
    task_id: task.id,
    user_id: task.user_id,
    title: task.title,
    completed: task.completed,
    priority_id: task.priority_id,
    updated_at: task.updated_at.toISOString(),
  };
}

export function taskCompleted(task: TaskRow): EventData<"task_completed"> {
  return {
    task_id: task.id,
    user_id: task.user_id,
    completed: task.completed,
    completed_at: task.updated_at.toISOString(),
  };
}
