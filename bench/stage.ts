import { rmSync } from "node:fs";
import { type Kafka, startKafka } from "../test/servers/kafka.ts";
import { type Postgres, startPostgres } from "../test/servers/postgres.ts";
import { insideRoot, serverDir } from "../test/servers/process.ts";
import { startValkey, type Valkey } from "../test/servers/valkey.ts";
import { capture } from "../test/tools/run.ts";

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

/** Runs one of Kafka's own tools and returns what it printed. */
export async function kafkaTool(tool: string, ...args: string[]): Promise<string> {
  const java = `java -Xmx256m -XX:+UseSerialGC -XX:-UsePerfData -cp '/opt/kafka/libs/*'`;
  const script = `exec ${java} org.apache.kafka.tools.${tool} ${args.map((arg) => `'${arg}'`).join(" ")}`;
  const dir = serverDir("kafka-tool");
  try {
    const [program = "", ...rest] = insideRoot(dir, script);
    return await capture(program, rest);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Takes all events from the broker: the next peer starts with none, and finds none of another's. */
export async function deleteTopics({ kafka }: Stage): Promise<void> {
  const server = ["--bootstrap-server", kafka.brokers];
  const topics = await kafkaTool("TopicCommand", ...server, "--list");
  if (topics.includes("task-events.")) {
    await kafkaTool("TopicCommand", ...server, "--delete", "--topic", "task-events\\..*");
  }
}
