/** Every subscriber of the stack, and what is written past the backend into the topics that it reads. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  deadLetterTopic,
  eventTypes,
  metrics,
  perService,
  probes,
  type ServiceKey,
  serviceKeys,
  services,
  subscribers,
  topic,
} from "@event-flow/events";
import { Admin, Producer } from "@platformatic/kafka";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { printable } from "../../../components/text.ts";
import { call } from "../../../test/servers/client.ts";
import { readMetrics } from "../../../test/servers/metrics.ts";
import { startSystem, type Pod, type System } from "../../../test/servers/system.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import { hostileMessages, type Message, soundEvent } from "./hostile-messages.ts";

const [victim, witness] = [randomUUID(), randomUUID()];
/** In a partition each, in the same order for each type: who is held up by one is known by that. */
const messages = eventTypes.flatMap((type) =>
  hostileMessages(type, victim).map((message, partition) => ({ ...message, type, partition })),
);
const partitions = Math.max(...messages.map(({ partition }) => partition)) + 1;
const subscriberKeys = serviceKeys.filter((key) => subscribers.includes(services[key]));

const [silenced, reminded] = [randomUUID(), randomUUID()];
/** A version that no later event of the task could ever have, and what happens to it then. */
const forgery = soundEvent("task_updated", silenced, { taskversion: 2 ** 31 - 1 });
const overtaken = [2, 3].map((taskversion) => ({
  ...forgery,
  ...{ id: randomUUID(), taskversion, time: new Date(Date.parse(forgery.time) + taskversion * 1_000).toISOString() },
}));
const replayed = soundEvent("task_completed", reminded);

/** A letter that this service never wrote, for whoever lists and replays them. */
const letters = [
  {
    ...{ id: "\u001b[2Jforged", topic: "task-events.task_created", key: null },
    ...{ cause: "forged: \u001b]0;x\u0007", failed_at: new Date().toISOString(), event: null },
  },
];
/** What is written into the topics of dead letters. */
const forged: readonly (Buffer | null)[] = [
  Buffer.from(""),
  null,
  Buffer.from("gibberish"),
  Buffer.from("[".repeat(9_000) + "]".repeat(9_000)),
  Buffer.from(JSON.stringify({ ...letters[0], topic: "../../../v1.0/state/statestore" })),
  ...letters.map((letter) => Buffer.from(JSON.stringify(letter))),
];

let system: System;
let admin: Admin;
type Write = Pick<Message, "value" | "key" | "headers"> & { topic: string; partition: number };

async function write(all: readonly Write[]): Promise<void> {
  const producer = new Producer({ clientId: "attacker", bootstrapBrokers: [system.kafka.brokers] });
  // In calls that are not too large for the broker.
  for (let begin = 0; begin < all.length; begin += 100) {
    const batch = all.slice(begin, begin + 100).map(({ value, key, headers, ...place }) => ({
      ...place,
      ...(value !== null && { value }),
      ...(key !== undefined && { key }),
      ...(headers !== undefined && {
        headers: new Map([...headers].map(([name, each]) => [Buffer.from(name), Buffer.from(each)])),
      }),
    }));
    const large = batch.filter(({ value }) => (value?.length ?? 0) > 100_000);
    const small = batch.filter((each) => !large.includes(each));
    for (const messages of [small, ...large.map((each) => [each])]) {
      if (messages.length > 0) await producer.send({ messages });
    }
  }
  await producer.close();
}

function podOf(service: ServiceKey): Pod {
  const [pod] = system.pods[service];
  if (pod === undefined) throw new Error(`There is no ${service}`);
  return pod;
}

beforeAll(async () => {
  system = await startSystem({
    replicas: perService(() => 0),
    ...(process.env["HOSTILE_LOGS"] !== undefined && { logs: process.env["HOSTILE_LOGS"] }),
  });
  admin = new Admin({ clientId: "test", bootstrapBrokers: [system.kafka.brokers] });
  await admin.createTopics({ topics: eventTypes.map((type) => topic(type)), partitions, replicas: 1 });
  await admin.createTopics({ topics: subscribers.map(deadLetterTopic), partitions: 3, replicas: 1 });
  await write(messages.map(({ type, ...message }) => ({ ...message, topic: topic(type) })));
  await write(
    eventTypes.flatMap((type) =>
      Array.from({ length: partitions }, (_, partition) => ({
        topic: topic(type),
        partition,
        value: Buffer.from(JSON.stringify(soundEvent(type, witness))),
      })),
    ),
  );
  await write(
    [forgery, ...overtaken].map((event) => ({
      topic: topic("task_updated"),
      partition: 0,
      value: Buffer.from(JSON.stringify(event)),
    })),
  );
  await write(
    Array.from({ length: 1_000 }, () => ({
      topic: topic("task_completed"),
      partition: 0,
      value: Buffer.from(JSON.stringify(replayed)),
    })),
  );
  await write(
    subscribers.flatMap((subscriber) =>
      forged.map((value) => ({ topic: deadLetterTopic(subscriber), partition: 0, value })),
    ),
  );
  await Promise.all(serviceKeys.map((service) => system.add(service)));
});

afterAll(async () => {
  await admin.close();
  await system.stop();
});

/** What a group has yet to take, by partition. */
async function behind(group: string): Promise<string[]> {
  const [committed] = await admin.listConsumerGroupOffsets({ groups: [group] });
  const known = new Map(
    (committed?.topics ?? []).flatMap(({ name, partitions: all }) =>
      all.map(({ partitionIndex, committedOffset }) => [`${name}/${partitionIndex}`, Number(committedOffset)]),
    ),
  );
  const { appId } = Object.values(services).find((service) => service.appId === group) ?? services.backend;
  const own = subscribers.find((subscriber) => subscriber.appId === appId);
  const topics = [...subscribedTopics(group), ...(own === undefined ? [] : [deadLetterTopic(own)])];
  const { topics: found } = await admin.metadata({ topics, forceUpdate: true });
  const ends = await admin.listOffsets({
    topics: topics.map((name) => ({
      name,
      partitions: [...(found.get(name)?.partitions.keys() ?? [])].map((partitionIndex) => ({
        partitionIndex,
        timestamp: -1n,
      })),
    })),
  });
  return ends.flatMap(({ name, partitions: all }) =>
    all
      .map(({ partitionIndex, offset }) => {
        const at = known.get(`${name}/${partitionIndex}`) ?? -1;
        const culprit = messages.find(({ type, partition }) => topic(type) === name && partition === partitionIndex);
        return { left: Number(offset) - Math.max(at, 0), place: `${name}/${partitionIndex}`, at, culprit };
      })
      .filter(({ left }) => left > 0)
      .map(({ left, place, at, culprit }) => `${place} at ${at}, ${left} left: ${culprit?.name ?? ""}`),
  );
}

/** The recurring-task service has handlers for two types only. */
function subscribedTopics(appId: string): string[] {
  const types =
    appId === services.recurringTaskService.appId ? (["task_updated", "task_completed"] as const) : eventTypes;
  return types.map((type) => topic(type));
}

async function count(service: ServiceKey, metric: string): Promise<number> {
  const samples = await readMetrics(podOf(service).app.url);
  return samples.filter(({ name }) => name === metric).reduce((sum, { value }) => sum + value, 0);
}

describe.each(subscriberKeys)("%s", (key) => {
  const service = services[key];

  test("is held up by none of them", async () => {
    let left: string[] = [];
    await waitFor(
      "every partition to be taken to its end",
      100,
      async () => {
        left = await behind(service.appId);
        return left.length === 0 ? true : undefined;
      },
      () => left.join("\n"),
    );
  });

  test("runs on, is ready, and has accounted for each one", async () => {
    const { app, daprd } = podOf(key);
    expect(app.isRunning() && daprd.isRunning()).toBe(true);
    expect((await fetch(`${app.url}${probes.readiness}`)).status).toBe(200);

    const own = messages.filter(({ type }) => subscribedTopics(service.appId).includes(topic(type)));
    const dead = own.filter(({ isSound, isLost = false }) => !isSound && !isLost);
    const command = join(import.meta.dirname, "..", "..", "..", "commands", "dead-letters.ts");
    const token = "apiToken" in daprd && typeof daprd.apiToken === "string" ? { DAPR_API_TOKEN: daprd.apiToken } : {};
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [command, "list", `--dapr=http://127.0.0.1:${daprd.httpPort}`],
      { env: { ...process.env, ...token } },
    );
    const ids = stdout.split("\n").filter((line) => /^\S/.test(line) && !/^\d+ dead letters$/.test(line));
    // By partition, as a producer that wasn't answered writes once more.
    const places = new Set(ids.map((id) => id.split("/").slice(0, 2).join("/")));
    expect([...places].sort()).toEqual(
      [
        ...dead.map(({ type, partition }) => `${topic(type)}/${partition}`),
        `${deadLetterTopic(service)}/0`,
        ...letters.map(({ id }) => printable(id)),
      ].sort(),
    );
    expect(ids.filter((id) => id.startsWith(deadLetterTopic(service))).length).toBeGreaterThanOrEqual(
      forged.length - letters.length,
    );
    // Each with a cause, and safe to be shown.
    expect(stdout.match(/^ {2}(It |Dapr could not|forged)/gm)).toHaveLength(ids.length);
    expect(stdout).not.toMatch(/(?!\n)\p{C}/u);
    expect(stdout.length).toBeLessThan(200_000);

    // What is delivered again, as a partition went to another consumer, is counted again.
    const sound = own.filter(({ isSound }) => isSound).length + subscribedTopics(service.appId).length * partitions;
    expect(await count(key, metrics.handled)).toBeGreaterThanOrEqual(sound);
    expect(await count(key, metrics.deadLettered)).toBeGreaterThanOrEqual(dead.length + forged.length - letters.length);
  });
});

const idsOf = (events: readonly { id: string }[]) => events.map(({ id }) => id).sort();

/** The events that a user was told of. */
async function told(user: string): Promise<string[]> {
  const { url } = podOf("notificationService").app;
  const { body } = await call<{ event_id: string }[]>("GET", `${url}/api/${user}/notifications`, { user });
  return body.map(({ event_id }) => event_id).sort();
}

test("users are told of every sound event once, and of nothing else", async () => {
  const sound = messages.filter(({ isSound }) => isSound);
  expect(await told(victim)).toEqual(idsOf(sound.map(({ value }) => JSON.parse(String(value)) as { id: string })));
});

test("what comes a thousand times is told once", async () => {
  expect(await told(reminded)).toEqual([replayed.id]);
});

test("a forged version, however high, conceals nothing that happens later", async () => {
  expect(await told(silenced)).toEqual(idsOf([forgery, ...overtaken]));
});
