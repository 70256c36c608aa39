/** Events by a real broker and sidecar into a real database, and what goes wrong on the way. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventTypes, services, topic, type EventType } from "@event-flow/events";
import { DaprClient } from "@event-flow/service";
import { Admin } from "@platformatic/kafka";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { random } from "../../../test/chaos/random.ts";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase, query, startPostgres, type Postgres } from "../../../test/servers/postgres.ts";
import { appApiToken, runService, startService, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import type { Stats } from "../src/stats.ts";
import { figures, lives, type TaskEvent } from "./history.ts";

const { brokers, valkey } = inject("servers");
const { name } = services.analyticsService;
/** An app id of its own is a consumer group of its own: it gets every event, also those of other test files. */
const appId = "analytics-delivery";
const database = "analytics";
let postgres: Postgres;
let daprd: Daprd;
let service: Service;
let port: number;
let environment: Record<string, string>;

beforeAll(async () => {
  port = await freePort();
  postgres = await startPostgres();
  environment = { DATABASE_URL: await createDatabase(postgres.port, database) };
  daprd = await startDaprd({ appId, appPort: port, brokers, valkey });
  environment["DAPR_HTTP_PORT"] = String(daprd.httpPort);
  service = await startService(name, port, environment);
});

afterAll(async () => {
  await Promise.all([service.stop(), daprd.stop()]);
  await postgres.stop();
});

const range = { from: "2026-02-03", to: "2026-02-14" };

function get(user: string, at = service) {
  return call<Stats>("GET", `${at.url}/api/${user}/stats?${new URLSearchParams(range).toString()}`, { user });
}

async function statsOf(user: string, at = service): Promise<Stats> {
  const { status, body } = await get(user, at);
  expect(status).toBe(200);
  return body;
}

/** Waits until a user's figures are these. */
function counted(user: string, expected: Partial<Stats>, at = service): Promise<Stats> {
  return waitFor(
    `the figures of user ${user}`,
    60,
    async () => {
      const { status, body } = await get(user, at);
      if (status !== 200) return undefined;
      return Object.entries(expected).every(([figure, value]) => body[figure as keyof Stats] === value)
        ? body
        : undefined;
    },
    () => at.output().split("\n").slice(-10).join("\n"),
  );
}

/** What is counted of an event, which here is all that it says. */
function created(user: string, changes: { task_id?: number; taskversion?: number } = {}) {
  const { task_id = 1, ...others } = changes;
  const time = "2026-02-05T12:00:00.000Z";
  return eventOf(
    "task_created",
    { task_id, user_id: user, title: "a", priority_id: null, due_date: null, created_at: time },
    { time, ...others },
  );
}

/** Publishes events in this order, by as few calls as that takes. */
async function publishAll(events: readonly TaskEvent[]): Promise<void> {
  const dapr = new DaprClient({ port: daprd.httpPort });
  try {
    for (const [type, group] of Map.groupBy(events, (event) => event.type)) {
      expect(await dapr.publish<EventType>(type, group)).toEqual([]);
    }
  } finally {
    await dapr.close();
  }
}

const compared = ["open", "overdue", "created", "completed", "reopened", "deleted"] as const;

/** What is compared of them: the rest follows. */
function figuresOf(stats: Stats) {
  return Object.fromEntries(compared.map((figure) => [figure, stats[figure]]));
}

/** Everything that this file has published for the users of the rebuild. */
const tasks = lives(random(7), 40, { from: Date.parse("2026-02-01"), to: Date.parse("2026-02-14") });
const users = Map.groupBy(tasks, (events) => events[0]?.data.user_id ?? "");

test("all four events reach the figures, by way of the broker", async () => {
  expect(new Set(tasks.flat().map(({ type }) => type))).toEqual(new Set(eventTypes));
  await publishAll(random(8).shuffle(tasks.flat()));
  for (const [user, own] of users) {
    const expected = figures(own, range.from, range.to);
    const stats = await counted(user, figuresOf(expected));
    expect(stats.days).toEqual(expected.days);
  }
});

test("what was replayed is counted once", async () => {
  await publishAll(random(9).shuffle(tasks.flat()));
  const marker = randomUUID();
  // One for each partition would take a few of them: these are in as many as there are.
  await publishAll(Array.from({ length: 20 }, (_, index) => created(marker, { task_id: index + 1 })));
  await counted(marker, { created: 20 });
  for (const [user, own] of users) {
    expect(figuresOf(await statsOf(user))).toEqual(figuresOf(figures(own, range.from, range.to)));
  }
});

test("while the database is away events are retried and requests answered 503; then they are counted", async () => {
  const user = randomUUID();
  await postgres.kill();
  const event = created(user);
  await publish(daprd, event);
  const line = await service.logged("the retry", ({ eventId }) => eventId === event.id);
  expect(line).toMatchObject({ level: 40, msg: "Event to be retried: task_created", userId: user });
  expect((await get(user)).body).toMatchObject({
    statusCode: 503,
    message: "The database cannot be reached; try again later",
  });
  expect((await call("GET", `${service.url}/ready`)).body).toMatchObject({ message: "Not ready: database" });
  expect((await call("GET", `${service.url}/health`)).status).toBe(200);

  await postgres.start();
  await counted(user, { created: 1, open: 1 });
  expect((await call("GET", `${service.url}/ready`)).status).toBe(200);
  expect(service.output()).not.toContain("Dead letter");
});

test("events that come while the service restarts are counted afterwards", async () => {
  const user = randomUUID();
  expect(await service.stop()).toBe(0);
  await publish(daprd, created(user));
  service = await startService(name, port, environment);
  await counted(user, { created: 1 });
});

test("events that can't be noted go to the dead letters, and count once they are replayed", async () => {
  const user = randomUUID();
  await query(postgres.port, database, "alter table changes rename to mislaid");
  const event = created(user);
  await publish(daprd, event);
  const { deadLetter } = await service.logged(
    "the dead letter",
    (line) => line.msg === "Dead letter: task_created" && line["eventId"] === event.id,
  );
  await query(postgres.port, database, "alter table mislaid rename to changes");

  const deadLetters = async (...args: string[]) => {
    const command = join(import.meta.dirname, "..", "..", "..", "commands", "dead-letters.ts");
    const url = `--dapr=http://127.0.0.1:${daprd.httpPort}`;
    return (await promisify(execFile)(process.execPath, [command, ...args, url])).stdout;
  };
  await waitFor("the dead letter to be kept", 60, async () =>
    (await deadLetters("list")).includes(String(deadLetter)) ? true : undefined,
  );
  await deadLetters("replay", String(deadLetter));
  await counted(user, { created: 1, open: 1 });
});

test("a number that is none of a change's harms no other event", async () => {
  const user = randomUUID();
  const wrong = created(user, { taskversion: 2 ** 31 });
  await publish(daprd, wrong);
  await publish(daprd, created(user, { task_id: 2 }));
  await counted(user, { created: 1 });
  await service.logged(
    "the dead letter",
    (line) => line.msg === "Dead letter: task_created" && line["eventId"] === wrong.id,
  );
});

/** The figures of everybody that this file knows. */
async function everybody(at = service) {
  return Promise.all([...users.keys()].map((user) => statsOf(user, at)));
}

test("rebuilt from the topics' start as the README says, the figures are the same", { timeout: 240_000 }, async () => {
  const before = await everybody();
  const admin = new Admin({ clientId: "test", bootstrapBrokers: [brokers] });
  try {
    // No consumer may be there. (On a cluster: `kubectl scale --replicas=0`.)
    await service.stop();
    await daprd.terminate();
    const { exitCode, output } = await runService(
      name,
      { ...environment, JWT_SECRET: "x".repeat(32), APP_API_TOKEN: appApiToken },
      "src/forget.ts",
    );
    expect([exitCode, output]).toEqual([0, "Every change is forgotten.\n"]);
    expect(await query(postgres.port, database, "select count(*)::int from changes")).toEqual([{ count: 0 }]);

    // What `rpk group seek analytics-service --to start --topics …` does.
    const topics = eventTypes.map((type) => topic(type));
    await waitFor("the group to be empty", 60, async () => {
      const group = (await admin.describeGroups({ groups: [appId] })).get(appId);
      return group?.members.size === 0 ? true : undefined;
    });
    const [offsets] = await admin.listConsumerGroupOffsets({ groups: [appId] });
    const read = offsets?.topics.filter((each) => topics.some((one) => one === each.name)) ?? [];
    expect(read).toHaveLength(topics.length);
    await admin.alterConsumerGroupOffsets({
      groupId: appId,
      topics: read.map((each) => ({
        name: each.name,
        partitionOffsets: each.partitions.map(({ partitionIndex }) => ({ partition: partitionIndex, offset: 0n })),
      })),
    });
  } finally {
    await admin.close();
  }
  service = await startService(name, port, environment);
  await daprd.start();
  for (const [user, own] of users) await counted(user, figuresOf(figures(own, range.from, range.to)));
  expect(await everybody()).toEqual(before);
});

test("built beside it by another group into an empty database, the figures are the same, too", async () => {
  const before = await everybody();
  const anotherPort = await freePort();
  const another = await startDaprd({ appId: "analytics-rebuilt", appPort: anotherPort, brokers, valkey });
  const rebuilt = await startService(name, anotherPort, {
    DATABASE_URL: await createDatabase(postgres.port, "rebuilt"),
    DAPR_HTTP_PORT: String(another.httpPort),
  });
  try {
    for (const [user, own] of users) await counted(user, figuresOf(figures(own, range.from, range.to)), rebuilt);
    expect(await everybody(rebuilt)).toEqual(before);
  } finally {
    await rebuilt.stop();
    await another.stop();
  }
});

test("a database that isn't there at the start is waited for, and one that never comes is told", async () => {
  const late = await startPostgres();
  const url = late.url("analytics");
  await late.kill();
  const gone = await runService(name, {
    ...environment,
    JWT_SECRET: "x".repeat(32),
    APP_API_TOKEN: appApiToken,
    PORT: String(await freePort()),
    DATABASE_URL: url,
    DATABASE_START_TIMEOUT_SECONDS: "1",
  });
  expect(gone.exitCode).toBe(1);
  expect(gone.output).toContain("The database could not be migrated within 1 s");
  expect(gone.output).not.toContain(new URL(url).password);

  const waiting = await startService(
    name,
    await freePort(),
    { ...environment, DATABASE_URL: url },
    { listening: false },
  );
  await waiting.logged("that it waits", ({ msg }) => msg === "The database is not ready yet");
  await late.start();
  await createDatabase(late.port, "analytics");
  await waiting.logged("that it listens", ({ msg }) => msg.startsWith("Server listening"));
  expect(await waiting.stop()).toBe(0);
  await late.stop();
});

test("a wrong environment ends the process with every problem named", async () => {
  expect(await runService(name, { JWT_SECRET: "too short", APP_API_TOKEN: "" })).toEqual({
    exitCode: 1,
    output: "",
    errors: `The environment is not valid:
  JWT_SECRET is not valid; it must be at least 32 bytes long
  APP_API_TOKEN is not valid; it must be at least 32 bytes long
  DATABASE_URL is not set; it must be a URL like postgres://user:password@host:5432/database
`,
  });
});
