/** Recurring tasks as users write them, and what the recurring-task service has made of them. */
import { randomUUID } from "node:crypto";
import { cloudEventSchema, nextTaskPath, services, type Series } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call, type Answer } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase, query } from "../../../test/servers/postgres.ts";
import { nextTaskToken, startService, type Service } from "../../../test/servers/service.ts";
import { startSubscriber, type Subscriber } from "../../../test/servers/subscriber.ts";

interface Task {
  id: number;
  user_id: string;
  title: string;
  description: string | null;
  completed: boolean;
  priority_id: number | null;
  due_date: string;
  recurrence: { rule: string; time_zone: string } | null;
}

interface ErrorBody {
  message: string;
  details?: { field: string; message: string }[];
}

const { postgresPort, brokers } = inject("servers");
const database = "recurrence";
const weekly = { rule: "FREQ=WEEKLY;COUNT=5", time_zone: "Europe/Berlin" };
const dueDate = "2027-01-04T08:00:00.000Z";
const nextDue = "2027-01-11T08:00:00.000Z";
let daprd: Daprd;
let backend: Service;
let subscriber: Subscriber;

beforeAll(async () => {
  const port = await freePort();
  const [databaseUrl, sidecar, recorder] = await Promise.all([
    createDatabase(postgresPort, database),
    startDaprd({ appId: services.backend.appId, appPort: port, brokers }),
    startSubscriber("recurrence-test", brokers),
  ]);
  daprd = sidecar;
  subscriber = recorder;
  backend = await startService("backend", port, {
    DATABASE_URL: databaseUrl,
    DAPR_HTTP_PORT: String(daprd.httpPort),
  });
});

afterAll(async () => {
  await Promise.all([backend.stop(), daprd.stop(), subscriber.stop()]);
});

function tasksOf(user: string, id?: number): string {
  return `${backend.url}/api/${user}/tasks${id === undefined ? "" : `/${id}`}`;
}

async function create(user: string, changes: object = {}): Promise<Task> {
  const body = { title: "Water the plants", due_date: dueDate, recurrence: weekly, ...changes };
  const { status, body: task } = await call<Task>("POST", tasksOf(user), { user, body });
  expect(status).toBe(201);
  return task;
}

async function complete(task: Task, completed = true): Promise<void> {
  const { status } = await call("PATCH", `${tasksOf(task.user_id, task.id)}/complete`, {
    user: task.user_id,
    body: { completed },
  });
  expect(status).toBe(200);
}

async function put(task: Task, changes: object): Promise<Task> {
  const { title, due_date, recurrence } = task;
  const { status, body } = await call<Task>("PUT", tasksOf(task.user_id, task.id), {
    user: task.user_id,
    body: { title, due_date, recurrence, ...changes },
  });
  expect(status).toBe(200);
  return body;
}

async function listed(user: string): Promise<Task[]> {
  return (await call<{ items: Task[] }>("GET", tasksOf(user), { user })).body.items;
}

/** Calls as the recurring-task service does. */
function internal<T>(
  method: string,
  { user_id, id }: Pick<Task, "user_id" | "id">,
  body?: object,
  { token = nextTaskToken, sidecar = asSidecar }: { token?: string; sidecar?: Record<string, string> } = {},
): Promise<Answer<T>> {
  const headers = { authorization: `Bearer ${token}`, ...sidecar };
  return call<T>(method, `${backend.url}${nextTaskPath(user_id, id)}`, { headers, ...(body && { body }) });
}

interface Premises {
  version: number;
  due_date: string | null;
  recurrence: Series | null;
}

async function premises(task: Task): Promise<Premises> {
  const { status, body } = await internal<Premises>("GET", task);
  expect(status).toBe(200);
  return body;
}

function makeNext(task: Task, version: number, due_date = nextDue) {
  return internal<{ task_id?: number; reason?: string; message?: string }>("PUT", task, { version, due_date });
}

test("a task has the recurrence that it was given, until it's cleared", async () => {
  const user = randomUUID();
  const task = await create(user, { recurrence: { rule: "freq=weekly;byday=mo", time_zone: "Europe/Berlin" } });
  expect(task.recurrence).toEqual({ rule: "FREQ=WEEKLY;BYDAY=MO", time_zone: "Europe/Berlin" });
  expect((await call<Task>("GET", tasksOf(user, task.id), { user })).body).toEqual(task);
  expect(await listed(user)).toEqual([task]);

  expect((await put(task, { recurrence: weekly })).recurrence).toEqual(weekly);
  expect((await put(task, { recurrence: undefined })).recurrence).toBeNull();
  expect(await premises(task)).toMatchObject({ recurrence: null });
});

test.each([
  ["a rule that is none", { rule: "every monday", time_zone: "UTC" }, "body/recurrence/rule: must consist of FREQ"],
  ["a zone that is none", { rule: "FREQ=DAILY", time_zone: "Mars" }, "body/recurrence/time_zone: must be a time zone"],
  ["no zone", { rule: "FREQ=DAILY" }, "body/recurrence/time_zone: "],
  ["a field too many", { rule: "FREQ=DAILY", time_zone: "UTC", until: "ever" }, "body/recurrence: "],
  [
    "a rule that matches never",
    { rule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", time_zone: "UTC" },
    "body/recurrence/rule: must match a day within 10 years after the due date",
  ],
  [
    "a rule that the RFC forbids",
    { rule: "FREQ=WEEKLY;BYMONTHDAY=1", time_zone: "UTC" },
    "body/recurrence/rule: must follow RFC 5545: ",
  ],
])("%s is refused, new or as a change", async (_what, recurrence, message) => {
  const user = randomUUID();
  const body = { title: "a", due_date: dueDate, recurrence };
  const refused = await call<ErrorBody>("POST", tasksOf(user), { user, body });
  expect([refused.status, refused.body.message]).toEqual([400, expect.stringContaining(message)]);
  const task = await create(user);
  const changed = await call<ErrorBody>("PUT", tasksOf(user, task.id), { user, body });
  expect([changed.status, changed.body.message]).toEqual([400, expect.stringContaining(message)]);
  expect(await listed(user)).toEqual([task]);
});

test.each([
  ["no due date", null],
  ["a due date long ago", "1999-12-31T23:59:59Z"],
])("a recurring task with %s is refused", async (_what, due_date) => {
  const user = randomUUID();
  const body = { title: "a", due_date, recurrence: weekly };
  const refused = await call<ErrorBody>("POST", tasksOf(user), { user, body });
  expect([refused.status, refused.body.message]).toEqual([
    400,
    "body/due_date: must be given for a task that recurs, in 2000 or later",
  ]);
});

test("events tell what a next task follows from", async () => {
  const user = randomUUID();
  const task = await create(user);
  await put(task, { title: "Water all plants" });
  await complete(task);
  const deliveries = await subscriber.received(
    "the task's changes",
    3,
    ({ event }) => (event["data"] as { user_id?: string }).user_id === user,
  );
  const series = { ...weekly, starts_at: dueDate };
  for (const type of ["task_updated", "task_completed"] as const) {
    const event = cloudEventSchema(type).parse(deliveries.find(({ event }) => event["type"] === type)?.event);
    expect(event.data).toMatchObject({ due_date: dueDate, recurrence: series });
  }
});

test("a completed task is followed once, by one that has all of it but the due date", async () => {
  const user = randomUUID();
  const task = await create(user, { description: "the ferns, too", priority_id: 3 });
  await complete(task);
  const { version, recurrence } = await premises(task);
  expect([version, recurrence]).toEqual([2, { ...weekly, starts_at: dueDate }]);

  const made = await makeNext(task, version);
  expect(made.status).toBe(201);
  const [, following, ...others] = await listed(user);
  expect(others).toEqual([]);
  expect(following).toEqual({
    ...task,
    id: made.body.task_id,
    due_date: nextDue,
    created_at: expect.any(String) as string,
    updated_at: expect.any(String) as string,
  });
  const [creation] = await subscriber.received(
    "the next one's creation",
    1,
    ({ event }) =>
      event["type"] === "task_created" &&
      (event["data"] as { user_id?: string }).user_id === user &&
      event["subject"] === String(made.body.task_id),
  );
  expect(creation?.event["data"]).toMatchObject({ user_id: user, due_date: nextDue });

  // Its series goes on with it.
  expect((await internal<Premises>("GET", { ...task, id: made.body.task_id ?? 0 })).body).toEqual({
    version: 1,
    due_date: nextDue,
    recurrence: { ...weekly, starts_at: dueDate },
  });

  const again = await makeNext(task, version, "2027-01-18T08:00:00Z");
  expect([again.status, again.body]).toEqual([200, made.body]);
  await complete(task, false);
  expect((await makeNext(task, 3)).body).toEqual(made.body);
  await complete(task);
  expect((await makeNext(task, 4)).body).toEqual(made.body);
  expect(await listed(user)).toHaveLength(2);
});

test("of calls at the same time one makes it, and all are told of it", async () => {
  const user = randomUUID();
  const task = await create(user);
  await complete(task);
  const answers = await Promise.all(Array.from({ length: 12 }, () => makeNext(task, 2)));
  expect(answers.map(({ status }) => status).toSorted()).toEqual([...Array<number>(11).fill(200), 201]);
  expect(new Set(answers.map(({ body }) => body.task_id)).size).toBe(1);
  expect(await listed(user)).toHaveLength(2);
});

test("a next one that was deleted isn't made again", async () => {
  const user = randomUUID();
  const task = await create(user);
  await complete(task);
  const { body } = await makeNext(task, 2);
  expect((await call("DELETE", tasksOf(user, body.task_id), { user })).status).toBe(204);
  const again = await makeNext(task, 2);
  expect([again.status, again.body]).toEqual([200, body]);
  expect(await listed(user)).toHaveLength(1);
});

test("none follows a task that is open, single, changed since, or gone", async () => {
  const user = randomUUID();
  const task = await create(user);
  const refused = async (version: number) => {
    const { status, body } = await makeNext(task, version);
    return [status, body.reason, body.message];
  };
  expect(await refused(1)).toEqual([409, "open", `Task ${task.id} is open`]);
  await complete(task);
  await put(task, { title: "Water the cacti" });
  expect(await refused(2)).toEqual([409, "changed", `Task ${task.id} has version 3 by now`]);
  await put(task, { recurrence: null });
  expect(await refused(4)).toEqual([409, "single", `Task ${task.id} doesn't recur`]);
  await call("DELETE", tasksOf(user, task.id), { user });
  expect(await refused(4)).toEqual([404, undefined, `There is no task ${task.id}`]);
  expect((await internal("GET", task)).status).toBe(404);
  expect(await listed(user)).toEqual([]);
});

test("with a deleted task goes what was noted of its next one", async () => {
  const user = randomUUID();
  const task = await create(user);
  await complete(task);
  await makeNext(task, 2);
  await call("DELETE", tasksOf(user, task.id), { user });
  expect(await query(postgresPort, database, `select from successions where predecessor_id = ${task.id}`)).toEqual([]);
  expect(await listed(user)).toHaveLength(1);
});

test("a series goes on through changes of anything else, and begins anew with another due date, rule or zone", async () => {
  const task = await create(randomUUID(), { due_date: "2027-01-04T09:00:00.123456+01:00" });
  await complete(task);
  const { body } = await makeNext(task, 2);
  const next: Task = { ...task, id: body.task_id ?? 0, due_date: nextDue };
  const startAfter = async (changes: object) => {
    await put(next, changes);
    return (await premises(next)).recurrence?.starts_at;
  };
  const start = "2027-01-04T08:00:00.123Z";
  expect(await startAfter({ title: "Water the cacti" })).toBe(start);
  expect(await startAfter({ due_date: "2027-01-11T09:00:00+01:00" })).toBe(start);
  expect(await startAfter({ due_date: "2027-01-12T08:00:00Z" })).toBe("2027-01-12T08:00:00.000Z");
  expect(await startAfter({})).toBe(nextDue);
  expect(await startAfter({ recurrence: { ...weekly, rule: "FREQ=DAILY" } })).toBe(nextDue);
  expect(await startAfter({ recurrence: null })).toBeUndefined();
  expect(await startAfter({})).toBe(nextDue);
});

test("next tasks are for the recurring-task service only, and no part of the documented API", async () => {
  const user = randomUUID();
  const task = await create(user);
  await complete(task);
  for (const token of ["", "wrong", `${nextTaskToken}x`]) {
    for (const method of ["GET", "PUT"]) {
      const refused = await internal(method, task, method === "PUT" ? { version: 2, due_date: nextDue } : undefined, {
        token,
      });
      expect([refused.status, refused.body]).toEqual([
        401,
        {
          statusCode: 401,
          error: "Unauthorized",
          message: "Only the recurring-task service may call this, by NEXT_TASK_TOKEN",
        },
      ]);
    }
  }
  expect((await call("GET", `${backend.url}${nextTaskPath(user, task.id)}`, { user })).status).toBe(401);
  // Nor past the sidecar, which knows who calls.
  for (const sidecar of [{}, { "dapr-api-token": "" }, { "dapr-api-token": nextTaskToken }]) {
    const refused = await internal("PUT", task, { version: 2, due_date: nextDue }, { sidecar });
    expect([refused.status, refused.body]).toMatchObject([401, { message: "Only the sidecar may call this" }]);
  }
  expect(await listed(user)).toHaveLength(1);
  const { body } = await call<{ paths: object }>("GET", `${backend.url}/docs/json`);
  expect(Object.keys(body.paths).filter((path) => path.startsWith("/internal"))).toEqual([]);
  expect(backend.output()).not.toContain(nextTaskToken);
});
