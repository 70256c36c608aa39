import { randomUUID } from "node:crypto";
import { services, type CloudEvent } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startService, type Service } from "../../../test/servers/service.ts";
import { bearer } from "../../../test/servers/token.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import type { Notification } from "../src/notifications.ts";

const { valkey } = inject("servers");
const appId = "notification-stream";
const daprds: Daprd[] = [];
/** Two replicas, each behind its own sidecar. They get events from these tests only. */
const replicas: Service[] = [];
const ports: number[] = [];

beforeAll(async () => {
  for (let nth = 0; nth < 2; nth += 1) {
    const port = await freePort();
    const daprd = await startDaprd({ appId, appPort: port, valkey });
    ports.push(port);
    daprds.push(daprd);
    replicas.push(await startReplica(nth));
  }
});

afterAll(async () => {
  await Promise.all([...replicas, ...daprds].map((each) => each.stop()));
});

function startReplica(nth: number): Promise<Service> {
  const env = { DAPR_HTTP_PORT: String(daprds[nth]?.httpPort) };
  return startService(services.notificationService.name, ports[nth] ?? 0, env);
}

function replica(nth: number): Service {
  const found = replicas[nth];
  if (found === undefined) throw new Error(`There is no replica ${nth}`);
  return found;
}

let lastTask = 0;

/** Has a replica handle an event. */
async function happens(user: string, of = replica(0)): Promise<CloudEvent<"task_deleted">> {
  lastTask += 1;
  const event = eventOf("task_deleted", { task_id: lastTask, user_id: user, deleted_at: new Date().toISOString() });
  const answer = await call("POST", `${of.url}/events/task-deleted`, { headers: asSidecar, body: event });
  expect(answer.body).toEqual({ status: "SUCCESS" });
  return event;
}

interface Event {
  readonly id: string;
  readonly notification: Notification;
}

/** An open stream. */
interface Stream {
  readonly status: number;
  readonly text: () => string;
  events(count: number): Promise<Event[]>;
  /** Resolves when the service ended it. */
  readonly ended: Promise<void>;
  close(): void;
}

async function open(
  user: string,
  { after, of = replica(0), seconds }: { after?: string; of?: Service; seconds?: number } = {},
): Promise<Stream> {
  const leaving = new AbortController();
  const response = await fetch(`${of.url}/api/${user}/notifications/stream`, {
    headers: { ...bearer(user, seconds), ...(after !== undefined && { "last-event-id": after }) },
    signal: leaving.signal,
  });
  let text = "";
  const read = async () => {
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) text += chunk;
  };
  const ended = read().catch(() => undefined);
  const events = () =>
    text
      .split("\n\n")
      .slice(0, -1)
      .filter((block) => block.includes("event: notification"))
      .map((block): Event => {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
        return { id: field("id"), notification: JSON.parse(field("data")) as Notification };
      });
  if (response.ok) await waitFor("the stream to begin", 20, () => Promise.resolve(text === "" ? undefined : true));
  return {
    status: response.status,
    text: () => text,
    events: (count) =>
      waitFor(
        `${count} events`,
        20,
        () => Promise.resolve(events().length >= count ? events() : undefined),
        () => text,
      ),
    ended,
    close: () => {
      leaving.abort();
    },
  };
}

function ids(events: readonly Event[]): string[] {
  return events.map(({ notification }) => notification.event_id);
}

test("what a user is told comes at once, by whichever replica, and nothing of others or of before", async () => {
  const user = randomUUID();
  await happens(user);
  const [here, there] = [await open(user), await open(user, { of: replica(1) })];
  await happens(randomUUID());
  const [first, second] = [await happens(user), await happens(user, replica(1))];
  for (const stream of [here, there]) {
    const events = await stream.events(2);
    expect(ids(events)).toEqual([first.id, second.id]);
    expect(events.map(({ id }) => id)).toEqual(["2", "3"]);
    stream.close();
  }
  const list = await call<Notification[]>("GET", `${replica(0).url}/api/${user}/notifications`, { user });
  expect(list.body.map(({ sequence }) => sequence)).toEqual([3, 2, 1]);
});

test("who comes again with the last id misses nothing and gets nothing twice, also of another replica", async () => {
  const user = randomUUID();
  const stream = await open(user);
  const seen = await happens(user);
  const [{ id } = { id: "" }] = await stream.events(1);
  stream.close();
  const missed = [await happens(user), await happens(user)];
  const again = await open(user, { after: id, of: replica(1) });
  expect(ids(await again.events(2))).toEqual(missed.map((event) => event.id));
  again.close();
  const whole = await open(user, { after: "0" });
  expect(ids(await whole.events(3))).toEqual([seen, ...missed].map((event) => event.id));
  whole.close();
});

test("who comes again before the first notification goes on from there", async () => {
  const user = randomUUID();
  const stream = await open(user);
  expect(stream.text()).toContain("id: 0\n");
  stream.close();
  const missed = await happens(user);
  const again = await open(user, { after: "0" });
  expect(ids(await again.events(1))).toEqual([missed.id]);
  again.close();
});

test("an id that isn't there yet is of a state that was lost: all there is comes", async () => {
  const user = randomUUID();
  const event = await happens(user);
  const stream = await open(user, { after: "1000" });
  expect(ids(await stream.events(1))).toEqual([event.id]);
  stream.close();
});

test("a stream is its user's, and takes an id only", async () => {
  const user = randomUUID();
  const url = `${replica(0).url}/api/${user}/notifications/stream`;
  expect((await call("GET", url)).status).toBe(401);
  expect((await call("GET", url, { user: randomUUID() })).status).toBe(403);
  expect((await call("GET", url, { user, headers: { "last-event-id": "x" } })).status).toBe(400);
});

test("a user may have eight open in a replica, and others when one is closed", async () => {
  const user = randomUUID();
  const streams = await Promise.all(Array.from({ length: 8 }, () => open(user)));
  expect(streams.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200));
  expect((await open(user)).status).toBe(429);
  const other = await open(randomUUID());
  expect(other.status).toBe(200);
  streams[0]?.close();
  const next = await waitFor("room for another", 20, async () => {
    const stream = await open(user);
    return stream.status === 200 ? stream : undefined;
  });
  for (const stream of [...streams, other, next]) stream.close();
});

test("it ends with the token", async () => {
  const user = randomUUID();
  const stream = await open(user, { seconds: 3 });
  await stream.ended;
  expect((await call("GET", `${replica(0).url}/health`)).status).toBe(200);
});

test("it goes on when the sidecar was away", async () => {
  const user = randomUUID();
  const stream = await open(user, { of: replica(1) });
  await daprds[1]?.kill();
  const event = await happens(user);
  await daprds[1]?.start();
  expect(ids(await stream.events(1))).toEqual([event.id]);
  stream.close();
});

test("a service that stops ends its streams, and doesn't wait for their clients", async () => {
  const user = randomUUID();
  const stream = await open(user);
  const begun = performance.now();
  expect(await replica(0).stop()).toBe(0);
  await stream.ended;
  expect(performance.now() - begun).toBeLessThan(10_000);
  replicas[0] = await startReplica(0);
});
