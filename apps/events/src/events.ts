import { z } from "zod";

/** Longer ones have more digits after the second than anybody measures. No calendar of databases has a year 0. */
const timestamp = z.iso
  .datetime({ offset: true })
  .max(40)
  .regex(/^(?!0000)/)
  .describe("ISO 8601 date and time with its offset");
const taskId = z.int().positive().describe("The task's id in the backend's database");
const userId = z.uuid().describe("The id of the user who owns the task");
/** Whether a text has at most so many characters, as JSON Schema and PostgreSQL count them: some are two in JavaScript's strings. */
export function hasAtMost(text: string, most: number): boolean {
  return text.length <= most || (text.length <= 2 * most && Array.from(text).length <= most);
}

const title = z
  .string()
  .min(1)
  .refine((text) => hasAtMost(text, 200), "must have at most 200 characters");
const priorityId = z.int().positive().nullable();
/** Missing in events from before this was told. */
const dueDate = timestamp.nullable().optional();

/** The occurrences that a task is one of. */
export const seriesSchema = z.object({
  rule: z.string().min(1).max(300).describe("RFC 5545's RRULE"),
  time_zone: z.string().min(1).max(64).describe("The IANA time zone that it is of"),
  starts_at: timestamp.describe("Its DTSTART: when the first task of the series is due"),
});

export type Series = z.infer<typeof seriesSchema>;

/** Missing in events from before tasks could recur. */
const recurrence = seriesSchema
  .nullable()
  .optional()
  .describe("The series that it is one of; null if it's a single one");

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
    due_date: dueDate,
    recurrence,
    updated_at: timestamp,
  }),
  task_completed: z.object({
    task_id: taskId,
    user_id: userId,
    completed: z.boolean(),
    due_date: dueDate,
    recurrence,
    completed_at: timestamp,
  }),
  task_deleted: z.object({ task_id: taskId, user_id: userId, deleted_at: timestamp }),
} as const;

export type EventType = keyof typeof eventSchemas;

export const eventTypes = Object.keys(eventSchemas) as EventType[];

export type EventData<T extends EventType> = z.infer<(typeof eventSchemas)[T]>;

/** The topic that carries one event type: `task-events.<type>`. */
export function topic<T extends EventType>(type: T): `task-events.${T}` {
  return `task-events.${type}`;
}

/** A CloudEvent (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md) of one event type. */
export interface CloudEvent<T extends EventType> {
  specversion: "1.0";
  id: string;
  source: string;
  type: T;
  /** The task's id. */
  subject?: string | undefined;
  /** When it happened. Later for each change of one task, whatever the clocks do. */
  time: string;
  datacontenttype: "application/json";
  /**
   * The number of the change among those of its task, from 1 and without gaps. It orders a task's events across topics,
   * between which a broker keeps no order.
   */
  taskversion: number;
  /** The trace that the change belongs to (https://www.w3.org/TR/trace-context/#traceparent-header), if that is known. */
  traceparent?: string | undefined;
  data: EventData<T>;
}

/** The longest that a name in a CloudEvent may be: what a subscriber keeps of many events must be bounded. */
export const longestName = 256;

/** As high as PostgreSQL counts (`integer`). */
const highestVersion = 2_147_483_647;

/** A `traceparent`, which names its trace in the first group. Neither id may be all zeros. */
export const traceparentPattern = /^00-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * The schema of one event type's CloudEvent as Dapr delivers it.
 * What Dapr adds (`topic`, `pubsubname`, `traceid` …) is ignored.
 */
export function cloudEventSchema<T extends EventType>(type: T): z.ZodType<CloudEvent<T>> {
  const schema = z.object({
    specversion: z.literal("1.0"),
    id: z.string().min(1).max(longestName),
    source: z.string().min(1).max(longestName),
    type: z.literal(type),
    subject: z.string().min(1).max(longestName).optional(),
    time: timestamp,
    datacontenttype: z.literal("application/json"),
    taskversion: z.int().positive().max(highestVersion),
    // An event is no worse for a trace that can't be followed.
    traceparent: z.string().regex(traceparentPattern).optional().catch(undefined),
    data: eventSchemas[type],
  });
  // TypeScript does not work out what a schema infers while T is open.
  return schema as unknown as z.ZodType<CloudEvent<T>>;
}
