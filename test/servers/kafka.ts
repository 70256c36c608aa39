import { once } from "node:events";
import { chownSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { capture } from "../tools/run.ts";
import { freePort } from "./ports.ts";
import { insideRoot, type LogOption, type Server, serverDir, startServer, unprivileged } from "./process.ts";

export interface Kafka extends Server {
  readonly brokers: string;
}

/** Kafka's simplest request (https://kafka.apache.org/protocol): ApiVersions, version 0, with no client id. */
export const apiVersionsRequest = Buffer.from("0000000a" + "0012" + "0000" + "00000001" + "ffff", "hex");

/** Resolves once a broker answers: its port is open long before. */
export async function answers(socket: Socket, connected: "connect" | "secureConnect"): Promise<true> {
  try {
    await once(socket, connected, { signal: AbortSignal.timeout(2_000) });
    socket.write(apiVersionsRequest);
    await once(socket, "data", { signal: AbortSignal.timeout(2_000) });
    return true;
  } finally {
    socket.destroy();
  }
}

/** What a properties file of Kafka's has in it. */
export function properties(settings: Readonly<Record<string, string | number | boolean>>): string {
  return Object.entries(settings)
    .map(([key, value]) => `${key}=${value}\n`)
    .join("");
}

/** A command line, up to the class to run. The slow compiler pays only for a broker that is measured for a while. */
export function java({ measured = false } = {}): string {
  const compiler = measured ? "" : " -XX:TieredStopAtLevel=1";
  return `java -Xmx384m${compiler} -XX:+UseSerialGC -XX:-UsePerfData -cp '/opt/kafka/libs/*'`;
}

export interface KafkaOptions extends LogOption {
  /** Whether it's there to be measured: then Java's slow compiler works, too, which pays only after a while. */
  readonly measured?: boolean;
  /** @default a free port */
  readonly port?: number;
  /** The port that clients are sent on to, where something is in between. @default its own */
  readonly advertised?: number;
  /** Mounts a disk of its own for its data, and resolves to the command that leads to where it's mounted. @default none */
  readonly disk?: ((dataDir: string) => Promise<readonly string[]>) | undefined;
}

/** One Kafka node, broker and controller at once, that makes topics as they are used. */
export async function startKafka(options: KafkaOptions = {}): Promise<Kafka> {
  const { log, measured = false, port = await freePort(), advertised = port } = options;
  const controllerPort = await freePort();
  const dir = serverDir("kafka");
  const settings = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.bootstrap.servers": `127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    "advertised.listeners": `PLAINTEXT://127.0.0.1:${advertised}`,
    "controller.listener.names": "CONTROLLER",
    "log.dirs": "/mnt/data",
    "num.partitions": 3,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
  };
  writeFileSync(join(dir, "server.properties"), properties(settings));
  const script = `
    if [ ! -f /mnt/data/meta.properties ]; then
      ${java()} kafka.tools.StorageTool format --standalone -t MkU3OEVBNTcwNTJENDM2Qk -c /mnt/server.properties
    fi
    exec ${java({ measured })} kafka.Kafka /mnt/server.properties
  `;
  const dataDir = join(dir, "data");
  mkdirSync(dataDir);
  chownSync(dataDir, unprivileged, unprivileged);
  const wrapper = (await options.disk?.(dataDir)) ?? [];
  const server = await startServer({
    name: "Kafka",
    dir,
    log,
    command: [...wrapper, ...insideRoot(dir, script)],
    timeoutSeconds: 120,
    ready: () => answers(connect(port, "127.0.0.1"), "connect"),
  });
  return { ...server, brokers: `127.0.0.1:${port}` };
}

/** Runs one of Kafka's own tools and returns what it printed. */
export async function kafkaTool(tool: string, ...args: string[]): Promise<string> {
  const script = `exec ${java({ measured: true })} org.apache.kafka.tools.${tool} ${args.map((arg) => `'${arg}'`).join(" ")}`;
  const dir = serverDir("kafka-tool");
  try {
    const [program = "", ...rest] = insideRoot(dir, script);
    return await capture(program, rest);
  } finally {
    rmSync(dir, { recursive: true });
  }
}
