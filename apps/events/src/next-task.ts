import { z } from "zod";
import { seriesSchema } from "./events.ts";

/**
 * How the recurring-task service has the backend make the next task of a series: what both must agree on. The caller shows
 * `NEXT_TASK_TOKEN` as a bearer token.
 */

/** Where the backend tells what a task is followed by (GET) and makes that task (PUT). */
export function nextTaskPath(taskId: number | string): string {
  return `/internal/tasks/${taskId}/next`;
}

/** What the next task follows from: the task as it is. */
export const premisesSchema = z.object({
  version: z.int().positive().describe("The number of the task's last change"),
  due_date: z.iso.datetime({ offset: true }).nullable(),
  recurrence: seriesSchema.nullable(),
});

export type Premises = z.infer<typeof premisesSchema>;

/** The next task: when it's due. Everything else it has of its predecessor. */
export const nextTaskSchema = z.strictObject({
  version: z.int().positive().describe("The version of the predecessor that the due date was computed from"),
  due_date: z.iso.datetime({ offset: true }),
});

/** The next task there is: made now (201), or before (200). */
export const madeSchema = z.object({ task_id: z.int().positive() });

/** Why none is made (409): the task is open, it's single, or it isn't any more what the due date was computed from. */
export const refusalSchema = z.object({ reason: z.enum(["open", "single", "changed"]), message: z.string() });
