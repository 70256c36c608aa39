import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { allTopics, services } from "@event-flow/events";
import { inNamespace } from "../cluster/network.ts";
import { announce, cluster, hostName, serverFile, startBeside, zones } from "../providers/digitalocean/hardware.ts";
import { answers, java, properties } from "../servers/kafka.ts";
import { insideRoot } from "../servers/process.ts";
import { securedScript, securedSettings } from "../servers/secured-kafka.ts";
import { step, waitFor } from "../tools/progress.ts";
import { run, tail } from "../tools/run.ts";

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
  const settings = securedSettings({
    listen: `${cluster.nodeAddress}:${port}`,
    advertise: `${hostName(host, zones.redpanda)}:${port}`,
    admin,
    controller: "127.0.0.1:19093",
    mechanisms: ["SCRAM-SHA-256"],
    makesTopics: false,
  });
  serverFile(dir, "server.properties", properties(settings));
  startBeside(dir, securedScript());
  await announce(host, zones.redpanda);
  const servername = hostName(host, zones.redpanda);
  await waitFor(
    "the broker",
    90,
    () => {
      const ca = readFileSync(join(authority, "ca.crt"), "utf8");
      return answers(connect({ host: cluster.nodeAddress, port, ca, servername }), "secureConnect");
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
      `${java()} kafka.admin.ConfigCommand --bootstrap-server ${admin} --alter --entity-type users --entity-name ${user} \\
        --add-config 'SCRAM-SHA-256=[iterations=4096,password=${changed}]'`,
    );
  const acl = `${java()} org.apache.kafka.tools.AclCommand --bootstrap-server ${admin} --add --allow-principal User:${user}`;
  const createTopic = `${java()} org.apache.kafka.tools.TopicCommand --bootstrap-server ${admin} --create`;
  await step("make the topics and the user of Redpanda Cloud", async () => {
    await Promise.all([
      setPassword(password),
      tools(...allTopics.map((name) => `${createTopic} --partitions 3 --topic ${name}`)),
      tools(
        `${acl} --operation Read --operation Write --operation Describe ${allTopics.map((name) => `--topic ${name}`).join(" ")}`,
        ...Object.values(services).map(({ appId }) => `${acl} --operation Read --group ${appId}`),
      ),
    ]);
  });
  writeFileSync(join(dir, "ready"), "");
  return { broker: `${servername}:${port}`, user, setPassword };
}
