import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { authority } from "../cluster/pki.ts";
import { answers, java, properties } from "./kafka.ts";
import { freePort } from "./ports.ts";
import { insideRoot, type Server, serverDir, startServer } from "./process.ts";

/** Where a secured Kafka listens, each a host with a port, and what it does. */
export interface SecuredKafkaOptions {
  /** Where it listens for its users. */
  readonly listen: string;

  /** Where it sends its users on to. */
  readonly advertise: string;

  /** Where it listens for those who run it: in plain text, and they may do everything. */
  readonly admin: string;

  readonly controller: string;

  /** How users sign in: SCRAM-SHA-256, SCRAM-SHA-512, or both. */
  readonly mechanisms: readonly string[];

  /** Whether it makes topics as they are used. */
  readonly makesTopics: boolean;
}

/**
 * The settings of a Kafka that takes nothing but SCRAM by TLS from its users, who may do what they were allowed to. It has its
 * key and certificate in /mnt/server.pem.
 */
export function securedSettings(options: SecuredKafkaOptions) {
  const { listen, advertise, admin, controller, mechanisms, makesTopics } = options;
  return {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.voters": `1@${controller}`,
    listeners: `CLOUD://${listen},ADMIN://${admin},CONTROLLER://${controller}`,
    "advertised.listeners": `CLOUD://${advertise},ADMIN://${admin}`,
    "listener.security.protocol.map": "CLOUD:SASL_SSL,ADMIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "ADMIN",
    "listener.name.cloud.sasl.enabled.mechanisms": mechanisms.join(","),
    ...Object.fromEntries(
      mechanisms.map((mechanism) => [
        `listener.name.cloud.${mechanism.toLowerCase()}.sasl.jaas.config`,
        "org.apache.kafka.common.security.scram.ScramLoginModule required;",
      ]),
    ),
    "listener.name.cloud.ssl.keystore.type": "PEM",
    "listener.name.cloud.ssl.keystore.location": "/mnt/server.pem",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "auto.create.topics.enable": makesTopics,
    "log.dirs": "/mnt/data",
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
  };
}

/** The script that runs it. `users` are there from the start, as arguments of `--add-scram`. */
export function securedScript(users: readonly string[] = []): string {
  const added = users.map((user) => ` --add-scram '${user}'`).join("");
  return `
    if [ ! -d /mnt/data ]; then
      ${java()} kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c /mnt/server.properties${added}
    fi
    exec ${java()} kafka.Kafka /mnt/server.properties
  `;
}

export interface SecuredKafka extends Server {
  /** Where its users find it. */
  readonly broker: string;

  /** Where those who run it do. */
  readonly admin: string;

  /** The CA of its certificate, in PEM. */
  readonly ca: string;

  /** Starts it again with other settings. */
  restart(how: How): Promise<void>;
}

type How = Pick<SecuredKafkaOptions, "mechanisms" | "makesTopics">;

/** One with users by name, who all have the same password and no rights. */
export async function startSecuredKafka(users: readonly string[], password: string, how: How): Promise<SecuredKafka> {
  const [port, adminPort, controllerPort] = [await freePort(), await freePort(), await freePort()];
  const dir = serverDir("secured-kafka");
  const issue = await authority(dir, "Secured Kafka CA");
  await issue("server", "CN=localhost", [{ type: "dns", value: "localhost" }]);
  const pem = ["server.key", "server.crt"].map((file) => readFileSync(join(dir, file), "utf8"));
  writeFileSync(join(dir, "server.pem"), pem.join(""));
  const ca = readFileSync(join(dir, "ca.crt"), "utf8");
  const broker = `localhost:${port}`;
  const admin = `127.0.0.1:${adminPort}`;
  const configure = (settings: How) => {
    const addresses = {
      listen: `127.0.0.1:${port}`,
      advertise: broker,
      admin,
      controller: `127.0.0.1:${controllerPort}`,
    };
    writeFileSync(join(dir, "server.properties"), properties(securedSettings({ ...addresses, ...settings })));
  };
  configure(how);
  const added = users.flatMap((name) =>
    ["SCRAM-SHA-256", "SCRAM-SHA-512"].map((mechanism) => `${mechanism}=[name=${name},password=${password}]`),
  );
  const server = await startServer({
    name: "secured Kafka",
    dir,
    command: insideRoot(dir, securedScript(added)),
    timeoutSeconds: 120,
    ready: () => answers(connect({ host: "localhost", port, ca, servername: "localhost" }), "secureConnect"),
  });
  const restart = async (changed: How) => {
    await server.kill();
    configure(changed);
    await server.start();
  };
  return { ...server, broker, admin, ca, restart };
}
