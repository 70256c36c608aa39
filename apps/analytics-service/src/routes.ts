import { answerUnavailable } from "@event-flow/postgres";
import {
  bearerSecurity,
  HttpError,
  requireOwner,
  requireScope,
  userErrors,
  userIdSchema,
  type App,
} from "@event-flow/service";
import { z } from "zod";
import type { Database } from "./database.ts";
import { rangeOf, rangeQuery } from "./range.ts";
import { readStats, statsSchema, type Stats } from "./stats.ts";

/** What a token must have in its claim `scope` to see the figures of all users. */
export const scopeOfAll = "stats:all";

export function statsRoutes(scope: App, database: Database): void {
  answerUnavailable(scope);

  const schema = {
    description:
      "What was created, completed, reopened and deleted, day by day and in all, and what is open and overdue. Figures follow " +
      "the tasks' changes, mostly by some milliseconds.",
    security: bearerSecurity,
    querystring: rangeQuery,
    response: { 200: statsSchema, ...userErrors() },
  };

  scope.get(
    "/api/:user_id/stats",
    {
      onRequest: requireOwner,
      schema: { ...schema, summary: "The figures of the user's tasks", params: z.object({ user_id: userIdSchema }) },
    },
    ({ params, query }) => answer(database, params.user_id, query),
  );

  scope.get(
    "/api/stats",
    {
      onRequest: requireScope(scopeOfAll),
      schema: { ...schema, summary: `The figures of all tasks, for tokens with the scope ${scopeOfAll}` },
    },
    ({ query }) => answer(database, undefined, query),
  );
}

async function answer(
  database: Database,
  userId: string | undefined,
  query: z.infer<typeof rangeQuery>,
): Promise<Stats> {
  try {
    return await readStats(database, userId, rangeOf(query));
  } catch (error) {
    // Node and PostgreSQL each have a list of their own.
    if (error instanceof Error && "code" in error && error.code === invalidParameter) {
      throw new HttpError(400, "querystring/time_zone: is not known to the database", { cause: error });
    }
    throw error;
  }
}

/** PostgreSQL's `invalid_parameter_value`. */
const invalidParameter = "22023";
