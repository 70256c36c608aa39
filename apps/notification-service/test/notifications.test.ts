import { randomUUID } from "node:crypto";
import { components, eventTypes, services, topic, type CloudEvent, type EventType } from "@event-flow/events";
import { DaprClient } from "@event-flow/service";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call, type Answer } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { jwtSecret, startService, type Service } from "../../../test/servers/service.ts";
import { messages } from "../src/messages.ts";
import { kept, notify, type Notification } from "../src/notifications.ts";

const { brokers, valkey } = inject("servers");
const apiToken = "the-api-token-of-dapr";
const appApiToken = "the-token-that-daprd-shows";
let daprd: Daprd;
let dapr: DaprClient;
let service: Service;

beforeAll(async () => {
  const port = await freePort();
  const appId = services.notificationService.appId;
  daprd = await startDaprd({ appId, appPort: port, brokers, valkey, apiToken, appApiToken });
  dapr = new DaprClient({ port: daprd.httpPort, apiToken });
  service = await startService(services.notificationService.name, port, {
    DAPR_HTTP_PORT: String(daprd.httpPort),
    DAPR_API_TOKEN: apiToken,
    APP_API_TOKEN: appApiToken,
  });
});

afterAll(async () => {
  await dapr.close();
  await Promise.all([service.stop(), daprd.stop()]);
});

let lastTask = 0;

function created(user: string, changes: Partial<CloudEvent<"task_created">> = {}): CloudEvent<"task_created"> {
  lastTask += 1;
  const time = changes.time ?? new Date().toISOString();
  return {
    specversion: "1.0",
    id: randomUUID(),
    source: services.backend.appId,
    type: "task_created",
    subject: String(lastTask),
    time,
    datacontenttype: "application/json",
    data: {
      task_id: lastTask,
      user_id: user,
      title: "Test Event Flow",
      priority_id: null,
      due_date: null,
      created_at: time,
    },
    ...changes,
  };
}

function eventOf<T extends EventType>(type: T, data: CloudEvent<T>["data"]): CloudEvent<T> {
  return { ...created(data.user_id), type, subject: String(data.task_id), data };
}

async function notifications(user: string): Promise<Notification[]> {
  const answer = await call<Notification[]>("GET", `${service.url}/api/${user}/notifications`, { user });
  expect(answer.status).toBe(200);
  return answer.body;
}

/** What the sidecar does with a message: POSTs it to the route that it was told. */
function deliver(body: unknown, type: EventType = "task_created"): Promise<Answer<{ status: string }>> {
  return call("POST", `${service.url}/events/${type.replace("_", "-")}`, {
    body,
    headers: { "content-type": "application/cloudevents+json", "dapr-api-token": appApiToken },
  });
}

function handled(eventId: string) {
  return service.logged(`event ${eventId}`, (line) => line["eventId"] === eventId);
}

test("the sidecar is told of a subscription for every event type", async () => {
  const answer = await call("GET", `${service.url}/dapr/subscribe`, { headers: { "dapr-api-token": appApiToken } });
  expect(answer.body).toEqual([
    { pubsubname: components.pubsub, topic: "task-events.task_created", route: "/events/task-created" },
    { pubsubname: components.pubsub, topic: "task-events.task_updated", route: "/events/task-updated" },
    { pubsubname: components.pubsub, topic: "task-events.task_completed", route: "/events/task-completed" },
    { pubsubname: components.pubsub, topic: "task-events.task_deleted", route: "/events/task-deleted" },
  ]);
});

test("every event on the broker becomes a line in the log and a notification of its user", async () => {
  const user = randomUUID();
  const at = new Date().toISOString();
  const task = { task_id: 7, user_id: user };
  const events = [
    created(user, { data: { ...created(user).data, ...task } }),
    eventOf("task_updated", { ...task, title: "a", completed: false, priority_id: null, updated_at: at }),
    eventOf("task_completed", { ...task, completed: true, completed_at: at }),
    eventOf("task_deleted", { ...task, deleted_at: at }),
  ];
  for (const event of events) {
    await dapr.publish(event, "7");
  }
  const lines = await Promise.all(events.map(({ id }) => handled(id)));

  const texts = [
    `NEW TASK: Test Event Flow (User: ${user})`,
    "TASK UPDATED: ID 7",
    "TASK COMPLETED: ID 7",
    "TASK DELETED: ID 7",
  ];
  expect(lines.map(({ msg }) => msg)).toEqual(texts);
  for (const [index, line] of lines.entries()) {
    expect(line).toMatchObject({ level: 30, type: eventTypes[index], taskId: 7, userId: user });
    expect(line["sinceEventMs"]).toBeGreaterThan(0);
  }
  const listed = await notifications(user);
  expect(listed.toSorted((a, b) => texts.indexOf(a.message) - texts.indexOf(b.message))).toEqual(
    events.map((event, index) => ({
      id: expect.any(String) as string,
      event_id: event.id,
      type: event.type,
      task_id: 7,
      message: texts[index],
      created_at: event.time,
      notified_at: expect.any(String) as string,
    })),
  );
});

test("a task that was opened again is not said to be completed", () => {
  expect(messages.task_completed({ task_id: 7, user_id: "u", completed: false, completed_at: "now" })).toBe(
    "TASK REOPENED: ID 7",
  );
});

test("the most recent event comes first, in whatever order events arrive", async () => {
  const user = randomUUID();
  const times = ["2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z", "2026-01-01T00:00:01Z"];
  for (const time of times) {
    expect((await deliver(created(user, { time }))).body).toEqual({ status: "SUCCESS" });
  }
  expect((await notifications(user)).map(({ created_at }) => created_at)).toEqual(times.toSorted().toReversed());
});

test("an event that is delivered again changes nothing", async () => {
  const user = randomUUID();
  const event = created(user);
  await dapr.publish(event, "1");
  await handled(event.id);
  const before = await notifications(user);
  expect(before).toHaveLength(1);

  expect((await deliver(event)).body).toEqual({ status: "SUCCESS" });

  expect(await notifications(user)).toEqual(before);
  const lines = service.log.filter((line) => line["eventId"] === event.id).map(({ msg }) => msg);
  expect(lines).toEqual([
    `NEW TASK: Test Event Flow (User: ${user})`,
    "Ignored event: task_created was delivered before",
  ]);
});

test("events of one user that are handled at the same time are all kept", async () => {
  const user = randomUUID();
  const events = Array.from({ length: 12 }, () => created(user));
  const answers = await Promise.all(events.map((event) => deliver(event)));
  const statuses = answers.map(({ body }) => body.status);
  expect(statuses).toEqual(events.map(() => "SUCCESS"));
  const listed = (await notifications(user)).map(({ event_id }) => event_id);
  expect(listed.toSorted()).toEqual(events.map(({ id }) => id).toSorted());
});

test("only the most recent notifications are kept, and an older event does not come back", async () => {
  const user = randomUUID();
  const events = Array.from({ length: kept + 1 }, (_, index) =>
    created(user, { time: new Date(Date.UTC(2026, 0, 1) + index * 1_000).toISOString() }),
  );
  for (const event of events) {
    expect(await notify(dapr, event, "told")).toBe(true);
  }
  const [oldest, ...others] = events.map(({ id }) => id);
  expect((await notifications(user)).map(({ event_id }) => event_id)).toEqual(others.toReversed());

  expect(events[0]?.id).toBe(oldest);
  expect((await deliver(events[0])).body).toEqual({ status: "SUCCESS" });
  expect((await notifications(user)).map(({ event_id }) => event_id)).toEqual(others.toReversed());
});

test.each([
  ["another type's data", created(randomUUID(), { type: "task_deleted" as "task_created" }), ["type: "]],
  ["no user", { ...created(randomUUID()), data: { task_id: 1, title: "a" } }, ["data.user_id: ", "data.priority_id: "]],
  ["no time", { ...created(randomUUID()), time: undefined }, ["time: "]],
  ["no CloudEvent", { hello: "world" }, ["specversion: ", "id: "]],
])("an event with %s is dropped, and the log says why", async (_what, event, issues) => {
  const before = service.log.length;
  const answer = await deliver(event);
  expect([answer.status, answer.body]).toEqual([200, { status: "DROP" }]);
  const line = await service.logged(
    "the drop",
    (entry) => service.log.indexOf(entry) >= before && entry.msg.startsWith("Dropped event: task_created"),
  );
  expect(line).toMatchObject({ level: 50, type: "task_created", ...("id" in event && { eventId: event.id }) });
  for (const issue of issues) {
    expect(line["issues"]).toContainEqual(expect.stringContaining(issue));
  }
});

test("a message that cannot be read is dropped: no later delivery of it could be", async () => {
  const headers = { "content-type": "application/cloudevents+json", "dapr-api-token": appApiToken };
  for (const body of ["{", "", JSON.stringify({ data: "x".repeat(2 ** 20) })]) {
    const response = await fetch(`${service.url}/events/task-created`, { method: "POST", headers, body });
    expect([response.status, await response.json()]).toEqual([200, { status: "DROP" }]);
  }
});

test("poison on the broker does not block what comes after it in its partition", async () => {
  const user = randomUUID();
  const publish = `http://127.0.0.1:${daprd.httpPort}/v1.0/publish/${components.pubsub}/${topic("task_created")}`;
  const poisoned = await call("POST", `${publish}?metadata.partitionKey=poison`, {
    body: { not: "an event" },
    headers: { "dapr-api-token": apiToken },
  });
  expect(poisoned.status).toBe(204);
  const event = created(user);
  await dapr.publish(event, "poison");
  await handled(event.id);
  expect(await notifications(user)).toHaveLength(1);
});

test("events and notifications are for those who may", async () => {
  const [user, other] = [randomUUID(), randomUUID()];
  const forged = await call("POST", `${service.url}/events/task-created`, { body: created(user) });
  expect(forged.body).toEqual({ statusCode: 401, error: "Unauthorized", message: "Only the sidecar may call this" });
  expect((await call("GET", `${service.url}/dapr/subscribe`)).status).toBe(401);
  expect(await notifications(user)).toEqual([]);

  expect((await call("GET", `${service.url}/api/${user}/notifications`)).status).toBe(401);
  expect((await call("GET", `${service.url}/api/${user}/notifications`, { user: other })).status).toBe(403);
});

test("it is ready, documents what users may call, and its log shows no secret", async () => {
  expect((await call("GET", `${service.url}/ready`)).body).toEqual({ status: "ready" });
  const { body } = await call<{ paths: object }>("GET", `${service.url}/docs/json`);
  expect(Object.keys(body.paths)).toEqual(["/health", "/ready", "/api/{user_id}/notifications"]);
  for (const secret of [jwtSecret, apiToken, appApiToken]) {
    expect(service.output()).not.toContain(secret);
  }
});
