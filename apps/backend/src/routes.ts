import { answerUnavailable } from "@event-flow/postgres";
import { bearerSecurity, HttpError, requireOwner, userErrors, type App } from "@event-flow/service";
import { z } from "zod";
import type { Database } from "./database.ts";
import type { Change } from "./outbox.ts";
import {
  completionSchema,
  listQuery,
  newTaskSchema,
  replacementSchema,
  taskBody,
  taskPageSchema,
  taskPath,
  taskSchema,
  tasksPath,
} from "./schemas.ts";
import { completeTask, deleteTask, findTask, insertTask, listTasks, updateTask } from "./tasks.ts";

const security = bearerSecurity;

function notFound(id: number): HttpError {
  return new HttpError(404, `There is no task ${id}`);
}

/** Refuses a rule that isn't one of RFC 5545's or matches no day. What looks for days is loaded with the first rule. */
async function refuseUnsound({ recurrence, due_date }: z.infer<typeof newTaskSchema>): Promise<void> {
  if (recurrence === null || due_date === null) return;
  const { unsoundness } = await import("@event-flow/recurrence/occurrences");
  const reason = unsoundness({ ...recurrence, starts_at: due_date });
  if (reason !== undefined) {
    throw new HttpError(400, `body/recurrence/rule: ${reason}`);
  }
}

/** The routes under /api/{user_id}/tasks. */
export function taskRoutes(scope: App, { database, change }: { database: Database; change: Change }): void {
  scope.addHook("onRequest", requireOwner);

  answerUnavailable(scope);

  scope.post(
    "/api/:user_id/tasks",
    {
      schema: {
        summary: "Create a task",
        description: "Publishes `task_created`.",
        security,
        params: tasksPath,
        body: newTaskSchema,
        response: {
          201: taskSchema.meta({
            description: "The task",
            headers: { Location: { type: "string", description: "Its path" } },
          }),
          ...userErrors(413, 415),
        },
      },
    },
    async ({ params, body, id }, reply) => {
      await refuseUnsound(body);
      const task = await change({ type: "task_created", traceparent: id }, insertTask(database, params.user_id, body));
      if (task === undefined) {
        throw new Error("The database made no task");
      }
      return reply.code(201).header("location", `/api/${task.user_id}/tasks/${task.id}`).send(taskBody(task));
    },
  );

  scope.get(
    "/api/:user_id/tasks",
    {
      schema: {
        summary: "List the user's tasks, page by page",
        security,
        params: tasksPath,
        querystring: listQuery,
        response: { 200: taskPageSchema, ...userErrors() },
      },
    },
    async ({ params, query }) => {
      const { limit } = query;
      // One more than asked for tells whether there is a next page.
      const rows = await listTasks(database, {
        ...query,
        completed: query.completed,
        user_id: params.user_id,
        limit: limit + 1,
      });
      const items = rows.slice(0, limit).map(taskBody);
      return { items, next_after: rows.length > limit ? (items.at(-1)?.id ?? null) : null };
    },
  );

  scope.get(
    "/api/:user_id/tasks/:id",
    {
      schema: {
        summary: "Read a task",
        security,
        params: taskPath,
        response: { 200: taskSchema, ...userErrors(404) },
      },
    },
    async ({ params }) => {
      const task = await findTask(database, params);
      if (task === undefined) {
        throw notFound(params.id);
      }
      return taskBody(task);
    },
  );

  scope.put(
    "/api/:user_id/tasks/:id",
    {
      schema: {
        summary: "Replace a task",
        description:
          "What the body leaves out is cleared, except `completed`, which then stays as it is. A recurring task goes on with its " +
          "series if neither `recurrence` nor `due_date` change; otherwise a new one begins with it. Publishes `task_updated`.",
        security,
        params: taskPath,
        body: replacementSchema,
        response: { 200: taskSchema, ...userErrors(404, 413, 415) },
      },
    },
    async ({ params, body, id }) => {
      await refuseUnsound(body);
      const fields = { ...body, completed: body.completed };
      const task = await change({ type: "task_updated", traceparent: id }, updateTask(database, params, fields));
      if (task === undefined) {
        throw notFound(params.id);
      }
      return taskBody(task);
    },
  );

  scope.patch(
    "/api/:user_id/tasks/:id/complete",
    {
      schema: {
        summary: "Complete a task, or open it again",
        description:
          "Publishes `task_completed`, whose `completed` says which. A task that is already so stays as it is, without an event.",
        security,
        params: taskPath,
        body: completionSchema,
        response: { 200: taskSchema, ...userErrors(404, 413, 415) },
      },
    },
    async ({ params, body: completed, id }) => {
      for (;;) {
        const statement = completeTask(database, params, completed);
        const changed = await change({ type: "task_completed", traceparent: id }, statement);
        const task = changed ?? (await findTask(database, params));
        if (task === undefined) {
          throw notFound(params.id);
        }
        // Unless another request has just changed it back.
        if (task.completed === completed) {
          return taskBody(task);
        }
      }
    },
  );

  scope.delete(
    "/api/:user_id/tasks/:id",
    {
      schema: {
        summary: "Delete a task",
        description: "Publishes `task_deleted`.",
        security,
        params: taskPath,
        response: { 204: z.null().describe("Deleted"), ...userErrors(404, 413, 415) },
      },
    },
    async ({ params, id }, reply) => {
      const deleted = await change({ type: "task_deleted", traceparent: id }, deleteTask(database, params));
      if (deleted === undefined) {
        throw notFound(params.id);
      }
      return reply.code(204).send(null);
    },
  );
}
