import { madeSchema, nextTaskPath, nextTaskSchema, premisesSchema, refusalSchema } from "@event-flow/events";
import { answerUnavailable } from "@event-flow/postgres";
import { errorResponses, HttpError, requireSidecar, tokenCheck, type App } from "@event-flow/service";
import type { z } from "zod";
import type { Database } from "./database.ts";
import { seriesOf } from "./events.ts";
import type { Change } from "./outbox.ts";
import { taskPath } from "./schemas.ts";
import { findPredecessor, insertNext, noteSuccession } from "./tasks.ts";

const path = nextTaskPath(":user_id", ":id");

function gone(id: number): HttpError {
  return new HttpError(404, `There is no task ${id}`);
}

/**
 * What the recurring-task service calls to have a recurring task followed by its next one. A task is followed once: however
 * often it's asked for, and completed again, the answer is the same next task, also when that is gone.
 */
export function nextTaskRoutes(
  scope: App,
  { database, change, appApiToken, token }: { database: Database; change: Change; appApiToken: string; token: string },
): void {
  // It comes by the backend's own sidecar, which has looked at whether it's the recurring-task service's that calls.
  scope.addHook("onRequest", requireSidecar(appApiToken));
  const isToken = tokenCheck(`Bearer ${token}`);
  scope.addHook("onRequest", ({ headers: { authorization } }, _reply, done) => {
    const isKnown = isToken(authorization);
    done(isKnown ? undefined : new HttpError(401, "Only the recurring-task service may call this, by NEXT_TASK_TOKEN"));
  });
  answerUnavailable(scope);

  scope.get(
    path,
    { schema: { hide: true, params: taskPath, response: { 200: premisesSchema, ...errorResponses(401, 404, 503) } } },
    async ({ params }) => {
      const task = await findPredecessor(database, params);
      if (task === undefined) {
        throw gone(params.id);
      }
      return {
        version: task.version,
        due_date: task.due_date?.toISOString() ?? null,
        recurrence: seriesOf(task),
      };
    },
  );

  scope.put(
    path,
    {
      schema: {
        hide: true,
        params: taskPath,
        body: nextTaskSchema,
        response: { 200: madeSchema, 201: madeSchema, 409: refusalSchema, ...errorResponses(400, 401, 404, 503) },
      },
    },
    async ({ params: predecessor, body, id }, reply) => {
      const made = await change(
        { type: "task_created", traceparent: id },
        insertNext(database, predecessor, body),
        noteSuccession(database, predecessor.id),
      ).catch((error: unknown) => {
        // Another call was first; it has committed.
        if (isUniqueViolation(error)) return undefined;
        throw error;
      });
      if (made !== undefined) {
        return reply.code(201).send({ task_id: made.id });
      }
      const task = await findPredecessor(database, predecessor);
      if (task === undefined) {
        throw gone(predecessor.id);
      }
      if (task.next_id !== null) {
        return reply.code(200).send({ task_id: task.next_id });
      }
      const refuse = (reason: z.infer<typeof refusalSchema>["reason"], message: string) =>
        reply.code(409).send({ reason, message: `Task ${predecessor.id} ${message}` });
      if (!task.completed) return refuse("open", "is open");
      if (task.recurrence_rule === null) return refuse("single", "doesn't recur");
      return refuse("changed", `has version ${task.version} by now`);
    },
  );
}

function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "23505";
}
