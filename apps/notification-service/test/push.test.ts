import { randomUUID } from "node:crypto";
import { metrics, services, type CloudEvent } from "@event-flow/events";
import { afterAll, afterEach, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startPushService, type PushService, type Subscription } from "../../../test/servers/push-service.ts";
import { startService, type Service, vapidSecret } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import { vapidKeys } from "../src/vapid.ts";

const { brokers, valkey } = inject("servers");
const { publicKey } = vapidKeys(vapidSecret);

let pushService: PushService;
/** Another maker's. */
let otherService: PushService;
let daprd: Daprd;
let port: number;
let service: Service;

function start(more: Record<string, string> = {}): Promise<Service> {
  return startService(services.notificationService.name, port, {
    DAPR_HTTP_PORT: String(daprd.httpPort),
    VAPID_SECRET: vapidSecret,
    VAPID_SUBJECT: "mailto:admin@example.com",
    PUSH_ENDPOINTS_ALLOWED: [pushService.origin, otherService.origin].join(","),
    NODE_EXTRA_CA_CERTS: pushService.ca,
    ...more,
  });
}

beforeAll(async () => {
  pushService = await startPushService();
  otherService = await startPushService({ trustedWith: pushService });
  port = await freePort();
  daprd = await startDaprd({ appId: "notification-push", appPort: port, brokers, valkey });
  service = await start();
});

afterAll(async () => {
  await Promise.all([service.stop(), daprd.stop()]);
  await Promise.all([pushService.close(), otherService.close()]);
});

afterEach(() => {
  pushService.answer(undefined);
  pushService.took = undefined;
});

function url(user: string, path: string): string {
  return `${service.url}/api/${user}/notifications${path}`;
}

async function subscribe(user: string, to = pushService): Promise<Subscription> {
  const subscription = to.subscribe(publicKey);
  const answer = await call("POST", url(user, "/push-subscriptions"), { user, body: subscription.json });
  expect(answer).toMatchObject({ status: 201, body: { id: expect.stringMatching(/^[\w-]{22}$/) as unknown } });
  return subscription;
}

interface Subscriptions {
  readonly public_key: string | null;
  readonly subscriptions: { id: string; service: string }[];
}

async function subscriptions(user: string): Promise<Subscriptions> {
  return (await call<Subscriptions>("GET", url(user, "/push-subscriptions"), { user })).body;
}

let lastTask = 0;

function created(user: string, title = "Water the plants"): CloudEvent<"task_created"> {
  lastTask += 1;
  const data = { task_id: lastTask, user_id: user, title, priority_id: null, due_date: null };
  return eventOf("task_created", { ...data, created_at: new Date().toISOString() });
}

async function deliver(event: CloudEvent<"task_created">): Promise<void> {
  const answer = await call("POST", `${service.url}/events/task-created`, { headers: asSidecar, body: event });
  expect(answer.body).toEqual({ status: "SUCCESS" });
}

interface Deliveries {
  readonly pending: { event_id: string; tries: number; cause?: string }[];
  readonly failed: { event_id: string; cause: string }[];
}

async function deliveries(user: string): Promise<Deliveries> {
  return (await call<Deliveries>("GET", url(user, "/deliveries"), { user })).body;
}

function settled(user: string): Promise<Deliveries> {
  return waitFor(`nothing to be pending for ${user}`, 90, async () => {
    const found = await deliveries(user);
    return found.pending.length === 0 ? found : undefined;
  });
}

test("a browser gets the key, subscribes, is shown without its endpoint, and unsubscribes", async () => {
  const user = randomUUID();
  expect(await subscriptions(user)).toEqual({ public_key: publicKey, subscriptions: [] });
  const { json } = await subscribe(user);
  // Again, as a page does that isn't sure.
  expect((await call("POST", url(user, "/push-subscriptions"), { user, body: json })).status).toBe(201);
  const { subscriptions: shown } = await subscriptions(user);
  expect(shown).toEqual([{ id: expect.any(String) as unknown, service: pushService.origin }]);
  expect((await call("GET", url(user, "/preferences"), { user })).body).toEqual({
    email: null,
    channels: ["push"],
    available: ["push"],
  });
  const stranger = randomUUID();
  for (const [method, path] of [
    ["GET", ""],
    ["POST", ""],
    ["DELETE", `/${shown[0]?.id ?? ""}`],
  ] as const) {
    const body = method === "POST" ? json : undefined;
    const answer = await call(method, url(user, `/push-subscriptions${path}`), { user: stranger, body });
    expect(answer.status).toBe(403);
  }
  const removed = await call("DELETE", url(user, `/push-subscriptions/${shown[0]?.id ?? ""}`), { user });
  expect(removed.status).toBe(204);
  expect((await subscriptions(user)).subscriptions).toEqual([]);
});

test("a user may have ten browsers subscribed", async () => {
  const user = randomUUID();
  for (let nth = 0; nth < 10; nth += 1) await subscribe(user);
  const eleventh = pushService.subscribe(publicKey).json;
  expect(await call("POST", url(user, "/push-subscriptions"), { user, body: eleventh })).toMatchObject({
    status: 409,
    body: { message: "body: a user may have 10 browsers subscribed; unsubscribe one first" },
  });
});

test.each([
  [{ endpoint: "http://push.example.com/1" }, /^body\/endpoint: /],
  [{ endpoint: "https://127.0.0.1/1" }, "body/endpoint: 127.0.0.1 is not a public address"],
  [{ endpoint: "https://169.254.169.254/latest/meta-data" }, "body/endpoint: 169.254.169.254 is not a public address"],
  [{ endpoint: "https://localhost/1" }, "body/endpoint: localhost is not a public address"],
  [{ endpoint: "https://push.example.com:8443/1" }, "body/endpoint: it must have no port"],
  [{ endpoint: `https://push.example.com/${"x".repeat(2_000)}` }, /^body\/endpoint: /],
  [{ keys: {} }, /^body\/keys\/p256dh: .*body\/keys\/auth: /],
  [{ keys: { auth: "short" } }, /^body\/keys\/auth: must be 16 bytes in base64url/],
  [{ keys: { p256dh: `B${"A".repeat(86)}` } }, "body/keys/p256dh: must be a point of P-256"],
])("a subscription that can't work, or leads inside, is refused: %j", async (part, message) => {
  const user = randomUUID();
  const { json } = pushService.subscribe(publicKey);
  const keys =
    "keys" in part ? ("auth" in part.keys || "p256dh" in part.keys ? { ...json.keys, ...part.keys } : {}) : json.keys;
  const refused = await call("POST", url(user, "/push-subscriptions"), { user, body: { ...json, ...part, keys } });
  expect(refused).toMatchObject({
    status: 400,
    body: { message: typeof message === "string" ? message : (expect.stringMatching(message) as unknown) },
  });
});

test("each of a user's browsers is told once, however often the event comes", async () => {
  const user = randomUUID();
  const [first, second] = [await subscribe(user), await subscribe(user, otherService)];
  const event = created(user, "Größe messen 📏");
  await publish(daprd, event);
  for (const each of [first, second]) {
    const [message] = await each.received(1);
    expect(message).toMatchObject({
      event_id: event.id,
      type: "task_created",
      task_id: event.data.task_id,
      message: `NEW TASK: Größe messen 📏 (User: ${user})`,
    });
  }
  await deliver(event);
  await deliver(event);
  await deliver(created(user, "The last one"));
  for (const each of [first, second]) expect(await each.received(2)).toHaveLength(2);
  expect((await settled(user)).failed).toEqual([]);
  expect(first.messages()).toHaveLength(2);
  expect(second.messages()).toHaveLength(2);
});

test("a browser that its push service knows no more is forgotten, and the others are told", async () => {
  const user = randomUUID();
  const [gone, other] = [await subscribe(user), await subscribe(user)];
  gone.end();
  const event = created(user);
  await deliver(event);
  await other.received(1);
  const { failed } = await settled(user);
  expect(failed).toEqual([
    expect.objectContaining({
      event_id: event.id,
      cause: "The browser's subscription is gone: The push service answered HTTP 410",
    }),
  ]);
  expect((await subscriptions(user)).subscriptions).toHaveLength(1);
});

test("while a push service is down only what goes to it is late, and then comes once", async () => {
  const user = randomUUID();
  const [late, prompt] = [await subscribe(user), await subscribe(user, otherService)];
  await pushService.down();
  const events = [created(user, "first"), created(user, "second")];
  for (const event of events) await deliver(event);
  await prompt.received(2);
  const list = await call<unknown[]>("GET", url(user, ""), { user });
  expect(list.body).toHaveLength(2);
  const { pending } = await waitFor("only those to be pending, with the cause", 30, async () => {
    const found = await deliveries(user);
    return found.pending.length === 2 && found.pending.every(({ cause }) => cause !== undefined) ? found : undefined;
  });
  expect(pending.map(({ event_id }) => event_id).sort()).toEqual(events.map(({ id }) => id).sort());
  for (const { cause } of pending) expect(cause).toMatch(/^The push service can't be reached: ./);
  expect(pending.every(({ tries }) => tries === 0)).toBe(true);
  const shown = await (await fetch(`${service.url}/metrics`)).text();
  expect(shown).toContain(`${metrics.channelWaiting}{channel="push"} 2`);
  await pushService.up();
  expect((await settled(user)).failed).toEqual([]);
  expect(
    late
      .messages()
      .map(({ event_id }) => event_id)
      .sort(),
  ).toEqual(events.map(({ id }) => id).sort());
});

test.each([
  [429, { "retry-after": "2" }],
  [503, {}],
  [500, { "retry-after": new Date(Date.now() + 1_000).toUTCString() }],
])("a push service that answers %i is asked again later", async (status, headers) => {
  const user = randomUUID();
  const subscription = await subscribe(user);
  pushService.answer({ status, headers });
  const event = created(user);
  await deliver(event);
  await waitFor("the cause to be noted", 30, async () => {
    const { pending } = await deliveries(user);
    return pending[0]?.cause === `The push service answered HTTP ${status}` ? true : undefined;
  });
  expect(subscription.messages()).toEqual([]);
  pushService.answer(undefined);
  await subscription.received(1);
  expect((await settled(user)).failed).toEqual([]);
  expect(subscription.messages()).toHaveLength(1);
});

test("what a push service refuses is given up at once", async () => {
  const user = randomUUID();
  // One that is for another key, as after a change of the secret.
  const subscription = pushService.subscribe(vapidKeys("another secret").publicKey);
  const body = subscription.json;
  expect((await call("POST", url(user, "/push-subscriptions"), { user, body })).status).toBe(201);
  const before = pushService.requests.length;
  await deliver(created(user));
  expect((await settled(user)).failed).toMatchObject([{ cause: "The push service answered HTTP 403" }]);
  expect(pushService.requests.slice(before)).toHaveLength(1);
  expect(service.output()).not.toContain(body.endpoint);
});

test("a redirect is not followed", async () => {
  const user = randomUUID();
  const subscription = await subscribe(user);
  pushService.answer({ status: 307, headers: { location: otherService.subscribe(publicKey).json.endpoint } });
  const before = otherService.requests.length;
  await deliver(created(user));
  expect((await settled(user)).failed).toMatchObject([{ cause: "The push service answered HTTP 307" }]);
  expect(otherService.requests).toHaveLength(before);
  expect(subscription.messages()).toEqual([]);
});

test("an endpoint that is allowed no more is not called", async () => {
  const user = randomUUID();
  await subscribe(user, otherService);
  await service.stop();
  const before = otherService.requests.length;
  service = await start({ PUSH_ENDPOINTS_ALLOWED: pushService.origin });
  await deliver(created(user));
  expect((await settled(user)).failed).toMatchObject([{ cause: "The endpoint is not called: it must have no port" }]);
  expect(otherService.requests).toHaveLength(before);
  await service.stop();
  service = await start();
});

test("what a service that is killed hasn't pushed is pushed by the next one, once", async () => {
  const user = randomUUID();
  const subscription = await subscribe(user);
  await pushService.down();
  const events = [created(user, "first"), created(user, "second")];
  for (const event of events) await deliver(event);
  await service.kill();
  await pushService.up();
  service = await start();
  await subscription.received(2);
  expect((await settled(user)).failed).toEqual([]);
  for (const event of events) await deliver(event);
  await deliver(created(user, "third"));
  await subscription.received(3);
  await settled(user);
  expect(
    subscription
      .messages()
      .map(({ message }) => /: (\w+)/.exec(String(message))?.[1])
      .sort(),
  ).toEqual(["first", "second", "third"]);
});

test("a service that is killed before it notes a yes pushes twice, by the same topic, so that one is kept of it", async () => {
  const user = randomUUID();
  const subscription = await subscribe(user);
  let killed: Promise<void> | undefined;
  pushService.took = () => (killed ??= service.kill());
  await deliver(created(user));
  await waitFor("the service to be killed", 30, () => Promise.resolve(killed === undefined ? undefined : true));
  await killed;
  service = await start();
  const messages = await subscription.received(2);
  await settled(user);
  expect(new Set(messages.map(({ event_id }) => event_id)).size).toBe(1);
  const topics = pushService.requests
    .filter(({ endpoint }) => endpoint === subscription.json.endpoint)
    .map(({ topic }) => topic);
  expect(topics).toEqual([expect.stringMatching(/^[\w-]{32}$/) as unknown, topics[0]]);
  expect(subscription.waiting()).toBe(1);
});

test("without a contact there is no web push, and all else works", async () => {
  const user = randomUUID();
  await service.stop();
  service = await startService(services.notificationService.name, port, {
    DAPR_HTTP_PORT: String(daprd.httpPort),
    VAPID_SECRET: vapidSecret,
  });
  expect(await subscriptions(user)).toEqual({ public_key: null, subscriptions: [] });
  const { json } = pushService.subscribe(publicKey);
  expect((await call("POST", url(user, "/push-subscriptions"), { user, body: json })).status).toBe(400);
  await deliver(created(user));
  expect((await call<unknown[]>("GET", url(user, ""), { user })).body).toHaveLength(1);
  await service.stop();
  service = await start();
});
