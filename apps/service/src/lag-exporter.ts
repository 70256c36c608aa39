/**
 * Shows Prometheus how far subscribers are behind the broker, under the names that kafka_exporter has for it. Runs from the
 * image of a service, as the check of the broker does, so that there is no further image to trust and to keep up to date.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { isIP } from "node:net";
import { metrics, metricsPath } from "@event-flow/events";
import * as kafka from "@platformatic/kafka";
import closeWithGrace from "close-with-grace";
import { pino } from "pino";
import { Gauge, Registry } from "prom-client";
import { z } from "zod";
import { port, readEnvironment, saslMechanism, secret } from "./environment.ts";
import { redactor } from "./redact.ts";
import { startOrExit } from "./server.ts";

const list = (what: string) =>
  z
    .string(`must be ${what}, with commas between them`)
    .min(1, `must be ${what}, with commas between them`)
    .transform((text) => text.split(","));
const environment = {
  BROKERS: list("the brokers, each as host:port"),
  /** The consumer groups to tell of. */
  GROUPS: list("consumer groups"),
  PORT: port(9308),
  /** With a user name, brokers are spoken to by SASL and TLS. */
  SASL_USERNAME: z.string().min(1, "must not be empty").optional(),
  SASL_PASSWORD: z.string().default("").meta(secret),
  SASL_MECHANISM: saslMechanism().default("SCRAM-SHA-256"),
  /** A CA of the brokers' own, in PEM. */
  CA_CERT: z.string().optional(),
};
type Settings = ReturnType<typeof readEnvironment<typeof environment>>;

function connect(settings: Settings): kafka.Admin {
  const {
    BROKERS,
    SASL_USERNAME: username,
    SASL_PASSWORD: password,
    SASL_MECHANISM: mechanism,
    CA_CERT: ca,
  } = settings;
  return new kafka.Admin({
    clientId: "event-flow-lag-exporter",
    bootstrapBrokers: BROKERS,
    // The next scrape tries again. A broker that doesn't answer is to be told within Prometheus' 10 s.
    retries: false,
    connectTimeout: 4_000,
    requestTimeout: 4_000,
    ...(username !== undefined && {
      sasl: { mechanism, username, password },
      tls: ca === undefined ? {} : { ca },
      tlsServerName: BROKERS.every((broker) => isIP(broker.split(":", 1)[0] ?? "") === 0),
    }),
  });
}

/** How far a group has come in a partition, and how many messages are behind that. */
interface Position {
  readonly consumergroup: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly lag: number;
}

async function readPositions(admin: kafka.Admin, groups: string[]): Promise<Position[]> {
  // Before the ends of the topics: a group can't be ahead of them then.
  const committed = await admin.listConsumerGroupOffsets({ groups });
  const names = [...new Set(committed.flatMap(({ topics }) => topics.map(({ name }) => name)))];
  if (names.length === 0) return [];
  const { topics } = await admin.metadata({ topics: names, forceUpdate: true });
  const offsets = async (timestamp: bigint) => {
    const asked = names.map((name) => ({
      name,
      partitions: [...(topics.get(name)?.partitions.keys() ?? [])].map((partitionIndex) => ({
        partitionIndex,
        timestamp,
      })),
    }));
    const listed = await admin.listOffsets({ topics: asked });
    return new Map(
      listed.map(({ name, partitions }) => [
        name,
        new Map(partitions.map(({ partitionIndex, offset }) => [partitionIndex, Number(offset)])),
      ]),
    );
  };
  const [starts, ends] = [await offsets(-2n), await offsets(-1n)];
  return committed.flatMap(({ groupId, topics: ofGroup }) =>
    ofGroup.flatMap(({ name, partitions }) => {
      const known = new Map(partitions.map((each) => [each.partitionIndex, Number(each.committedOffset)]));
      return [...(ends.get(name) ?? [])].map(([partition, end]) => {
        const start = starts.get(name)?.get(partition) ?? 0;
        // What was never committed is read from the start (`initialOffset` of the pub/sub).
        const offset = Math.max(known.get(partition) ?? -1, start);
        return { consumergroup: groupId, topic: name, partition, offset, lag: Math.max(end - offset, 0) };
      });
    }),
  );
}

await startOrExit(async () => {
  const settings = readEnvironment(environment, process.env);
  const log = pino({ hooks: { streamWrite: redactor([settings.SASL_PASSWORD]) } });
  const admin = connect(settings);
  const registry = new Registry();
  const labelNames = ["consumergroup", "topic", "partition"] as const;
  const registers = [registry];
  const brokers = new Gauge({ name: metrics.brokers, help: "Brokers that there are; 0 if none answers", registers });
  const lag = new Gauge({
    name: metrics.consumerLag,
    help: "Messages that a group has yet to take",
    labelNames,
    registers,
  });
  const offset = new Gauge({
    name: metrics.consumerOffset,
    help: "The next message for a group",
    labelNames,
    registers,
  });

  const measure = async () => {
    const show = (brokerCount: number, positions: readonly Position[]) => {
      brokers.set(brokerCount);
      lag.reset();
      offset.reset();
      for (const { lag: behind, offset: next, ...labels } of positions) {
        lag.set(labels, behind);
        offset.set(labels, next);
      }
    };
    try {
      const found = await admin.metadata({ topics: [], forceUpdate: true });
      show(found.brokers.size, await readPositions(admin, settings.GROUPS));
    } catch (err) {
      log.warn({ err }, "The broker could not be asked");
      show(0, []);
    }
  };

  const server = createServer((request, response) => {
    if (request.url !== metricsPath) {
      response.writeHead(404).end();
      return;
    }
    void measure()
      .then(() => registry.metrics())
      .then((text) => response.writeHead(200, { "content-type": registry.contentType }).end(text));
  });
  closeWithGrace({ delay: 5_000, logger: false }, async () => {
    server.close();
    server.closeAllConnections();
    await admin.close();
  });
  await once(server.listen(settings.PORT, "0.0.0.0"), "listening");
  log.info({ port: settings.PORT, groups: settings.GROUPS }, "Server listening");
});
