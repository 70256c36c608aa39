/** The Jobs that make databases and users, as the program emits them, run on a real PostgreSQL. */
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { devConfig, prodConfig, prodSecrets } from "../unit/support/config.ts";
import { runProgram } from "../unit/support/program.ts";
import type { Run } from "../unit/support/pulumi.ts";
import { type Postgres, query, startPostgres } from "./postgres.ts";
import { insideRoot, serverDir } from "./process.ts";

let postgres: Postgres;

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(() => postgres.stop());

const asAdmin = (statement: string) => query(postgres.port, "postgres", statement);

/** Runs a Job's container with its environment, of which some is this machine's: addresses, and what comes from secrets. */
async function runJob(stack: Run, name: string, ours: Readonly<Record<string, string>>): Promise<void> {
  const { template } = stack.resource(name).inputs["spec"] as {
    template: { spec: { containers: [{ command: string[]; env: { name: string; value?: string }[] }] } };
  };
  const [{ command, env }] = template.spec.containers;
  expect(env.filter((variable) => variable.value === undefined).map((variable) => variable.name in ours)).not.toContain(
    false,
  );
  const variables = Object.fromEntries(env.map(({ name, value = "" }) => [name, value]));
  const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const dir = serverDir("job");
  const [program = "", ...args] = insideRoot(dir, `PATH=/usr/lib/postgresql/17/bin:$PATH exec ${quoted}`);
  try {
    await promisify(execFile)(program, args, { env: { ...process.env, ...variables, ...ours } });
  } finally {
    rmSync(dir, { recursive: true });
  }
}

async function asUser(user: string, password: string, database: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ host: "127.0.0.1", port: postgres.port, user, password, database });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

test("stack dev: on a server that has long been there, once and again, with another password", async () => {
  const stack = await runProgram(devConfig);
  // As its image sets the server up: for the backend.
  await asAdmin("create role todo superuser login password 'todo''s own'");
  await asAdmin("create database todo owner todo");
  await asUser("todo", "todo's own", "todo", "create table tasks as select 'secret' as title");
  const run = (password: string) =>
    runJob(stack, "database-make-analytics", {
      ...{ PGHOST: "127.0.0.1", PGPORT: String(postgres.port) },
      ...{ PGPASSWORD: "todo's own", PASSWORD: password },
    });

  await run("the first");
  const analytics = (password: string, database: string, statement: string) =>
    asUser("analytics", password, database, statement);
  await analytics("the first", "analytics", "create table changes as select 1 as version");
  await run("it's another");
  expect(await analytics("it's another", "analytics", "select version from changes")).toEqual([{ version: 1 }]);
  await expect(analytics("the first", "analytics", "select 1")).rejects.toThrow("password authentication failed");
  // Nothing of the backend's is its own.
  await expect(analytics("it's another", "todo", "select title from tasks")).rejects.toThrow("permission denied");
  await expect(analytics("it's another", "todo", "create table others ()")).rejects.toThrow("permission denied");

  await expect(
    runJob(stack, "database-make-analytics", {
      ...{ PGHOST: "127.0.0.1", PGPORT: String(postgres.port) },
      ...{ PGPASSWORD: "wrong", PASSWORD: "a" },
    }),
  ).rejects.toThrow("password authentication failed");
});

test("stack prod: each user may make tables in its own database only", async () => {
  const stack = await runProgram(prodConfig, "prod", prodSecrets);
  // As at DigitalOcean: an admin who is no superuser owns the databases.
  for (const database of ["todo", "analytics"]) await asAdmin(`drop database if exists ${database}`);
  await asAdmin("drop role if exists analytics");
  await asAdmin("drop role if exists todo");
  await asAdmin("create role doadmin login createdb createrole password 'admin'");
  const doadmin = (statement: string) => asUser("doadmin", "admin", "postgres", statement);
  for (const name of ["todo", "analytics"]) {
    await doadmin(`create role ${name} login password '${name}'`);
    await doadmin(`create database ${name}`);
  }
  const makeTable = (user: string, database: string) =>
    asUser(user, user, database, `create table of_${user} as select 1 as id`);
  await expect(makeTable("analytics", "analytics")).rejects.toThrow("permission denied");

  const run = (database: string) =>
    runJob(stack, "database-grant", { URL: `postgresql://doadmin:admin@127.0.0.1:${postgres.port}/${database}` });
  await run("todo");
  await run("todo");
  await makeTable("analytics", "analytics");
  await makeTable("todo", "todo");
  await expect(makeTable("analytics", "todo")).rejects.toThrow("permission denied");
  await expect(makeTable("todo", "analytics")).rejects.toThrow("permission denied");

  // A database that isn't there fails the Job.
  await asAdmin("drop database analytics");
  await expect(run("todo")).rejects.toThrow('database "analytics" does not exist');
});
