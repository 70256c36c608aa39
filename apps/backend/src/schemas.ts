import { hasAtMost } from "@event-flow/events";
import { recurrenceSchema } from "@event-flow/recurrence";
import { integerText, userIdSchema } from "@event-flow/service";
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

/** Text of at most so many characters, however JavaScript counts them. */
function text(most: number) {
  return z
    .string()
    .refine((value) => hasAtMost(value, most), `must have at most ${most} characters`)
    .refine(withoutNul, "must not contain the character NUL")
    .meta({ maxLength: most });
}

const title = text(200)
  .trim()
  .min(1)
  .meta({ maxLength: 200, pattern: "\\S" })
  .describe("Without blanks around it, and without the character NUL");
const description = text(2000).describe("Without the character NUL").nullable();
const priorityId = z.int().positive().nullable();
const dueDate = timestamp
  .refine(inFourDigits, "must be in the years 1 to 9999")
  // PostgreSQL knows no offset beyond 15:59.
  .transform((text) => new Date(text).toISOString())
  .nullable()
  .describe("ISO 8601 date and time with its offset, null if left out; answers give it in UTC, to the millisecond");

/** Rules are gone through from here on. */
const firstRecurringYear = 2000;

const recurrence = recurrenceSchema
  .nullable()
  .describe(
    "How it recurs: when it's completed its next task is made, due at the first occurrence after the due date and the completion",
  );

/** A series begins with the task's due date. */
function recursFromDueDate({
  value: { due_date, recurrence },
  issues,
}: z.core.ParsePayload<{ due_date: string | null; recurrence: unknown }>): void {
  if (recurrence !== null && (due_date === null || new Date(due_date).getUTCFullYear() < firstRecurringYear)) {
    const message = `must be given for a task that recurs, in ${firstRecurringYear} or later`;
    issues.push({ code: "custom", path: ["due_date"], message, input: due_date });
  }
}

export const taskSchema = z.object({
  id: z.int().positive(),
  user_id: z.uuid(),
  title: z.string(),
  description: z.string().nullable(),
  completed: z.boolean(),
  priority_id: priorityId,
  due_date: timestamp.nullable(),
  recurrence: z.object({ rule: z.string(), time_zone: z.string() }).nullable(),
  created_at: timestamp,
  updated_at: timestamp,
});

const taskFields = z.strictObject({
  title,
  description: description.default(null),
  priority_id: priorityId.default(null),
  due_date: dueDate.default(null),
  recurrence: recurrence.default(null),
});

export const newTaskSchema = taskFields.check(recursFromDueDate);

export const replacementSchema = taskFields
  .extend({ completed: z.boolean().optional().describe("Unchanged if left out") })
  .check(recursFromDueDate);

export const completionSchema = z
  .strictObject({ completed: z.boolean().default(true) })
  // No body at all is the common call.
  .nullish()
  .transform((body) => body?.completed ?? true);

export const tasksPath = z.object({ user_id: userIdSchema });
export const taskPath = tasksPath.extend({ id: integerText(z.int().positive()) });

export const listQuery = z.strictObject({
  completed: z
    .enum(["true", "false"])
    .transform((text) => text === "true")
    .optional(),
  limit: integerText(z.int().min(1).max(100)).default(50).describe("How many at most; 50 if left out"),
  after: integerText(z.int().min(0)).default(0).describe("Only tasks after this id: the last page's `next_after`"),
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
  const { recurrence_rule: rule, recurrence_time_zone: time_zone } = row;
  return {
    ...row,
    due_date: row.due_date?.toISOString() ?? null,
    recurrence: rule !== null && time_zone !== null ? { rule, time_zone } : null,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  };
}
