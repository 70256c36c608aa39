import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { once } from "node:events";
import { deadLetterTopic, eventTypes, services, topic } from "@event-flow/events";
import { inNamespace } from "../cluster/network.ts";
import { announce, cluster, hostName, serverFile, startBeside, zones } from "../providers/digitalocean/hardware.ts";
import { insideRoot } from "../servers/process.ts";
import { step, waitFor } from "../tools/progress.ts";
import { run, tail } from "../tools/run.ts";

/** Kafka's simplest request (https://kafka.apache.org/protocol): ApiVersions, version 0, with no client id. */
export const apiVersionsRequest = Buffer.from("0000000a" + "0012" + "0000" + "00000001" + "ffff", "hex");

const java = "java -Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -cp '/opt/kafka/libs/*'";
const port = 9092;
/** Inside the cluster's network namespace only: for those who run the broker. */
const admin = "127.0.0.1:19092";
const host = "seed-0";

/**
 * What Redpanda Cloud is to its clients, by Apache Kafka: brokers that take nothing but SCRAM-SHA-256 by TLS, with a public
 * certificate, that make no topics by themselves, and whose users may do what they were allowed to.
 */
export interface Redpanda {
  readonly broker: string;
  readonly user: string;
  /** Makes the password another one. */
  readonly setPassword: (password: string) => Promise<void>;
}

/** Starts it with the topics and the rights that the README tells to make. `authority` has `server.crt` and `server.key`. */
export async function startRedpanda(dir: string, authority: string, password: string): Promise<Redpanda> {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const user = "event-flow";
  const pem = ["server.key", "server.crt"].map((file) => readFileSync(join(authority, file), "utf8")).join("");
  serverFile(dir, "server.pem", pem);
  const settings = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.voters": "1@127.0.0.1:19093",
    listeners: `CLOUD://${cluster.nodeAddress}:${port},ADMIN://${admin},CONTROLLER://127.0.0.1:19093`,
    "advertised.listeners": `CLOUD://${hostName(host, zones.redpanda)}:${port},ADMIN://${admin}`,
    "listener.security.protocol.map": "CLOUD:SASL_SSL,ADMIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "ADMIN",
    "listener.name.cloud.sasl.enabled.mechanisms": "SCRAM-SHA-256",
    "listener.name.cloud.scram-sha-256.sasl.jaas.config":
      "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "listener.name.cloud.ssl.keystore.type": "PEM",
    "listener.name.cloud.ssl.keystore.location": "/mnt/server.pem",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "auto.create.topics.enable": false,
    "log.dirs": "/mnt/data",
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`);
  serverFile(dir, "server.properties", lines.join(""));
  startBeside(
    dir,
    `${java} kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c /mnt/server.properties
    exec ${java} kafka.Kafka /mnt/server.properties`,
  );
  await announce(host, zones.redpanda);
  const servername = hostName(host, zones.redpanda);
  await waitFor(
    "the broker",
    90,
    async () => {
      const ca = readFileSync(join(authority, "ca.crt"), "utf8");
      const socket = connect({ host: cluster.nodeAddress, port, ca, servername });
      try {
        await once(socket, "secureConnect", { signal: AbortSignal.timeout(2_000) });
        socket.write(apiVersionsRequest);
        await once(socket, "data", { signal: AbortSignal.timeout(2_000) });
        return true;
      } finally {
        socket.destroy();
      }
    },
    () => tail(join(dir, "log")),
  );

  const tools = async (...commands: string[]) => {
    const toolDir = join(dir, "..", `tools-${randomUUID()}`);
    mkdirSync(toolDir);
    const [program = "", ...args] = inNamespace(cluster, insideRoot(toolDir, commands.join("\n")));
    const log = join(dir, "..", "redpanda-tools.log");
    try {
      await run(program, args, { log });
    } finally {
      // The command line has the password in it.
      rmSync(toolDir, { recursive: true });
    }
  };
  const setPassword = (changed: string) =>
    tools(
      `${java} kafka.admin.ConfigCommand --bootstrap-server ${admin} --alter --entity-type users --entity-name ${user} \\
        --add-config 'SCRAM-SHA-256=[iterations=4096,password=${changed}]'`,
    );
  const acl = `${java} org.apache.kafka.tools.AclCommand --bootstrap-server ${admin} --add --allow-principal User:${user}`;
  const createTopic = `${java} org.apache.kafka.tools.TopicCommand --bootstrap-server ${admin} --create`;
  const topics = [...eventTypes.map((type) => topic(type)), deadLetterTopic(services.notificationService)];
  await step("make the topics and the user of Redpanda Cloud", async () => {
    await Promise.all([
      setPassword(password),
      tools(...topics.map((name) => `${createTopic} --partitions 3 --topic ${name}`)),
      tools(
        `${acl} --operation Read --operation Write --operation Describe ${topics.map((name) => `--topic ${name}`).join(" ")}`,
        ...Object.values(services).map(({ appId }) => `${acl} --operation Read --group ${appId}`),
      ),
    ]);
  });
  writeFileSync(join(dir, "ready"), "");
  return { broker: `${servername}:${port}`, user, setPassword };
}
