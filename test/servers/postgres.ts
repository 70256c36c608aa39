import { join } from "node:path";
import pg from "pg";
import { clockFrom, preloadClock, setClock } from "./clock.ts";
import { freePort } from "./ports.ts";
import { insideRoot, type LogOption, type Server, serverDir, startServer } from "./process.ts";

export interface Postgres extends Server {
  readonly port: number;
  /** What sets its clock, if it has its own. */
  readonly clock: string;
  /** The URL of a database, as who is sent through another port reaches it. */
  url(database: string, port?: number): string;
}

/** What no log may show: tests look for it. */
export const postgresPassword = "correct-horse-battery-staple";

export function databaseUrl(port: number, database: string): string {
  return `postgres://tasks:${postgresPassword}@127.0.0.1:${port}/${database}`;
}

export interface PostgresOptions extends LogOption {
  /** Whether its settings are the defaults: a commit waits for the disk, as only a crash of the machine demands. */
  readonly durable?: boolean;
  /** Whether its clock can be set. */
  readonly ownClock?: boolean;
}

/** PostgreSQL with a superuser `tasks`, who has to give a password. */
export async function startPostgres({
  log,
  durable = false,
  ownClock = false,
}: PostgresOptions = {}): Promise<Postgres> {
  const port = await freePort();
  const dir = serverDir("postgres");
  const bin = "/usr/lib/postgresql/17/bin";
  const settings = durable ? "" : "-c fsync=off -c autovacuum_naptime=1s";
  const clock = join(dir, "clock");
  setClock(clock, 0);
  const script = `
    if [ ! -d /mnt/data ]; then
      echo ${postgresPassword} > /mnt/password
      ${bin}/initdb -D /mnt/data -U tasks --auth=scram-sha-256 --pwfile=/mnt/password --no-sync --locale=C -E UTF8
    fi
    exec ${ownClock ? `env ${preloadClock} ` : ""}${bin}/postgres -D /mnt/data -p ${port} \\
      -c listen_addresses=127.0.0.1 -c unix_socket_directories= ${settings}
  `;
  const server = await startServer({
    name: "PostgreSQL",
    dir,
    log,
    command: insideRoot(dir, script),
    env: clockFrom("/mnt/clock"),
    timeoutSeconds: 60,
    ready: async () => {
      await query(port, "postgres", "select 1");
      return true;
    },
  });
  return { ...server, port, clock, url: (database, via = port) => databaseUrl(via, database) };
}

/** Runs one statement as the superuser. */
export async function query(port: number, database: string, statement: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: databaseUrl(port, database) });
  // A server that dies meanwhile also rejects the query; without a listener the process would end.
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

/** A new empty database; returns its URL. */
export async function createDatabase(port: number, name: string): Promise<string> {
  await query(port, "postgres", `create database ${name}`);
  return databaseUrl(port, name);
}

/** Keeps everybody from writing to a table until it's released. */
export async function lockTable(port: number, database: string, table: string) {
  const client = new pg.Client({ connectionString: databaseUrl(port, database) });
  client.on("error", () => undefined);
  await client.connect();
  await client.query(`begin; lock table ${table} in share mode`);
  const waiting = `select from pg_locks where not granted and relation = '${table}'::regclass`;
  return {
    isWaitedFor: async () => (await query(port, database, waiting)).length > 0,
    release: async () => {
      await client.query("commit");
      await client.end();
    },
  };
}
