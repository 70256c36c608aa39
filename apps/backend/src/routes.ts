import type { EventData, EventType } from "@event-flow/events";
import {
  bearerSecurity,
  DaprError,
  errorResponses,
  HttpError,
  requireOwner,
  type App,
  type DaprClient,
} from "@event-flow/service";
import type { FastifyBaseLogger } from "fastify";
import type { Transaction } from "kysely";
import { z } from "zod";
import { isUnavailable, type Database, type Schema } from "./database.ts";
import { publish, taskCompleted, taskCreated, taskUpdated } from "./events.ts";
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
import { deleteTask, findTask, insertTask, listTasks, lockTask, updateTask } from "./tasks.ts";

const security = bearerSecurity;

function notFound(id: number): HttpError {
  return new HttpError(404, `There is no task ${id}`);
}

/** The routes under /api/{user_id}/tasks. */
export function taskRoutes(scope: App, { database, dapr }: { database: Database; dapr: DaprClient }): void {
  scope.addHook("onRequest", requireOwner);

  scope.setErrorHandler((error) => {
    if (isUnavailable(error)) {
      throw new HttpError(503, "The database cannot be reached; try again later", { cause: error });
    }
    throw error;
  });

  type Publish = <T extends EventType>(type: T, data: EventData<T>) => Promise<void>;

  /**
   * Makes one change and publishes its event between the write and the commit: a change that was acknowledged has its
   * event in the broker, and one whose event could not be published never happened. (Published after the commit, as in
   * the original design, an event is lost whenever publishing fails.) It is not exactly once: an event can be out
   * although its commit failed after it. Only an outbox table, written in this transaction and relayed from, closes
   * that gap, and takes the broker out of the request.
   */
  function change<R>(
    log: FastifyBaseLogger,
    make: (trx: Transaction<Schema>, publishing: Publish) => Promise<R>,
  ): Promise<R> {
    return database.transaction().execute((trx) =>
      make(trx, async (type, data) => {
        try {
          await publish(dapr, log, type, data);
        } catch (error) {
          if (error instanceof DaprError) {
            throw new HttpError(503, "Nothing was changed: the event could not be published; try again later", {
              cause: error,
            });
          }
          throw error;
        }
      }),
    );
  }

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
          201: taskSchema.describe("The task; `Location` is its path"),
          ...errorResponses(400, 401, 403, 503),
        },
      },
    },
    async ({ params, body, log }, reply) => {
      const task = await change(log, async (trx, publishing) => {
        const created = await insertTask(trx, params.user_id, body);
        await publishing("task_created", taskCreated(created));
        return created;
      });
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
        response: { 200: taskPageSchema, ...errorResponses(400, 401, 403, 503) },
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
        response: { 200: taskSchema, ...errorResponses(400, 401, 403, 404, 503) },
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
          "What the body leaves out is cleared, except `completed`, which then stays as it is. Publishes `task_updated`.",
        security,
        params: taskPath,
        body: replacementSchema,
        response: { 200: taskSchema, ...errorResponses(400, 401, 403, 404, 503) },
      },
    },
    async ({ params, body, log }) => {
      const task = await change(log, async (trx, publishing) => {
        const updated = await updateTask(trx, params, body);
        if (updated === undefined) {
          throw notFound(params.id);
        }
        await publishing("task_updated", taskUpdated(updated));
        return updated;
      });
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
        response: { 200: taskSchema, ...errorResponses(400, 401, 403, 404, 503) },
      },
    },
    async ({ params, body: completed, log }) => {
      const task = await change(log, async (trx, publishing) => {
        const current = await lockTask(trx, params);
        if (current === undefined) {
          throw notFound(params.id);
        }
        if (current.completed === completed) {
          return current;
        }
        const updated = await updateTask(trx, params, { completed });
        if (updated === undefined) {
          throw notFound(params.id);
        }
        await publishing("task_completed", taskCompleted(updated));
        return updated;
      });
      return taskBody(task);
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
        response: { 204: z.null().describe("Deleted"), ...errorResponses(400, 401, 403, 404, 503) },
      },
    },
    async ({ params, log }, reply) => {
      await change(log, async (trx, publishing) => {
        const deletedAt = await deleteTask(trx, params);
        if (deletedAt === undefined) {
          throw notFound(params.id);
        }
        await publishing("task_deleted", {
          task_id: params.id,
          user_id: params.user_id,
          deleted_at: deletedAt.toISOString(),
        });
      });
      return reply.code(204).send(null);
    },
  );
}
