import { z } from "zod";

const timestamp = z.iso.datetime({ offset: true }).describe("ISO 8601 date and time with its offset");
const taskId = z.int().positive().describe("The task's id in the backend's database");
const userId = z.uuid().describe("The id of the user who owns the task");
const title = z.string().min(1).max(200);
const priorityId = z.int().positive().nullable();

/** What each event type carries as the `data` of its CloudEvent. */
export const eventSchemas = {
  task_created: z.object({
    task_id: taskId,
    user_id: userId,
    title,
    priority_id: priorityId,
    due_date: timestamp.nullable(),
    created_at: timestamp,
  }),
  task_updated: z.object({
    task_id: taskId,
    user_id: userId,
    title,
    completed: z.boolean(),
    priority_id: priorityId,
    updated_at: timestamp,
  }),
  task_completed: z.object({ task_id: taskId, user_id: userId, completed: z.boolean(), completed_at: timestamp }),
  task_deleted: z.object({ task_id: taskId, user_id: userId, deleted_at: timestamp }),
} as const;

export type EventType = keyof typeof eventSchemas;

export const eventTypes = Object.keys(eventSchemas) as EventType[];

export type EventData<T extends EventType> = z.infer<(typeof eventSchemas)[T]>;

/** The topic that carries one event type: `task-events.<type>`. */
export function topic<T extends EventType>(type: T): `task-events.${T}` {
  return `task-events.${type}`;
}

/**
 * The CloudEvents 1.0 envelope as Dapr delivers it (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md).
 * Extensions that Dapr adds (`topic`, `pubsubname`, `traceparent` …) pass through.
 */
export function cloudEventSchema<T extends EventType>(type: T) {
  return z.looseObject({
    specversion: z.literal("1.0"),
    id: z.string().min(1),
    source: z.string().min(1),
    type: z.literal(type),
    time: timestamp.optional(),
    datacontenttype: z.literal("application/json"),
    data: eventSchemas[type],
  });
}

export type CloudEvent<T extends EventType> = Omit<z.infer<ReturnType<typeof cloudEventSchema<T>>>, "type" | "data"> & {
  type: T;
  data: EventData<T>;
};
