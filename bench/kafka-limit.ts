import { kafkaTool } from "../test/servers/kafka.ts";
import type { Plan } from "./plan.ts";
import type { KafkaLimit } from "./results.ts";
import type { Stage } from "./stage.ts";

/** About as long as the event of a creation is in the broker. */
const recordBytes = 600;

function figure(output: string, pattern: RegExp): number {
  const found = pattern.exec(output)?.[1];
  if (found === undefined) throw new Error(`Kafka's tool printed no ${pattern.source}:\n${output}`);
  return Number(found);
}

/** Measures the broker by Kafka's own producer and consumer, with what the sidecar demands of it: acknowledged by all replicas. */
export async function measureKafka({ kafka }: Stage, plan: Plan): Promise<KafkaLimit> {
  const common = ["--bootstrap-server", kafka.brokers, "--record-size", String(recordBytes)];
  const produced = await kafkaTool(
    "ProducerPerformance",
    ...[...common, "--topic", "limit.producer", "--num-records", String(plan.kafkaMessages)],
    ...["--throughput", "-1", "--command-property", "acks=all"],
  );
  const trips = await kafkaTool(
    "EndToEndLatency",
    ...[...common, "--topic", "limit.round-trip", "--num-records", String(plan.kafkaRoundTrips)],
    ...["--producer-acks", "all"],
  );
  return {
    recordBytes,
    perSecond: figure(produced, /([\d.]+) records\/sec/),
    producerP50: figure(produced, /([\d.]+) ms 50th/),
    producerP99: figure(produced, /([\d.]+) ms 99th/),
    roundTripP50: figure(trips, /50th = (\d+)/),
    roundTripP99: figure(trips, /99th = (\d+)/),
  };
}
