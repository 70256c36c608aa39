import { randomUUID } from "node:crypto";
import { components, eventTypes, services, type CloudEvent, type EventType } from "@event-flow/events";
import { DaprClient } from "@event-flow/service";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call, type Answer } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { jwtSecret, startService, type Service } from "../../../test/servers/service.ts";
import { messages } from "../src/messages.ts";
import { kept, notify, type Notification } from "../src/notifications.ts";

const { brokers, valkey } = inject("servers");
const apiToken = "the-api-token-of-dapr";
const appApiToken = "the-token-that-this-daprd-shows-its-app";
let daprd: Daprd;
/** The service itself may publish no event. */
let publisher: Daprd;
let dapr: DaprClient;
let service: Service;

beforeAll(async () => {
  const port = await freePort();
  const appId = services.notificationService.appId;
  daprd = await startDaprd({ appId, appPort: port, brokers, valkey, apiToken, appApiToken });
  publisher = await startDaprd({ appId: "notifications-publisher", appPort: await freePort(), brokers });
  dapr = new DaprClient({ port: daprd.httpPort, apiToken });
  service = await startService(services.notificationService.name, port, {
    DAPR_HTTP_PORT: String(daprd.httpPort),
    DAPR_API_TOKEN: apiToken,
    APP_API_TOKEN: appApiToken,
  });
});

afterAll(async () => {
  await dapr.close();
  await Promise.all([service.stop(), daprd.stop(), publisher.stop()]);
});

let lastTask = 0;

/** Another task's creation. */
function created(user: string, changes: Partial<CloudEvent<"task_created">> = {}): CloudEvent<"task_created"> {
  lastTask += 1;
  const data = { user_id: user, title: "Test Event Flow", priority_id: null, due_date: null };
  return eventOf(
    "task_created",
    { ...data, task_id: lastTask, created_at: changes.time ?? new Date().toISOString() },
    changes,
  );
}

function updated(
  user: string,
  taskId: number,
  changes: Partial<CloudEvent<"task_updated">>,
): CloudEvent<"task_updated"> {
  const data = { task_id: taskId, user_id: user, title: "a", completed: false, priority_id: null };
  return eventOf("task_updated", { ...data, updated_at: new Date().toISOString() }, changes);
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
  const deadLetters = { deadLetterTopic: "task-events.dead-letter.notification-service" };
  expect(answer.body).toEqual([
    { pubsubname: components.pubsub, topic: "task-events.task_created", route: "/events/task-created", ...deadLetters },
    { pubsubname: components.pubsub, topic: "task-events.task_updated", route: "/events/task-updated", ...deadLetters },
    {
      pubsubname: components.pubsub,
      topic: "task-events.task_completed",
      route: "/events/task-completed",
      ...deadLetters,
    },
    { pubsubname: components.pubsub, topic: "task-events.task_deleted", route: "/events/task-deleted", ...deadLetters },
    {
      pubsubname: components.pubsub,
      topic: "task-events.dead-letter.notification-service",
      route: "/events/dead-letter",
      metadata: { rawPayload: "true" },
    },
  ]);
});

test("every event on the broker becomes a line in the log and a notification of its user", async () => {
  const user = randomUUID();
  const at = new Date().toISOString();
  const task = { task_id: 7, user_id: user };
  const events = [
    created(user, { data: { ...created(user).data, ...task } }),
    updated(user, 7, { taskversion: 2 }),
    eventOf("task_completed", { ...task, completed: true, completed_at: at }, { taskversion: 3 }),
    eventOf("task_deleted", { ...task, deleted_at: at }, { taskversion: 4 }),
  ];
  for (const event of events) {
    await publish(publisher, event);
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
    const traceId = events[index]?.traceparent?.split("-")[1];
    expect(line).toMatchObject({ level: 30, type: eventTypes[index], taskId: 7, userId: user, traceId });
    expect(line["sinceEventMs"]).toBeGreaterThanOrEqual(0);
  }
  const listed = await notifications(user);
  expect(listed.toSorted((a, b) => texts.indexOf(a.message) - texts.indexOf(b.message))).toEqual(
    events.map((event, index) => ({
      id: expect.any(String) as string,
      event_id: event.id,
      // Topics have no order between them.
      sequence: expect.any(Number) as number,
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
  await publish(publisher, event);
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
    expect(await notify(dapr, event, "told")).toBe("told");
  }
  const [oldest, ...others] = events.map(({ id }) => id);
  expect((await notifications(user)).map(({ event_id }) => event_id)).toEqual(others.toReversed());

  expect(events[0]?.id).toBe(oldest);
  expect((await deliver(events[0])).body).toEqual({ status: "SUCCESS" });
  expect((await notifications(user)).map(({ event_id }) => event_id)).toEqual(others.toReversed());
});

test("what is older than what was seen of its task changes nothing", async () => {
  const user = randomUUID();
  const [first, second, third] = [2, 3, 4].map((taskversion) => updated(user, 1, { taskversion }));
  for (const event of [first, third, second, first]) {
    expect((await deliver(event, "task_updated")).body).toEqual({ status: "SUCCESS" });
  }
  expect((await notifications(user)).map(({ event_id }) => event_id).toSorted()).toEqual(
    [first?.id, third?.id].toSorted(),
  );
  expect((await handled(second?.id ?? "")).msg).toBe(
    "Ignored event: task_updated is older than what was seen of its task",
  );
});

test("a creation that comes after its task's change is told too, in the order in which they happened", async () => {
  const user = randomUUID();
  const creation = created(user, { time: "2026-01-01T00:00:01Z" });
  const change = updated(user, creation.data.task_id, { taskversion: 2, time: "2026-01-01T00:00:02Z" });
  await deliver(change, "task_updated");
  await deliver(creation);
  expect((await notifications(user)).map(({ event_id }) => event_id)).toEqual([change.id, creation.id]);
});

test("what was seen of tasks is bounded, and outlasts the notifications", async () => {
  const user = randomUUID();
  const events = Array.from({ length: 2 * kept + 5 }, () => created(user));
  for (const event of events) {
    await notify(dapr, event, "told");
  }
  const { value } = await dapr.getState(user);
  expect((value as { seen: unknown[] }).seen).toHaveLength(2 * kept);
  const old = events.at(-kept - 1);
  expect(old && (await notify(dapr, old, "told again"))).toBe("repeated");
});

test("a document from before versions is still read", async () => {
  const user = randomUUID();
  await dapr.saveState(user, { value: { notifications: [] }, etag: undefined });
  expect(await notify(dapr, created(user), "told")).toBe("told");
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
  expect(Object.keys(body.paths)).toEqual([
    "/health",
    "/ready",
    "/api/{user_id}/notifications",
    "/api/{user_id}/notifications/preferences",
    "/api/{user_id}/notifications/push-subscriptions",
    "/api/{user_id}/notifications/push-subscriptions/{id}",
    "/api/{user_id}/notifications/deliveries",
    "/api/{user_id}/notifications/stream",
  ]);
  for (const secret of [jwtSecret, apiToken, appApiToken]) {
    expect(service.output()).not.toContain(secret);
  }
});
