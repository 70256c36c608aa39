import { userIdSchema } from "@event-flow/service";
import { z } from "zod";
import type { TaskRow } from "./database.ts";

/** PostgreSQL's text holds every character but this one. */
function withoutNul(text: string): boolean {
  return !text.includes("\0");
}

/** With its offset, a time of year 1 or 9999 can belong to a year that ISO 8601 cannot write in four digits. */
function inFourDigits(text: string): boolean {
  const year = new Date(text).getUTCFullYear();
  return year >= 1 && year <= 9999;
}

const timestamp = z.iso.datetime({ offset: true });
const title = z.string().trim().min(1).max(200).refine(withoutNul, "must not contain the character NUL");
const description = z.string().max(2000).refine(withoutNul, "must not contain the character NUL").nullable();
const priorityId = z.int().positive().nullable();
const dueDate = timestamp
  .refine(inFourDigits, "must be in the years 1 to 9999")
  .nullable()
  .describe("ISO 8601 date and time with its offset; answers give it in UTC");

export const taskSchema = z.object({
  id: z.int().positive(),
  user_id: z.uuid(),
  title: z.string(),
  description: z.string().nullable(),
  completed: z.boolean(),
  priority_id: priorityId,
  due_date: timestamp.nullable(),
  created_at: timestamp,
  updated_at: timestamp,
});

export const newTaskSchema = z.strictObject({
  title,
  description: description.default(null),
  priority_id: priorityId.default(null),
  due_date: dueDate.default(null),
});

export const replacementSchema = newTaskSchema.extend({
  completed: z.boolean().optional().describe("Unchanged if left out"),
});

export const completionSchema = z
  .strictObject({ completed: z.boolean().default(true) })
  // No body at all is the common call.
  .nullish()
  .transform((body) => body?.completed ?? true);

export const tasksPath = z.object({ user_id: userIdSchema });
export const taskPath = tasksPath.extend({ id: z.coerce.number().int().positive() });

export const listQuery = z.strictObject({
  completed: z
    .enum(["true", "false"])
    .transform((text) => text === "true")
    .optional(),
  limit: z.coerce.number().int().min(1).max(100).default(50),
  after: z.coerce.number().int().min(0).default(0).describe("Only tasks after this id: the last page's `next_after`"),
});

export const taskPageSchema = z.object({
  items: z.array(taskSchema).describe("In the order of their ids"),
  next_after: z
    .int()
    .positive()
    .nullable()
    .describe("What to give as `after` for the next page; null on the last page"),
});

/** What is no part of the schema is left out when it is sent. */
export function taskBody(row: TaskRow): z.infer<typeof taskSchema> {
  return {
    ...row,
    due_date: row.due_date?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  };
}
