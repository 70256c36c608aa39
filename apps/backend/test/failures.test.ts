import { randomUUID } from "node:crypto";
import { services } from "@event-flow/events";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { freePort } from "../../../test/servers/ports.ts";
import {
  createDatabase,
  databaseUrl,
  postgresPassword,
  query,
  startPostgres,
  type Postgres,
} from "../../../test/servers/postgres.ts";
import { appApiToken, nextTaskToken, runService, startService, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";

const { brokers } = inject("servers");
const jwtSecret = "0123456789abcdef0123456789abcdef";
const user = randomUUID();
let postgres: Postgres;
let daprd: Daprd;
let backend: Service;
let environment: Record<string, string>;

beforeAll(async () => {
  const port = await freePort();
  [postgres, daprd] = await Promise.all([
    startPostgres(),
    startDaprd({ appId: services.backend.appId, appPort: port, brokers }),
  ]);
  environment = {
    DATABASE_URL: await createDatabase(postgres.port, "tasks"),
    DAPR_HTTP_PORT: String(daprd.httpPort),
    // One user here puts a load on it.
    RATE_LIMIT_PER_MINUTE: "1000000",
  };
  backend = await startService("backend", port, environment);
});

afterAll(async () => {
  await backend.stop();
  await Promise.all([daprd.stop(), postgres.stop()]);
});

function tasks(service: Service = backend): string {
  return `${service.url}/api/${user}/tasks`;
}

async function titles(): Promise<unknown[]> {
  const rows = await query(postgres.port, "tasks", `select title from tasks order by id`);
  return rows.map(({ title }) => title);
}

async function create(title: string): Promise<number> {
  const created = await call<{ id: number }>("POST", tasks(), { user, body: { title } });
  expect(created.status).toBe(201);
  return created.body.id;
}

async function becomesReady(service: Service): Promise<void> {
  await waitFor("the backend to be ready", 60, async () =>
    (await call("GET", `${service.url}/ready`)).status === 200 ? true : undefined,
  );
}

interface Ready {
  status: string;
  outbox: { events: number; oldest_seconds: number | null; bytes: number };
}

async function outbox(): Promise<Ready["outbox"]> {
  const { status, body } = await call<Ready>("GET", `${backend.url}/ready`);
  expect(status).toBe(200);
  return body.outbox;
}

async function outboxEmpties(): Promise<void> {
  await waitFor("the outbox to be empty", 60, async () => ((await outbox()).events === 0 ? true : undefined));
}

test("without its sidecar changes are taken at once, wait in the outbox, and follow in order", async () => {
  const id = await create("before");
  await outboxEmpties();
  await daprd.kill();

  const begun = performance.now();
  const changes = [
    await call("PUT", `${tasks()}/${id}`, { user, body: { title: "changed" } }),
    await call("PATCH", `${tasks()}/${id}/complete`, { user }),
    await call("DELETE", `${tasks()}/${id}`, { user }),
  ];
  expect(changes.map(({ status }) => status)).toEqual([200, 200, 204]);
  expect(performance.now() - begun).toBeLessThan(4_000);
  const line = await backend.logged("that events wait", ({ msg }) => msg.startsWith("Events wait in the outbox"));
  expect(line).toMatchObject({
    level: 40,
    err: { message: expect.stringContaining("Dapr could not publish") as string },
  });
  expect(JSON.stringify(line)).not.toContain("changed");
  const waiting = await outbox();
  expect(waiting).toEqual({
    events: 3,
    oldest_seconds: expect.any(Number) as number,
    bytes: expect.any(Number) as number,
  });

  await daprd.start();
  await outboxEmpties();
  const published = backend.log.filter((entry) => entry["taskId"] === id && entry.msg.startsWith("Published event"));
  expect(published.map((entry) => [entry["type"], entry["taskVersion"]])).toEqual([
    ["task_created", 1],
    ["task_updated", 2],
    ["task_completed", 3],
    ["task_deleted", 4],
  ]);
});

test("a sidecar that does not answer holds no request up", async () => {
  daprd.pause();
  const begun = performance.now();
  await create("slow");
  expect(performance.now() - begun).toBeLessThan(4_000);
  await backend.logged("the timeout", (line) => JSON.stringify(line).includes("no answer within 5000 ms"));
  daprd.resume();
  await outboxEmpties();
});

test("without its database the backend answers 503, is not ready, and recovers by itself", async () => {
  const id = await create("kept");
  await postgres.kill();
  // PostgreSQL's other processes end by themselves when they miss the one that was killed.
  await waitFor("the database to be missed", 30, async () =>
    (await call("GET", `${backend.url}/ready`)).status === 503 ? true : undefined,
  );

  const answers = await Promise.all([
    call("POST", tasks(), { user, body: { title: "down" } }),
    call("GET", tasks(), { user }),
    call("GET", `${tasks()}/${id}`, { user }),
  ]);
  for (const answer of answers) {
    expect(answer.body).toEqual({
      statusCode: 503,
      error: "Service Unavailable",
      message: "The database cannot be reached; try again later",
    });
  }
  expect((await call("GET", `${backend.url}/ready`)).body).toMatchObject({ message: "Not ready: database" });
  expect((await call("GET", `${backend.url}/health`)).status).toBe(200);

  await postgres.start();
  await becomesReady(backend);
  expect((await call("GET", `${tasks()}/${id}`, { user })).body).toMatchObject({ title: "kept" });
  expect(backend.output()).not.toContain(postgresPassword);
});

test("a database lost in the middle of a change leaves neither the change nor its event", async () => {
  await outboxEmpties();
  // The change waits for this lock.
  const locker = new pg.Client({ connectionString: environment["DATABASE_URL"] });
  locker.on("error", () => undefined);
  await locker.connect();
  await locker.query("begin");
  await locker.query("lock table outbox in share mode");
  const created = call("POST", tasks(), { user, body: { title: "half done" } });
  await waitFor("the change to wait for the outbox", 60, async () => {
    const waiting = await query(postgres.port, "tasks", "select from pg_stat_activity where wait_event_type = 'Lock'");
    return waiting.length > 0 ? true : undefined;
  });
  await postgres.kill();

  expect(await created).toMatchObject({ status: 503 });
  await postgres.start();
  await becomesReady(backend);
  expect(await titles()).not.toContain("half done");
  // The event of another change can be back: its deletion wasn't flushed to disk when the database died.
  const halfDone = "select from outbox where task ->> 'title' = 'half done'";
  expect(await query(postgres.port, "tasks", halfDone)).toEqual([]);
  const id = await create("after the crash");
  await backend.logged("its event", (line) => line["taskId"] === id);
});

test("a database that is killed under load loses nothing that was acknowledged, and each change has its event", async () => {
  const acknowledged: number[] = [];
  let stopped = false;
  const users = Array.from({ length: 4 }, async () => {
    while (!stopped) {
      const { status, body } = await call<{ id: number }>("POST", tasks(), { user, body: { title: "under load" } });
      expect([201, 503]).toContain(status);
      if (status === 201) acknowledged.push(body.id);
    }
  });
  const reached = (count: number) =>
    waitFor(`${count} tasks`, 60, () => Promise.resolve(acknowledged.length >= count ? true : undefined));
  await reached(40);
  await postgres.kill();
  await postgres.start();
  await reached(acknowledged.length + 40);
  stopped = true;
  await Promise.all(users);
  await outboxEmpties();

  const rows = await query(postgres.port, "tasks", "select id from tasks where title = 'under load'");
  const ids = rows.map(({ id }) => Number(id));
  expect(ids).toEqual(expect.arrayContaining(acknowledged));
  const published = new Set(
    backend.log.filter(({ msg }) => msg === "Published event: task_created").map((line) => line["taskId"]),
  );
  expect(ids.filter((id) => !published.has(id))).toEqual([]);
});

test("a commit that comes late does not lose its event", async () => {
  await outboxEmpties();
  const late = new pg.Client({ connectionString: environment["DATABASE_URL"] });
  await late.connect();
  await late.query("begin");
  const event = randomUUID();
  const task = { id: 987_654, user_id: user, version: 7, updated_at: new Date().toISOString() };
  const note = "insert into outbox (event_id, type, traceparent, task) values ($1, 'task_deleted', '', $2)";
  await late.query(note, [event, JSON.stringify(task)]);
  // A later number, committed and published first.
  const id = await create("overtakes");
  await backend.logged("the later event", (line) => line["taskId"] === id);
  await late.query("commit");
  await late.end();
  await backend.logged("the earlier event", (line) => line["eventId"] === event);
  await outboxEmpties();
});

test("a column that a newer replica's migration adds breaks no statement that is prepared", async () => {
  const createSome = () => Promise.all(Array.from({ length: 10 }, () => create("on every connection")));
  const [id] = await createSome();
  await query(
    postgres.port,
    "tasks",
    "alter table tasks add column newer text; alter table outbox add column newer text",
  );
  await createSome();
  const changes = [
    await call("PUT", `${tasks()}/${id}`, { user, body: { title: "changed" } }),
    await call("PATCH", `${tasks()}/${id}/complete`, { user }),
    await call("GET", tasks(), { user }),
    await call("DELETE", `${tasks()}/${id}`, { user }),
  ];
  expect(changes.map(({ status }) => status)).toEqual([200, 200, 200, 204]);
});

test("SIGTERM lets a request in flight finish, and takes no other", async () => {
  const id = await create("locked");
  const stopping = await startService("backend", await freePort(), environment);
  const locker = new pg.Client({ connectionString: environment["DATABASE_URL"] });
  await locker.connect();
  await locker.query("begin");
  await locker.query("select from tasks where id = $1 for update", [id]);

  const inFlight = call("PUT", `${tasks(stopping)}/${id}`, { user, body: { title: "finished" } });
  await waitFor("the request to wait for the lock", 60, async () => {
    const waiting = await query(postgres.port, "tasks", "select from pg_stat_activity where wait_event_type = 'Lock'");
    return waiting.length > 0 ? true : undefined;
  });
  const exitCode = stopping.stop();
  await stopping.logged("that it stops", ({ msg }) => msg === "Stopping");
  await waitFor("others to be refused", 10, async () => {
    const answer = await call("GET", `${stopping.url}/ready`).catch((error: unknown) => error);
    return answer instanceof TypeError && answer.message === "fetch failed" ? true : undefined;
  });
  await locker.query("commit");
  await locker.end();

  expect((await inFlight).body).toMatchObject({ title: "finished" });
  expect(await exitCode).toBe(0);
  expect(await titles()).toContain("finished");
});

test("replicas that start together on an empty database migrate it once", async () => {
  const env = { ...environment, DATABASE_URL: await createDatabase(postgres.port, "fresh") };
  const replicas = await Promise.all([1, 2, 3].map(async () => startService("backend", await freePort(), env)));
  const applied = replicas.map(({ log }) => log.find(({ msg }) => msg.includes("schema"))?.["applied"]);
  expect(applied.toSorted()).toEqual([[], [], ["0001_tasks", "0002_outbox", "0003_recurrence"]]);
  expect(await query(postgres.port, "fresh", "select name from kysely_migration order by name")).toEqual([
    { name: "0001_tasks" },
    { name: "0002_outbox" },
    { name: "0003_recurrence" },
  ]);
  const exitCodes = await Promise.all(replicas.map((replica) => replica.stop()));
  expect(exitCodes).toEqual([0, 0, 0]);
});

test("it waits for a database that comes later, and meanwhile can be stopped", async () => {
  const url = databaseUrl(postgres.port, "later");
  const env = { ...environment, DATABASE_URL: url };
  const [waiting, stopped] = await Promise.all([
    startService("backend", await freePort(), env, { listening: false }),
    startService("backend", await freePort(), env, { listening: false }),
  ]);
  const line = await waiting.logged("that it waits", ({ msg }) => msg === "The database is not ready yet");
  expect(line["reason"]).toBe('database "later" does not exist');
  await stopped.logged("that it waits", ({ msg }) => msg === "The database is not ready yet");
  expect(await stopped.stop()).toBe(0);

  await createDatabase(postgres.port, "later");
  await waiting.logged("that it listens", ({ msg }) => msg.startsWith("Server listening"));
  expect(await waiting.stop()).toBe(0);
});

test("it gives up on a database that does not come, and says why without the password", async () => {
  const port = await freePort();
  const { exitCode, output, errors } = await runService("backend", {
    JWT_SECRET: jwtSecret,
    NEXT_TASK_TOKEN: nextTaskToken,
    APP_API_TOKEN: appApiToken,
    DATABASE_URL: databaseUrl(port, "tasks"),
    DATABASE_START_TIMEOUT_SECONDS: "1",
  });
  expect(exitCode).toBe(1);
  expect(errors).toBe("");
  const last = JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as { msg: string; err: { message: string } };
  expect(last.msg).toBe("Cannot start");
  expect(last.err.message).toBe(
    `The database could not be migrated within 1 s: connect ECONNREFUSED 127.0.0.1:${port}`,
  );
  expect(output).not.toContain(postgresPassword);
});
