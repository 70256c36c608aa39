/** How far consumer groups are behind, as Prometheus is told, beside what a real broker holds. */
import { randomUUID } from "node:crypto";
import { metrics } from "@event-flow/events";
import {
  AclOperations,
  AclPermissionTypes,
  Admin,
  Producer,
  ResourcePatternTypes,
  ResourceTypes,
  type ResourceTypeValue,
  stringSerializers,
} from "@platformatic/kafka";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { type Kafka, startKafka } from "../../../test/servers/kafka.ts";
import { readMetrics, type Sample, valueOf } from "../../../test/servers/metrics.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { type SecuredKafka, startSecuredKafka } from "../../../test/servers/secured-kafka.ts";
import { runService, startService, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";

const entry = "src/lag-exporter.ts";
const password = "s3cr3t-hunter2";
let secured: SecuredKafka;
let own: Kafka;

beforeAll(async () => {
  [secured, own] = await Promise.all([
    startSecuredKafka(["event-flow", "stranger"], password, { mechanisms: ["SCRAM-SHA-256"], makesTopics: false }),
    startKafka(),
  ]);
});

afterAll(async () => {
  await Promise.all([secured.stop(), own.stop()]);
});

async function exporting(env: Record<string, string>, look: (exporter: Service) => Promise<void>): Promise<void> {
  const exporter = await startService("service", await freePort(), env, { entry });
  try {
    await look(exporter);
  } finally {
    await exporter.stop();
  }
}

/** Makes a topic of two partitions, with three messages in the first and two in the second. */
async function fill(brokers: string, topic: string): Promise<Admin> {
  const admin = new Admin({ clientId: "test", bootstrapBrokers: [brokers] });
  await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 });
  const producer = new Producer({ clientId: "test", bootstrapBrokers: [brokers], serializers: stringSerializers });
  for (const partition of [0, 0, 0, 1, 1]) await producer.send({ messages: [{ topic, partition, value: "event" }] });
  await producer.close();
  return admin;
}

const ofPartition = (samples: readonly Sample[], metric: string, topic: string) =>
  [0, 1].map((partition) => valueOf(samples, metric, { topic, partition: String(partition) }));

test("a group's lag is what it has yet to take, of a partition that it never took from all", async () => {
  const { brokers } = inject("servers");
  const [group, topic] = [`group-${randomUUID()}`, `topic-${randomUUID()}`];
  const admin = await fill(brokers, topic);
  await exporting({ BROKERS: brokers, GROUPS: `${group},nobody-${randomUUID()}` }, async ({ url }) => {
    // A busy machine may take longer than a scrape has to connect for the first time.
    const before = await waitFor("the broker to be found", 30, async () => {
      const samples = await readMetrics(url);
      return valueOf(samples, metrics.brokers) === 1 ? samples : undefined;
    });
    expect(valueOf(before, metrics.consumerLag)).toBeUndefined();

    const commit = (offset: bigint) =>
      admin.alterConsumerGroupOffsets({
        groupId: group,
        topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset }] }],
      });
    await commit(1n);
    const behind = await readMetrics(url);
    expect(ofPartition(behind, metrics.consumerLag, topic)).toEqual([2, 2]);
    expect(ofPartition(behind, metrics.consumerOffset, topic)).toEqual([1, 0]);
    expect(behind.find(({ name }) => name === metrics.consumerLag)?.labels["consumergroup"]).toBe(group);

    await commit(3n);
    expect(ofPartition(await readMetrics(url), metrics.consumerLag, topic)).toEqual([0, 2]);
    expect((await fetch(`${url}/health`)).status).toBe(404);
  });
  await admin.close();
});

test("while the broker is away there are no brokers and no lag, and then there are again", async () => {
  const [group, topic] = ["away", "away"];
  const admin = await fill(own.brokers, topic);
  await admin.alterConsumerGroupOffsets({
    groupId: group,
    topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 3n }] }],
  });
  await admin.close();
  await exporting({ BROKERS: own.brokers, GROUPS: group }, async (exporter) => {
    expect(valueOf(await readMetrics(exporter.url), metrics.consumerLag)).toBe(2);
    await own.kill();
    const away = await readMetrics(exporter.url);
    expect([valueOf(away, metrics.brokers), valueOf(away, metrics.consumerLag)]).toEqual([0, undefined]);
    await exporter.logged("why", ({ msg }) => msg === "The broker could not be asked");
    await own.start();
    const back = await readMetrics(exporter.url);
    expect([valueOf(back, metrics.brokers), valueOf(back, metrics.consumerLag)]).toEqual([1, 2]);
  });
});

test("a broker that asks for SASL and TLS is asked with them, as a user who may only read as the group", async () => {
  const topic = "secured";
  const admin = await fill(secured.admin, topic);
  const allow = (resourceType: ResourceTypeValue, resourceName: string) => ({
    resourceType,
    resourceName,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: "User:event-flow",
    host: "*",
    operation: AclOperations.READ,
    permissionType: AclPermissionTypes.ALLOW,
  });
  await admin.createAcls({ creations: [allow(ResourceTypes.TOPIC, topic), allow(ResourceTypes.GROUP, "reader")] });
  await admin.alterConsumerGroupOffsets({
    groupId: "reader",
    topics: [{ name: topic, partitionOffsets: [{ partition: 1, offset: 1n }] }],
  });
  await admin.close();
  const env = { BROKERS: secured.broker, GROUPS: "reader", SASL_USERNAME: "event-flow", CA_CERT: secured.ca };
  await exporting({ ...env, SASL_PASSWORD: password }, async ({ url }) => {
    const samples = await readMetrics(url);
    expect(valueOf(samples, metrics.brokers)).toBe(1);
    expect(ofPartition(samples, metrics.consumerLag, topic)).toEqual([3, 1]);
  });
  const refused = [
    { SASL_USERNAME: "stranger", SASL_PASSWORD: password },
    { SASL_PASSWORD: "wr0ng-hunter2" },
    { SASL_PASSWORD: password, CA_CERT: "" },
  ];
  for (const wrong of refused) {
    await exporting({ ...env, ...wrong }, async (exporter) => {
      expect(valueOf(await readMetrics(exporter.url), metrics.brokers)).toBe(0);
      await exporter.logged("why", ({ msg }) => msg === "The broker could not be asked");
      expect(exporter.output()).not.toContain("hunter2");
    });
  }
});

test("what is missing is named at the start", async () => {
  const { exitCode, errors } = await runService("service", { PORT: "x" }, entry);
  expect(errors).toBe(
    "The environment is not valid:\n" +
      "  BROKERS is not set; it must be the brokers, each as host:port, with commas between them\n" +
      "  GROUPS is not set; it must be consumer groups, with commas between them\n" +
      '  PORT is "x"; it must be an integer from 1 to 65535\n',
  );
  expect(exitCode).toBe(1);
});
