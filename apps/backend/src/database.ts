import { createHash } from "node:crypto";
import { HttpError } from "@event-flow/service";
import {
  Kysely,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  type ColumnType,
  type Generated,
  type GeneratedAlways,
  type Selectable,
} from "kysely";
import pg from "pg";

interface TasksTable {
  id: GeneratedAlways<number>;
  user_id: string;
  title: string;
  description: string | null;
  completed: Generated<boolean>;
  priority_id: number | null;
  due_date: ColumnType<Date | null, string | null, string | null>;
  /** The series that it is one of: RFC 5545's RRULE, its time zone and DTSTART. All three or none. */
  recurrence_rule: string | null;
  recurrence_time_zone: string | null;
  recurrence_start: ColumnType<Date | null, string | null, string | null>;
  created_at: Generated<Date>;
  updated_at: Generated<Date>;
  /** How often the task was changed, from 1. */
  version: Generated<number>;
}

/** Which task a task was followed by. It outlives the next one: who deletes that wants no other in its place. */
interface SuccessionsTable {
  predecessor_id: number;
  task_id: number;
}

export interface Schema {
  tasks: TasksTable;
  successions: SuccessionsTable;
}

export type TaskRow = Selectable<TasksTable>;
export type Database = Kysely<Schema>;

// pg gives a bigint as text. Ids fit a number: they are counted up from 1.
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

/** Opens nothing yet: the pool connects with the first query. */
export function createDatabase(url: string, onIdleError: (error: Error) => void): Database {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: "event-flow-backend",
    max: 10,
    types,
    // A change takes milliseconds: it waits for nothing but the database, and for another change of the same task.
    connectionTimeoutMillis: 5_000,
    lock_timeout: 3_000,
    statement_timeout: 5_000,
    // For a database that stopped answering without closing the connection.
    query_timeout: 7_000,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
    // As times are written as JSON. In another zone the first and the last year would be in part in ones that JavaScript can't read.
    options: "-c TimeZone=UTC",
  });
  // Without a listener, a database that goes away would end the process. The pool itself listens on idle connections only;
  // a transaction can lose its own between two queries, of which the next one then rejects.
  pool.on("error", onIdleError);
  pool.on("connect", (client) => {
    client.on("error", () => undefined);
  });
  return new Kysely<Schema>({ dialect: new PostgresDialect({ pool: preparing(pool) }) });
}

/**
 * Has the database parse and plan each statement once for a connection, which for small ones is most of its work. That is why
 * statements name their columns: prepared with `*`, one fails as soon as a newer replica's migration has added a column.
 */
function preparing(pool: pg.Pool): PostgresPool {
  return {
    options: pool.options,
    connect: async () => {
      const client = await pool.connect();
      const query = (text: string, values: readonly unknown[]) =>
        client.query(values.length === 0 ? text : { name: statementName(text), text, values: [...values] });
      return {
        // Kysely also knows cursors; nothing here asks for one.
        query: query as unknown as PostgresPoolClient["query"],
        release: (destroy) => {
          client.release(destroy);
        },
      };
    },
    end: () => pool.end(),
  };
}

const statementNames = new Map<string, string>();

/** A name of its own for each statement: of which there are few, as values are no part of them. */
function statementName(text: string): string {
  const known = statementNames.get(text);
  if (known !== undefined) {
    return known;
  }
  const name = createHash("sha256").update(text).digest("base64url");
  statementNames.set(text, name);
  return name;
}

/** SQLSTATEs (https://www.postgresql.org/docs/17/errcodes-appendix.html) of a database that can't serve right now. */
const unavailableStates = /^(08|53|57P0[1-5]|57014$|55P03$|25006$|25P03$)/;

const unavailableErrnos = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

// pg and pg-pool give these errors no code.
const unavailableMessages = [
  "Connection terminated",
  "Query read timeout",
  "timeout exceeded when trying to connect",
  "Client has encountered a connection error and is not queryable",
  "Client was closed and is not queryable",
];

/** Whether an error says that the database cannot be reached or cannot serve, rather than that a query is wrong. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof AggregateError) {
    return error.errors.some(isUnavailable);
  }
  if (!(error instanceof Error)) {
    return false;
  }
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return (
    unavailableErrnos.has(code) ||
    unavailableStates.test(code) ||
    unavailableMessages.some((message) => error.message.startsWith(message))
  );
}

/** An error handler that tells the caller when the database is away. */
export function tellOfDatabase(error: unknown): never {
  if (isUnavailable(error)) {
    throw new HttpError(503, "The database cannot be reached; try again later", { cause: error });
  }
  throw error;
}
