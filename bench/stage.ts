import { type Kafka, kafkaTool, startKafka } from "../test/servers/kafka.ts";
import { type Postgres, startPostgres } from "../test/servers/postgres.ts";
import { startValkey, type Valkey } from "../test/servers/valkey.ts";

/** The servers that all peers use, one after the other. */
export interface Stage {
  readonly postgres: Postgres;
  readonly kafka: Kafka;
  readonly valkey: Valkey;
  stop(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const [postgres, kafka, valkey] = await Promise.all([
    startPostgres({ durable: true }),
    startKafka({ measured: true }),
    startValkey(),
  ]);
  // Java compiles a broker's code while it's used: the first peer is to find it as the last one does.
  await kafkaTool(
    "ProducerPerformance",
    ...["--bootstrap-server", kafka.brokers, "--topic", "warm-up", "--num-records", "200000"],
    ...["--record-size", "600", "--throughput", "-1", "--command-property", "acks=all"],
  );
  return {
    postgres,
    kafka,
    valkey,
    stop: async () => {
      await Promise.all([postgres.stop(), kafka.stop(), valkey.stop()]);
    },
  };
}

/** Takes all events from the broker: the next peer starts with none, and finds none of another's. */
export async function deleteTopics({ kafka }: Stage): Promise<void> {
  const server = ["--bootstrap-server", kafka.brokers];
  const topics = await kafkaTool("TopicCommand", ...server, "--list");
  if (topics.includes("task-events.")) {
    await kafkaTool("TopicCommand", ...server, "--delete", "--topic", "task-events\\..*");
  }
}
