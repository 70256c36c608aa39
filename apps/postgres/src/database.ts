import { createHash } from "node:crypto";
import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from "kysely";
import pg from "pg";

// pg gives a bigint as text. Ids fit a number: they are counted up from 1.
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

export interface DatabaseOptions {
  readonly url: string;
  /** What PostgreSQL calls its sessions. */
  readonly applicationName: string;
  /** Hears of it when a connection is lost that nobody was using. */
  readonly onIdleError: (error: Error) => void;
}

/** Opens nothing yet: the pool connects with the first query. */
export function openDatabase<Schema>({ url, applicationName, onIdleError }: DatabaseOptions): Kysely<Schema> {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: applicationName,
    max: 10,
    types,
    // A statement takes milliseconds: it waits for nothing but the database, and for another change of the same row.
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
