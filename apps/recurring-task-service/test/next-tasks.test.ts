/** From a completed task to its next one, by both services with their sidecars: once, whatever dies in between. */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { nextTaskPath, services } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase, lockTable } from "../../../test/servers/postgres.ts";
import { serverDir } from "../../../test/servers/process.ts";
import { nextTaskToken, runService, startService, type LogLine, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";

interface Task {
  readonly id: number;
  readonly user_id: string;
  readonly title: string;
  readonly completed: boolean;
  readonly due_date: string;
  readonly recurrence: { readonly rule: string; readonly time_zone: string } | null;
}

const { postgresPort, brokers, valkey } = inject("servers");
const database = "next_tasks";
const { backend, recurringTaskService } = services;
const names = serverDir("names");
const day = 24 * 3600 * 1000;

/** A service with its sidecar. */
interface Pod {
  service: Service;
  readonly daprd: Daprd;
  /** Starts the service anew, after it ended. */
  readonly start: (env?: Record<string, string>) => Promise<void>;
}

let tasks: Pod;
let recurring: Pod;

async function startPod(name: string, appId: string, env: Record<string, string>): Promise<Pod> {
  const port = await freePort();
  const daprd = await startDaprd({ appId, appPort: port, brokers, valkey, names: join(names, "names") });
  const start = (more = {}) => startService(name, port, { ...env, DAPR_HTTP_PORT: String(daprd.httpPort), ...more });
  const pod: Pod = {
    daprd,
    service: await start(),
    start: async (more) => {
      pod.service = await start(more);
    },
  };
  return pod;
}

beforeAll(async () => {
  const databaseUrl = await createDatabase(postgresPort, database);
  [tasks, recurring] = await Promise.all([
    startPod(backend.name, backend.appId, { DATABASE_URL: databaseUrl }),
    startPod(recurringTaskService.name, recurringTaskService.appId, {}),
  ]);
});

afterAll(async () => {
  for (const { service, daprd } of [recurring, tasks]) {
    await service.stop();
    await daprd.stop();
  }
  rmSync(names, { recursive: true, force: true });
});

function urlOf(user: string, id?: number): string {
  return `${tasks.service.url}/api/${user}/tasks${id === undefined ? "" : `/${id}`}`;
}

const daily = { rule: "FREQ=DAILY", time_zone: "Europe/Berlin" };

/** A task that is due tomorrow, unless told otherwise. */
async function create(user: string, changes: object = {}): Promise<Task> {
  const body = { title: "Water the plants", due_date: inDays(1), recurrence: daily, ...changes };
  const { status, body: task } = await call<Task>("POST", urlOf(user), { user, body });
  expect(status).toBe(201);
  return task;
}

function inDays(days: number): string {
  return new Date(Math.floor(Date.now() / 1_000) * 1_000 + days * day).toISOString();
}

async function complete(user: string, { id }: Task, completed = true): Promise<void> {
  const { status } = await call("PATCH", `${urlOf(user, id)}/complete`, { user, body: { completed } });
  expect(status).toBe(200);
}

async function put(user: string, task: Task, changes: object): Promise<void> {
  const { title, due_date, recurrence } = task;
  const body = { title, due_date, recurrence, ...changes };
  expect((await call("PUT", urlOf(user, task.id), { user, body })).status).toBe(200);
}

async function list(user: string): Promise<Task[]> {
  return (await call<{ items: Task[] }>("GET", urlOf(user), { user })).body.items;
}

/** The tasks of a user once there are so many. */
function tasksOf(user: string, count: number): Promise<Task[]> {
  return waitFor(
    `${count} tasks`,
    60,
    async () => {
      const found = await list(user);
      return found.length >= count ? found : undefined;
    },
    () => recurring.service.output().split("\n").slice(-8).join("\n"),
  );
}

/** What the service says became of a task's version. */
function handled({ id, user_id }: Pick<Task, "id" | "user_id">, version: number): Promise<LogLine> {
  return recurring.service.logged(
    `version ${version} of task ${id}`,
    (line) =>
      line["userId"] === user_id &&
      line["taskId"] === id &&
      line["taskVersion"] === version &&
      line["outcome"] !== undefined,
  );
}

/** Waits until the service handled a task's version, and expects that none follows. */
async function noneFollows(user: string, task: Task, version: number, outcome: string, message: string): Promise<void> {
  expect(await handled(task, version)).toMatchObject({ outcome, msg: message });
  expect(await list(user)).toHaveLength(1);
}

test("a completed task is followed by its next one, on and on", async () => {
  const user = randomUUID();
  let task = await create(user, { description: "ferns", priority_id: 2 });
  for (let count = 2; count <= 4; count += 1) {
    await complete(user, task);
    const [, ...later] = await tasksOf(user, count);
    const next = later.at(-1);
    expect(next).toMatchObject({
      title: "Water the plants",
      description: "ferns",
      priority_id: 2,
      completed: false,
      recurrence: daily,
    });
    expect(await handled(task, 2)).toMatchObject({
      outcome: "made",
      msg: `NEXT TASK: ID ${next?.id}, due ${next?.due_date}, follows ID ${task.id}`,
    });
    expect(Date.parse(next?.due_date ?? "") - Date.parse(task.due_date)).toBeGreaterThanOrEqual(23 * 3600 * 1000);
    task = next ?? task;
  }
});

test("it's part of the trace of the request that completed the task", async () => {
  const user = randomUUID();
  const task = await create(user);
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  await call("PATCH", `${urlOf(user, task.id)}/complete`, {
    user,
    headers: { traceparent: `00-${trace}-00f067aa0ba902b7-01` },
  });
  const [, next] = await tasksOf(user, 2);
  const line = await tasks.service.logged(
    "the next one's event",
    ({ msg, taskId }) => taskId === next?.id && msg === "Published event: task_created",
  );
  expect(line["traceId"]).toBe(trace);
});

test("who is late has the next one to come, not those that were missed; who is early, the one after the due date", async () => {
  const user = randomUUID();
  const late = await create(user, { due_date: inDays(-9.5), recurrence: { ...daily, time_zone: "UTC" } });
  await complete(user, late);
  const [, afterLate] = await tasksOf(user, 2);
  expect(afterLate?.due_date).toBe(new Date(Date.parse(late.due_date) + 10 * day).toISOString());

  const [other, weekly] = [randomUUID(), { rule: "FREQ=WEEKLY", time_zone: "UTC" }];
  const early = await create(other, { due_date: inDays(30), recurrence: weekly });
  await complete(other, early);
  const [, afterEarly] = await tasksOf(other, 2);
  expect(afterEarly?.due_date).toBe(new Date(Date.parse(early.due_date) + 7 * day).toISOString());
});

test("clocks that change leave the time of day, and months without a 31st are left out", async () => {
  const [summer, monthly] = [randomUUID(), randomUUID()];
  const saturday = await create(summer, { due_date: "2032-10-30T09:00:00+02:00" });
  const january = await create(monthly, {
    due_date: "2032-01-31T08:00:00Z",
    recurrence: { rule: "FREQ=MONTHLY", time_zone: "Europe/Berlin" },
  });
  await complete(summer, saturday);
  await complete(monthly, january);
  expect((await tasksOf(summer, 2))[1]?.due_date).toBe("2032-10-31T08:00:00.000Z");
  // At 09:00 by a clock that is in summer time by then.
  expect((await tasksOf(monthly, 2))[1]?.due_date).toBe("2032-03-31T07:00:00.000Z");
});

test("a task that is completed together with other changes is followed, too", async () => {
  const user = randomUUID();
  const task = await create(user);
  await put(user, task, { title: "Water all plants", completed: true });
  expect((await tasksOf(user, 2)).map(({ title }) => title)).toEqual(["Water all plants", "Water all plants"]);
  // A later change of a completed one makes no other.
  await put(user, task, { title: "Watered all plants" });
  expect(await handled(task, 3)).toMatchObject({ outcome: "repeated" });
  expect(await list(user)).toHaveLength(2);
});

test("the last of a series has none after it", async () => {
  const user = randomUUID();
  const counted = await create(user, { recurrence: { ...daily, rule: "FREQ=DAILY;COUNT=2" } });
  await complete(user, counted);
  const [, last] = await tasksOf(user, 2);
  await complete(user, last ?? counted);
  expect(await handled(last ?? counted, 2)).toMatchObject({
    outcome: "last",
    msg: `No next task: Task ${last?.id} was the last of its series`,
  });
  expect(await list(user)).toHaveLength(2);

  const other = randomUUID();
  const until = await create(other, {
    due_date: "2032-01-01T08:00:00Z",
    recurrence: { ...daily, rule: "FREQ=DAILY;UNTIL=20320102T075959Z" },
  });
  await complete(other, until);
  await noneFollows(other, until, 2, "last", `No next task: Task ${until.id} was the last of its series`);
});

test("a recurrence that is changed or ended before the completion is so for the next one", async () => {
  const [changed, ended] = [randomUUID(), randomUUID()];
  const [task, single] = [await create(changed), await create(ended)];
  await put(changed, task, { recurrence: { rule: "FREQ=WEEKLY", time_zone: "UTC" } });
  await complete(changed, task);
  const [, next] = await tasksOf(changed, 2);
  expect(next?.due_date).toBe(new Date(Date.parse(task.due_date) + 7 * day).toISOString());

  await put(ended, single, { recurrence: null });
  await complete(ended, single);
  await noneFollows(ended, single, 3, "single", `No next task: Task ${single.id} doesn't recur`);
});

test("a task that is opened and completed again has no second next one", async () => {
  const user = randomUUID();
  const task = await create(user);
  await complete(user, task);
  const both = await tasksOf(user, 2);
  await complete(user, task, false);
  expect(await handled(task, 3)).toMatchObject({ outcome: "open" });
  await complete(user, task);
  expect(await handled(task, 4)).toMatchObject({ outcome: "repeated" });
  expect((await list(user)).map(({ id }) => id)).toEqual(both.map(({ id }) => id));
});

test("what happened to a task before its completion is handled counts", async () => {
  const [gone, open, single, weekly] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  const [deleted, reopened, ended, moved] = [
    await create(gone),
    await create(open),
    await create(single),
    await create(weekly),
  ];
  expect(await recurring.service.stop()).toBe(0);
  for (const [user, task] of [
    [gone, deleted],
    [open, reopened],
    [single, ended],
    [weekly, moved],
  ] as const) {
    await complete(user, task);
  }
  expect((await call("DELETE", urlOf(gone, deleted.id), { user: gone })).status).toBe(204);
  await complete(open, reopened, false);
  await put(single, ended, { recurrence: null });
  await put(weekly, moved, { recurrence: { rule: "FREQ=WEEKLY", time_zone: "UTC" } });
  await recurring.start();

  expect(await handled(deleted, 2)).toMatchObject({ msg: `No next task: Task ${deleted.id} was deleted` });
  expect(await list(gone)).toEqual([]);
  await noneFollows(open, reopened, 2, "open", `No next task: Task ${reopened.id} is open`);
  await noneFollows(single, ended, 2, "single", `No next task: Task ${ended.id} doesn't recur`);
  const [, next] = await tasksOf(weekly, 2);
  expect(next?.due_date).toBe(new Date(Date.parse(moved.due_date) + 7 * day).toISOString());
  // By the event of the change: that of the completion tells of what isn't so any more.
  expect([(await handled(moved, 2))["outcome"], (await handled(moved, 3))["outcome"]].toSorted()).toEqual(
    expect.arrayContaining(["made"]),
  );
  expect(await list(weekly)).toHaveLength(2);
});

test("a service that is killed after the backend made the next task makes no other when the event comes again", async () => {
  const user = randomUUID();
  const task = await create(user);
  // The transaction is held up where the next task is noted, by a lock on the table: the call is under way and stays so.
  const locked = await lockTable(postgresPort, database, "successions");
  await complete(user, task);
  await waitFor("the next task to be under way", 60, async () => ((await locked.isWaitedFor()) ? true : undefined));
  await recurring.service.kill();
  await locked.release();
  await tasksOf(user, 2);
  await recurring.start();
  expect(await handled(task, 2)).toMatchObject({ outcome: "repeated" });
  expect(await list(user)).toHaveLength(2);
});

test("an event that is delivered many times makes one next task", async () => {
  const user = randomUUID();
  const task = await create(user);
  await recurring.service.stop();
  await complete(user, task);
  await recurring.start();
  const event = eventOf(
    "task_completed",
    {
      task_id: task.id,
      user_id: user,
      completed: true,
      due_date: task.due_date,
      recurrence: { ...daily, starts_at: task.due_date },
      completed_at: new Date().toISOString(),
    },
    { taskversion: 2 },
  );
  const deliver = () =>
    call("POST", `${recurring.service.url}/events/task-completed`, { headers: asSidecar, body: event });
  const answers = await Promise.all(Array.from({ length: 8 }, deliver));
  expect(answers.map(({ body }) => body)).toEqual(answers.map(() => ({ status: "SUCCESS" })));
  await handled(task, 2);
  expect(await list(user)).toHaveLength(2);
});

test("an event that knows nothing of recurrence has the backend asked", async () => {
  const [user, other] = [randomUUID(), randomUUID()];
  const [task, single] = [await create(user), await create(other, { recurrence: null })];
  await recurring.daprd.kill();
  await complete(user, task);
  await complete(other, single);
  for (const [owner, { id }] of [
    [user, task],
    [other, single],
  ] as const) {
    const data = { task_id: id, user_id: owner, completed: true, completed_at: new Date().toISOString() };
    await publish(tasks.daprd, eventOf("task_completed", data, { taskversion: 2 }));
  }
  await recurring.daprd.start();
  await tasksOf(user, 2);
  await noneFollows(other, single, 2, "single", `No next task: Task ${single.id} doesn't recur`);
  const gone = eventOf("task_completed", {
    task_id: 999_999,
    user_id: user,
    completed: true,
    completed_at: new Date().toISOString(),
  });
  await publish(tasks.daprd, gone);
  expect(await handled({ id: 999_999, user_id: user }, 1)).toMatchObject({ outcome: "gone" });
});

test("while the backend is away the event is retried, and then makes one", async () => {
  const user = randomUUID();
  const task = await create(user);
  await recurring.service.stop();
  await complete(user, task);
  await tasks.service.logged("the completion", ({ type, taskId }) => type === "task_completed" && taskId === task.id);
  await tasks.service.kill();
  await recurring.start();
  const retried = await recurring.service.logged(
    "the retry",
    (line) => line["userId"] === user && line["taskId"] === task.id,
  );
  expect(retried).toMatchObject({
    level: 40,
    msg: "Event to be retried: task_completed",
    err: { message: expect.stringContaining(`Dapr could not call ${backend.appId}: ERR_DIRECT_INVOKE`) as string },
  });
  await tasks.start();
  await tasksOf(user, 2);
  expect(await handled(task, 2)).toMatchObject({ outcome: "made" });

  // So it is without the backend's sidecar, which nobody finds then.
  const again = await create(user);
  await recurring.service.stop();
  await complete(user, again);
  await tasks.service.logged("the completion", ({ type, taskId }) => type === "task_completed" && taskId === again.id);
  await tasks.daprd.kill();
  await recurring.start();
  await recurring.service.logged(
    "the retry",
    (line) => line["userId"] === user && line["taskId"] === again.id && line["level"] === 40,
  );
  await tasks.daprd.start();
  await tasksOf(user, 4);
  expect(await handled(again, 2)).toMatchObject({ outcome: "made" });
  expect(await list(user)).toHaveLength(4);
});

test("with another token than the backend's it says so and goes on trying, until it has the right one", async () => {
  const user = randomUUID();
  const task = await create(user);
  await recurring.service.stop();
  await complete(user, task);
  const wrongToken = "another-token-of-more-than-32-bytes";
  await recurring.start({ NEXT_TASK_TOKEN: wrongToken });
  for (const times of [1, 6]) {
    await waitFor(`${times} tries`, 60, () =>
      Promise.resolve(
        recurring.service.log.filter((line) => line["userId"] === user && line["taskId"] === task.id).length >= times
          ? true
          : undefined,
      ),
    );
  }
  const line = recurring.service.log.find((line) => line["userId"] === user && line["taskId"] === task.id);
  expect(line).toMatchObject({
    level: 40,
    msg: "Event to be retried: task_completed",
    err: { message: "The backend doesn't take the token: NEXT_TASK_TOKEN isn't the same in both services" },
  });
  expect(await list(user)).toHaveLength(1);
  expect(recurring.service.output()).not.toContain(wrongToken);
  await recurring.service.stop();
  await recurring.start();
  await tasksOf(user, 2);
  expect(await handled(task, 2)).toMatchObject({ outcome: "made" });
});

test("a rule that can't be gone through ends as a dead letter, with the cause", async () => {
  const user = randomUUID();
  const task = await create(user);
  const recurrence = { rule: "FREQ=SOMETIMES", time_zone: "UTC", starts_at: task.due_date };
  const completed_at = new Date().toISOString();
  const data = { task_id: task.id, user_id: user, completed: true, due_date: task.due_date, recurrence, completed_at };
  const event = eventOf("task_completed", data);
  await publish(tasks.daprd, event);
  const line = await recurring.service.logged("the dead letter", ({ msg, eventId }) => {
    return eventId === event.id && msg === "Dead letter: task_completed";
  });
  expect(line["cause"]).toMatch(/^It failed 5 times: .*SOMETIMES/i);
});

test("it keeps its token to itself, and a wrong environment ends it", async () => {
  expect(recurring.service.output() + tasks.service.output()).not.toContain(nextTaskToken);
  expect(await runService(recurringTaskService.name, { JWT_SECRET: "0123456789abcdef0123456789abcdef" })).toEqual({
    exitCode: 1,
    output: "",
    errors: `The environment is not valid:
  APP_API_TOKEN is not set; it must be a token of at least 32 bytes
  NEXT_TASK_TOKEN is not set; it must be a token of at least 32 bytes
`,
  });
  // Nor does the path lead through the sidecar without it.
  const through = `http://127.0.0.1:${recurring.daprd.httpPort}/v1.0/invoke/${backend.appId}/method${nextTaskPath(randomUUID(), 1)}`;
  expect((await call("GET", through)).status).toBe(401);
});
