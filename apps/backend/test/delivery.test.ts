/** The whole way of events, with its parts killed under load: nothing is lost, and nothing is told twice. */
import { randomUUID } from "node:crypto";
import { services } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { startKafka, type Kafka } from "../../../test/servers/kafka.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase, query } from "../../../test/servers/postgres.ts";
import { type LogLine, startService, type Service } from "../../../test/servers/service.ts";
import { startSubscriber, type Subscriber } from "../../../test/servers/subscriber.ts";
import { waitFor } from "../../../test/tools/progress.ts";

const { postgresPort, valkey } = inject("servers");
const database = "delivery";

/** A service with its sidecar. */
interface Pod {
  service: Service;
  readonly daprd: Daprd;
  /** Starts the service anew, after it ended. */
  readonly start: () => Promise<Service>;
  /** What all its processes logged, one after the other. */
  readonly log: () => LogLine[];
}

let kafka: Kafka;
let backends: [Pod, Pod];
let notifications: Pod;
let subscriber: Subscriber;

async function startPod(name: string, appId: string, env: Record<string, string>, state?: typeof valkey): Promise<Pod> {
  const port = await freePort();
  const { brokers } = kafka;
  const daprd = await startDaprd({ appId, appPort: port, brokers, valkey: state });
  const services: Service[] = [];
  const start = async () => {
    const service = await startService(name, port, { ...env, DAPR_HTTP_PORT: String(daprd.httpPort) });
    services.push(service);
    return service;
  };
  return { daprd, start, service: await start(), log: () => services.flatMap(({ log }) => log) };
}

beforeAll(async () => {
  const [broker, url] = await Promise.all([startKafka(), createDatabase(postgresPort, database)]);
  kafka = broker;
  const { backend, notificationService } = services;
  const startBackend = () => startPod(backend.name, backend.appId, { DATABASE_URL: url });
  const first = await startBackend();
  [backends, notifications, subscriber] = await Promise.all([
    startBackend().then((second): [Pod, Pod] => [first, second]),
    startPod(notificationService.name, "delivery-notifications", {}, valkey),
    startSubscriber("delivery-test", kafka.brokers),
  ]);
});

afterAll(async () => {
  await Promise.all(
    [...backends, notifications].map(async ({ service, daprd }) => {
      await service.kill();
      await daprd.stop();
    }),
  );
  await subscriber.stop();
  await kafka.stop();
});

/** What was acknowledged: the highest version of each task. */
type Acknowledged = Map<number, number>;

interface Load {
  /** Resolves when so many changes were acknowledged since it began. */
  reached(changes: number): Promise<void>;
  /** Ends it, and resolves to what was acknowledged. */
  stop(): Promise<Acknowledged>;
}

/** Users who each create a task, change it a few times and go on to the next, through all of some replicas in turn. */
function startLoad(user: string, replicas: readonly Pod[], users = 6): Load {
  const acknowledged: Acknowledged = new Map();
  let count = 0;
  let stopped = false;
  let turn = 0;
  const change = async (method: string, path: string, body?: object) => {
    turn += 1;
    const base = replicas[turn % replicas.length]?.service.url ?? "";
    try {
      const answer = await call<{ id: number }>(method, `${base}/api/${user}/tasks${path}`, {
        user,
        ...(body && { body }),
      });
      if (answer.status >= 300) return undefined;
      count += 1;
      return answer.body.id;
    } catch {
      // The replica is gone: whether the change was made is not known.
      await new Promise((resolve) => setTimeout(resolve, 20));
      return undefined;
    }
  };
  const running = Array.from({ length: users }, async () => {
    while (!stopped) {
      const id = await change("POST", "", { title: "load" });
      if (id === undefined) continue;
      acknowledged.set(id, 1);
      for (const step of [1, 2, 3]) {
        const path = `/${id}${step === 2 ? "/complete" : ""}`;
        const done = await change(
          step === 2 ? "PATCH" : "PUT",
          path,
          step === 2 ? undefined : { title: `step ${step}` },
        );
        // The versions after one whose fate is not known can't be told.
        if (done === undefined) break;
        acknowledged.set(id, step + 1);
      }
    }
  });
  return {
    reached: (changes) =>
      waitFor(`${changes} changes under load`, 60, () => Promise.resolve(count >= changes ? true : undefined)).then(
        () => undefined,
      ),
    stop: async () => {
      stopped = true;
      await Promise.all(running);
      return acknowledged;
    },
  };
}

/** The change that a line or an event tells of. */
const change = (task: unknown, version: unknown) => `${String(task)}/${String(version)}`;

/** What the database says was changed: the truth, as every acknowledged change has to be in it. */
async function committed(user: string, acknowledged: Acknowledged): Promise<string[]> {
  const rows = await query(postgresPort, database, `select id, version from tasks where user_id = '${user}'`);
  const versions = new Map(rows.map(({ id, version }) => [Number(id), Number(version)]));
  for (const [id, version] of acknowledged) {
    expect(versions.get(id)).toBeGreaterThanOrEqual(version);
  }
  return [...versions].flatMap(([id, last]) => Array.from({ length: last }, (_, index) => change(id, index + 1)));
}

/** The changes that the notification service logged, in the order in which it did. */
function handled(user: string, outcomes: readonly string[]): string[] {
  return notifications
    .log()
    .filter((line) => line["userId"] === user && outcomes.includes(String(line["outcome"])))
    .map((line) => change(line["taskId"], line["taskVersion"]));
}

/** Waits until every change was handled, and checks that none was told twice and that nothing is out of order. */
async function everythingArrives(user: string, acknowledged: Acknowledged): Promise<void> {
  const changes = await committed(user, acknowledged);
  expect(changes.length).toBeGreaterThan(10);
  await waitFor(`${changes.length} changes to be told of`, 90, () => {
    const done = new Set(handled(user, ["told", "repeated"]));
    return Promise.resolve(changes.every((each) => done.has(each)) ? true : undefined);
  });
  const told = handled(user, ["told"]);
  expect(told).toHaveLength(new Set(told).size);
  expect(handled(user, ["outdated"])).toEqual([]);

  // On the broker there may be more than one of an event, but the first of each is in its place.
  const last = new Map<string, number>();
  const seen = new Set<unknown>();
  for (const { topic, event } of subscriber.deliveries) {
    if ((event["data"] as { user_id?: string }).user_id !== user || seen.has(event["id"])) continue;
    seen.add(event["id"]);
    const key = `${topic} ${String(event["subject"])}`;
    expect(event["taskversion"]).toBeGreaterThan(last.get(key) ?? 0);
    last.set(key, Number(event["taskversion"]));
  }
  await outboxIsEmpty();
}

async function outboxIsEmpty(): Promise<void> {
  await waitFor("the outbox to be empty", 60, async () =>
    (await query(postgresPort, database, "select from outbox")).length === 0 ? true : undefined,
  );
}

/** The replica that relays at the moment, and the other one. */
async function relaying(): Promise<[Pod, Pod]> {
  const user = randomUUID();
  const url = `${backends[0].service.url}/api/${user}/tasks`;
  await call("POST", url, { user, body: { title: "who relays?" } });
  return waitFor("one of them to relay", 60, () => {
    const leads = (pod: Pod) =>
      pod.service.log.some((line) => line["userId"] === user && line.msg.startsWith("Published"));
    const [first, second] = backends;
    return Promise.resolve(leads(first) ? [first, second] : leads(second) ? [second, first] : undefined);
  });
}

test("a sidecar is killed under load: its replica's events follow through the other one's", async () => {
  const user = randomUUID();
  const [leader] = await relaying();
  const load = startLoad(user, backends);
  await load.reached(60);
  await leader.daprd.kill();
  await load.reached(200);
  const acknowledged = await load.stop();
  await everythingArrives(user, acknowledged);
  await leader.daprd.start();
});

test("the replica that relays is killed under load: the other one takes over at once", async () => {
  const user = randomUUID();
  const [leader, other] = await relaying();
  const load = startLoad(user, backends);
  await load.reached(60);
  await leader.service.kill();
  const killed = Date.now();
  const first = await other.service.logged(
    "that it relays",
    (line) => line["userId"] === user && line.msg.startsWith("Published"),
  );
  expect(Number(first["time"]) - killed).toBeLessThan(6_000);
  await load.reached(120);
  leader.service = await leader.start();
  await everythingArrives(user, await load.stop());
});

test("the notification service and its sidecar are killed under load", async () => {
  const user = randomUUID();
  const load = startLoad(user, backends, 3);
  await load.reached(30);
  await notifications.service.kill();
  notifications.service = await notifications.start();
  await load.reached(60);
  await notifications.daprd.kill();
  await notifications.daprd.start();
  await everythingArrives(user, await load.stop());
});

test("with the broker down changes are taken and the backend is ready; with it up again their events follow", async () => {
  const user = randomUUID();
  await outboxIsEmpty();
  await kafka.kill();
  const load = startLoad(user, backends);
  await load.reached(100);
  const acknowledged = await load.stop();
  const { status, body } = await call<{ outbox: { events: number } }>("GET", `${backends[0].service.url}/ready`);
  expect([status, body.outbox.events]).toEqual([200, (await committed(user, acknowledged)).length]);
  await kafka.start();
  await everythingArrives(user, acknowledged);
});

test("a replica that is told to stop publishes what it committed, and lets the other one relay", async () => {
  const user = randomUUID();
  const [leader, other] = await relaying();
  const load = startLoad(user, [leader]);
  await load.reached(40);
  const stopping = leader.service.stop();
  await leader.service.logged("that it stops", ({ msg }) => msg === "Stopping");
  const acknowledged = await load.stop();
  expect(await stopping).toBe(0);
  await outboxIsEmpty();
  const published = leader.service.log.filter((line) => line["userId"] === user && line.msg.startsWith("Published"));
  expect(published).toHaveLength((await committed(user, acknowledged)).length);

  const task = await call<{ id: number }>("POST", `${other.service.url}/api/${user}/tasks`, {
    user,
    body: { title: "next" },
  });
  await other.service.logged("the next event", (line) => line["taskId"] === task.body.id);
  leader.service = await leader.start();
});

test("a replica that froze while it relayed gives way", async () => {
  const user = randomUUID();
  const [leader, other] = await relaying();
  leader.service.pause();
  const load = startLoad(user, [other], 2);
  await load.reached(20);
  const acknowledged = await load.stop();
  await everythingArrives(user, acknowledged);
  leader.service.resume();
  await leader.service.logged("that it lost its lock", ({ msg }) => msg === "The relay lost the database");
});

test("the outbox doesn't grow by what goes through it", async () => {
  await notifications.daprd.kill();
  const task = { user_id: randomUUID(), title: "x".repeat(100), version: 1, updated_at: new Date().toISOString() };
  const bytes = async () => {
    const [size] = await query(postgresPort, database, "select pg_total_relation_size('outbox')::int as bytes");
    return Number(size?.["bytes"]);
  };
  const before = await bytes();
  // For some seconds, as these tests' PostgreSQL looks each second for what there is to vacuum.
  const until = performance.now() + 6_000;
  let rounds = 0;
  const bytesOfRound = 1_000 * JSON.stringify(task).length;
  while (performance.now() < until || rounds < 10) {
    await query(
      postgresPort,
      database,
      `insert into outbox (type, traceparent, task)
       select 'task_deleted', '', jsonb_set('${JSON.stringify(task)}', '{id}', to_jsonb(n))::json
       from generate_series(1, 1000) as n`,
    );
    rounds += 1;
    await outboxIsEmpty();
  }
  // Without a vacuum it would be larger than all that went through it.
  expect(await bytes()).toBeLessThan(before + 0.7 * rounds * bytesOfRound);
});
