import { randomUUID } from "node:crypto";
import { cloudEventSchema, eventTypes, services, topic, type EventType } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase, postgresPassword, query } from "../../../test/servers/postgres.ts";
import { jwtSecret, startService, type Service } from "../../../test/servers/service.ts";
import { startSubscriber, type Delivery, type Subscriber } from "../../../test/servers/subscriber.ts";
import { bearer } from "../../../test/servers/token.ts";

interface Task {
  id: number;
  user_id: string;
  title: string;
  description: string | null;
  completed: boolean;
  priority_id: number | null;
  due_date: string | null;
  recurrence: { rule: string; time_zone: string } | null;
  created_at: string;
  updated_at: string;
}

interface Page {
  items: Task[];
  next_after: number | null;
}

interface ErrorBody {
  statusCode: number;
  error: string;
  message: string;
  details?: { field: string; message: string }[];
}

const { postgresPort, brokers } = inject("servers");
const database = "tasks_api";
let daprd: Daprd;
let backend: Service;
let subscriber: Subscriber;

beforeAll(async () => {
  const port = await freePort();
  const [databaseUrl, sidecar, recorder] = await Promise.all([
    createDatabase(postgresPort, database),
    startDaprd({ appId: services.backend.appId, appPort: port, brokers, apiToken: "the-api-token-of-dapr" }),
    startSubscriber("tasks-test", brokers),
  ]);
  daprd = sidecar;
  subscriber = recorder;
  backend = await startService("backend", port, {
    DATABASE_URL: databaseUrl,
    DAPR_HTTP_PORT: String(daprd.httpPort),
    DAPR_API_TOKEN: "the-api-token-of-dapr",
  });
});

afterAll(async () => {
  await Promise.all([backend.stop(), daprd.stop(), subscriber.stop()]);
});

function tasksOf(user: string): string {
  return `${backend.url}/api/${user}/tasks`;
}

async function create(user: string, body: object = { title: "Test Event Flow" }): Promise<Task> {
  const created = await call<Task>("POST", tasksOf(user), { user, body });
  expect(created.status).toBe(201);
  return created.body;
}

function about(user: string, type?: EventType): (delivery: Delivery) => boolean {
  return ({ event }) =>
    (event["data"] as { user_id?: string }).user_id === user && (type === undefined || event["type"] === type);
}

test("a new task is answered whole, with its location", async () => {
  const user = randomUUID();
  const created = await call<Task>("POST", tasksOf(user), {
    user,
    body: { title: "  Write tests  ", description: "all", priority_id: 2, due_date: "2027-01-02T03:04:05+02:00" },
  });

  expect(created.status).toBe(201);
  expect(created.body).toEqual({
    id: expect.any(Number) as number,
    user_id: user,
    title: "Write tests",
    description: "all",
    completed: false,
    priority_id: 2,
    due_date: "2027-01-02T01:04:05.000Z",
    recurrence: null,
    created_at: expect.stringMatching(/^\d{4}-.*Z$/) as string,
    updated_at: created.body.created_at,
  });
  expect(created.headers.get("location")).toBe(`/api/${user}/tasks/${created.body.id}`);
  const read = await call<Task>("GET", `${backend.url}${created.headers.get("location") ?? ""}`, { user });
  expect(read.status).toBe(200);
  expect(read.body).toEqual(created.body);
});

test("each change reaches subscribers as a CloudEvent of the contract, in its topic, keyed by the task", async () => {
  const user = randomUUID();
  const task = await create(user, { title: "Test Event Flow", priority_id: 1, due_date: "2027-01-01T00:00:00Z" });
  const url = `${tasksOf(user)}/${task.id}`;
  const trace = "0af7651916cd43dd8448eb211c80319c";
  const updated = await call<Task>("PUT", url, {
    user,
    body: { title: "Renamed", priority_id: 3 },
    headers: { traceparent: `00-${trace}-b7ad6b7169203331-01` },
  });
  const completed = await call<Task>("PATCH", `${url}/complete`, { user });
  const deleted = await call("DELETE", url, { user });
  expect([updated.status, completed.status, deleted.status]).toEqual([200, 200, 204]);

  const deliveries = await subscriber.received("the task's events", 4, about(user));

  const data = Object.fromEntries(
    eventTypes.map((type) => {
      const delivery = deliveries.find(({ event }) => event["type"] === type);
      expect(delivery?.topic).toBe(topic(type));
      expect(delivery?.headers["__key"]).toBe(String(task.id));
      const event = cloudEventSchema(type).parse(delivery?.event);
      expect(event).toMatchObject({
        source: services.backend.appId,
        subject: String(task.id),
        taskversion: eventTypes.indexOf(type) + 1,
        traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/) as string,
      });
      if (type === "task_updated") expect(event.traceparent).toContain(trace);
      return [type, event.data];
    }),
  );
  expect(data).toEqual({
    task_created: {
      task_id: task.id,
      user_id: user,
      title: "Test Event Flow",
      priority_id: 1,
      due_date: "2027-01-01T00:00:00.000Z",
      created_at: task.created_at,
    },
    task_updated: {
      task_id: task.id,
      user_id: user,
      title: "Renamed",
      completed: false,
      priority_id: 3,
      due_date: null,
      recurrence: null,
      updated_at: updated.body.updated_at,
    },
    task_completed: {
      task_id: task.id,
      user_id: user,
      completed: true,
      due_date: null,
      recurrence: null,
      completed_at: completed.body.updated_at,
    },
    task_deleted: { task_id: task.id, user_id: user, deleted_at: expect.stringMatching(/Z$/) as string },
  });
  expect(new Set(deliveries.map(({ event }) => event["id"])).size).toBe(4);

  await backend.logged("the last event", (line) => line["userId"] === user && line["type"] === "task_deleted");
  const logged = backend.log.filter((line) => line["userId"] === user);
  expect(logged.map(({ msg }) => msg)).toEqual(eventTypes.map((type) => `Published event: ${type}`));
  expect(logged[1]?.["traceId"]).toBe(trace);
  expect(logged[0]).toMatchObject({
    eventId: deliveries.find(({ event }) => event["type"] === "task_created")?.event["id"],
    type: "task_created",
    taskId: task.id,
    durationMs: expect.any(Number) as number,
  });
});

test("PUT clears what it leaves out, but not the completion", async () => {
  const user = randomUUID();
  const task = await create(user, { title: "a", description: "b", priority_id: 1, due_date: "2027-01-01T00:00:00Z" });
  const url = `${tasksOf(user)}/${task.id}`;
  await call("PATCH", `${url}/complete`, { user });

  const replaced = await call<Task>("PUT", url, { user, body: { title: "c" } });
  expect(replaced.body).toMatchObject({
    title: "c",
    description: null,
    priority_id: null,
    due_date: null,
    completed: true,
    created_at: task.created_at,
  });
  expect(Date.parse(replaced.body.updated_at)).toBeGreaterThan(Date.parse(task.updated_at));

  const reopened = await call<Task>("PUT", url, { user, body: { title: "c", completed: false } });
  expect(reopened.body.completed).toBe(false);
});

test("a task can be completed and opened again, and says so only when something changed", async () => {
  const user = randomUUID();
  const task = await create(user);
  const url = `${tasksOf(user)}/${task.id}/complete`;

  const first = await call<Task>("PATCH", url, { user });
  const again = await call<Task>("PATCH", url, { user, body: { completed: true } });
  const reopened = await call<Task>("PATCH", url, { user, body: { completed: false } });

  expect(first.body.completed).toBe(true);
  expect(again.body).toEqual(first.body);
  expect(reopened.body.completed).toBe(false);
  const deliveries = await subscriber.received("both changes", 2, about(user, "task_completed"));
  expect(deliveries.map(({ event }) => event["taskversion"])).toEqual([2, 3]);
});

test("concurrent changes of one task are published in the order in which they are committed", async () => {
  const user = randomUUID();
  const task = await create(user);
  const titles = Array.from({ length: 12 }, (_, index) => `title ${index}`);
  await Promise.all(titles.map((title) => call("PUT", `${tasksOf(user)}/${task.id}`, { user, body: { title } })));

  const deliveries = await subscriber.received("the updates", titles.length, about(user, "task_updated"));

  const events = deliveries.map(({ event }) => event["data"] as { title: string; updated_at: string });
  const times = events.map(({ updated_at }) => updated_at);
  expect(times).toEqual([...new Set(times)].toSorted());
  expect(deliveries.map(({ event }) => event["taskversion"])).toEqual(titles.map((_, index) => index + 2));
  const final = await call<Task>("GET", `${tasksOf(user)}/${task.id}`, { user });
  expect(events.at(-1)?.title).toBe(final.body.title);
});

test("a list is paged in the order of ids and can be filtered", async () => {
  const user = randomUUID();
  const ids: number[] = [];
  for (let index = 0; index < 5; index += 1) {
    ids.push((await create(user, { title: `task ${index}` })).id);
  }
  await call("PATCH", `${tasksOf(user)}/${ids[1] ?? 0}/complete`, { user });

  const pages: number[][] = [];
  let after: number | null = 0;
  while (after !== null) {
    const page: { body: Page } = await call<Page>("GET", `${tasksOf(user)}?limit=2&after=${after}`, { user });
    pages.push(page.body.items.map(({ id }) => id));
    after = page.body.next_after;
  }
  expect(pages).toEqual([ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);

  const all = await call<Page>("GET", tasksOf(user), { user });
  expect(all.body.items.map(({ id }) => id)).toEqual(ids);
  expect(all.body.next_after).toBeNull();
  const done = await call<Page>("GET", `${tasksOf(user)}?completed=true`, { user });
  expect(done.body.items.map(({ id }) => id)).toEqual([ids[1]]);
  const open = await call<Page>("GET", `${tasksOf(user)}?completed=false&limit=4`, { user });
  expect(open.body.items.map(({ id }) => id)).toEqual(ids.filter((id) => id !== ids[1]));
  expect(open.body.next_after).toBeNull();
});

test("a user neither sees nor changes another's tasks", async () => {
  const [owner, other] = [randomUUID(), randomUUID()];
  const task = await create(owner);

  const calls = [
    ["GET", "", undefined],
    ["PUT", "", { title: "mine now" }],
    ["DELETE", "", undefined],
    ["PATCH", "/complete", undefined],
  ] as const;
  for (const [method, suffix, body] of calls) {
    const options = { user: other, ...(body !== undefined && { body }) };
    const underOwner = await call<ErrorBody>(method, `${tasksOf(owner)}/${task.id}${suffix}`, options);
    expect(underOwner.body).toEqual({
      statusCode: 403,
      error: "Forbidden",
      message: "The bearer token is another user's",
    });
    const underOther = await call<ErrorBody>(method, `${tasksOf(other)}/${task.id}${suffix}`, options);
    expect(underOther.body).toEqual({
      statusCode: 404,
      error: "Not Found",
      message: `There is no task ${task.id}`,
    });
  }
  const list = await call<Page>("GET", tasksOf(other), { user: other });
  expect(list.body.items).toEqual([]);
  const unchanged = await call<Task>("GET", `${tasksOf(owner)}/${task.id}`, { user: owner });
  expect(unchanged.body).toEqual(task);
  expect(backend.log.filter((line) => line["userId"] === other)).toEqual([]);
});

test.each([
  ["no title", {}, "body/title"],
  ["an empty title", { title: "   " }, "body/title"],
  ["a long title", { title: "x".repeat(201) }, "body/title"],
  ["a title with NUL", { title: "a\0b" }, "body/title"],
  ["a long description", { title: "a", description: "x".repeat(2001) }, "body/description"],
  ["a priority of 0", { title: "a", priority_id: 0 }, "body/priority_id"],
  ["a due date without offset", { title: "a", due_date: "2027-01-01T00:00:00" }, "body/due_date"],
  ["a due date that PostgreSQL has not", { title: "a", due_date: "0000-01-01T00:00:00Z" }, "body/due_date"],
  ["an unknown field", { title: "a", owner: "me" }, "body"],
  ["no object", ["a"], "body"],
])("a new task with %s is refused, and nothing is published", async (_what, body, field) => {
  const user = randomUUID();
  const refused = await call<ErrorBody>("POST", tasksOf(user), { user, body });

  expect(refused.status).toBe(400);
  expect(refused.body).toMatchObject({ statusCode: 400, error: "Bad Request" });
  expect(refused.body.details?.map((detail) => detail.field)).toEqual([field]);
  expect((await call<Page>("GET", tasksOf(user), { user })).body.items).toEqual([]);
  expect(backend.log.filter((line) => line["userId"] === user)).toEqual([]);
});

test("what is no JSON, no id or no page is refused", async () => {
  const user = randomUUID();
  const noJson = await fetch(tasksOf(user), {
    method: "POST",
    headers: { ...bearer(user), "content-type": "application/json" },
    body: "{",
  });
  expect(noJson.status).toBe(400);
  for (const path of ["/abc", "/0", "/1.5", "?limit=0", "?limit=101", "?completed=maybe", "?page=2"]) {
    const refused = await call<ErrorBody>("GET", `${tasksOf(user)}${path}`, { user });
    expect([path, refused.status]).toEqual([path, 400]);
  }
  // A valid number that is no id of PostgreSQL's is simply not there.
  const beyond = await call("GET", `${tasksOf(user)}/${Number.MAX_SAFE_INTEGER}`, { user });
  expect(beyond.status).toBe(404);
});

test("the OpenAPI document lists the routes", async () => {
  const { body } = await call<{ paths: Record<string, object> }>("GET", `${backend.url}/docs/json`);
  const operations = Object.entries(body.paths).map(([path, item]) => [path, Object.keys(item).sort()]);
  expect(operations.filter(([path]) => String(path).startsWith("/api"))).toEqual([
    ["/api/{user_id}/tasks", ["get", "post"]],
    ["/api/{user_id}/tasks/{id}", ["delete", "get", "put"]],
    ["/api/{user_id}/tasks/{id}/complete", ["patch"]],
  ]);
  const complete = body.paths["/api/{user_id}/tasks/{id}/complete"] as {
    patch: { requestBody: { required: boolean } };
  };
  expect(complete.patch.requestBody.required).toBe(false);
  const page = await fetch(`${backend.url}/docs`);
  expect(page.headers.get("content-type")).toContain("text/html");
});

test("the database has what the API says, and the log shows no secret", async () => {
  const user = randomUUID();
  const task = await create(user);
  expect(await query(postgresPort, database, `select id, title from tasks where user_id = '${user}'`)).toEqual([
    { id: String(task.id), title: "Test Event Flow" },
  ]);
  expect(backend.log.length).toBeGreaterThan(10);
  for (const secret of [jwtSecret, postgresPassword, "the-api-token-of-dapr", "Bearer "]) {
    expect(backend.output()).not.toContain(secret);
  }
});
