import { secrets } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import type { Site } from "./cluster.ts";
import type { BrokerConnection, SaslAuth } from "./dapr-component.ts";
import { oneTimeJob } from "./one-time-job.ts";
import { serviceUser } from "./pod-security.ts";
import { saslVariables } from "./sasl-variables.ts";
import { StatefulServer, type StatefulServerArgs } from "./stateful-server.ts";
import { VersionedSecret } from "./versioned-secret.ts";
import { images } from "./versions.ts";

export interface BrokerArgs {
  /** What it is made of. */
  readonly site: Site;

  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;

  /** The backend's image, which can check a broker. */
  readonly image: pulumi.Input<string>;
}

/** What carries the events between the services: a broker that speaks Kafka's protocol. */
export class Broker extends pulumi.ComponentResource {
  /** How to reach it. */
  readonly connection: BrokerConnection;

  /** Another value when the credentials changed; `undefined` when there are none. */
  readonly revision: pulumi.Output<string> | undefined;

  constructor(name: string, args: BrokerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:broker:Broker", name, {}, opts);

    const { site, namespace, image } = args;
    switch (site.environment) {
      case "dev": {
        const server = new StatefulServer(
          `${name}-server`,
          { namespace, ...brokerServer(site.settings.broker) },
          { parent: this },
        );
        this.connection = { brokers: [server.address], auth: { type: "none" } };
        this.revision = undefined;
        break;
      }
      case "prod": {
        const { brokers, username, password, mechanism, ca } = site.settings.redpanda;
        const { name: secretName, keys } = secrets.redpanda;
        const data = { [keys.username]: username, [keys.password]: password };
        const userIn = (secret: pulumi.Input<string>): SaslAuth => ({
          type: "password",
          username: { name: secret, key: keys.username },
          password: { name: secret, key: keys.password },
          mechanism,
          ca,
        });
        const checked = new VersionedSecret(
          `${name}-checked`,
          { namespace, secretName: "redpanda-checked", data },
          { parent: this },
        );
        const check = oneTimeJob(
          `${name}-check`,
          {
            namespace,
            jobName: brokerCheck,
            image,
            runAs: serviceUser,
            command: ["node", "/app/apps/service/src/check-broker.ts"],
            env: [{ name: "BROKERS", value: brokers.join(",") }, ...saslVariables(userIn(checked.secretName))],
            retries: 2,
            revision: checked.revision,
          },
          { parent: this },
        );
        // Sidecars that can't use the broker end, and say why only to their own logs: they get what was checked.
        const secret = new VersionedSecret(
          `${name}-credentials`,
          { namespace, secretName, data },
          { parent: this, dependsOn: check },
        );
        this.connection = { brokers, auth: userIn(secretName) };
        this.revision = secret.revision;
        break;
      }
    }

    this.registerOutputs({ connection: this.connection, revision: this.revision });
  }
}

/** The job that looks at Redpanda Cloud before anybody uses it. */
export const brokerCheck = "redpanda-check";

const port = 9092;

/** The brokers that stack dev can run. A client of either is sent on to the address that it advertises. */
const inClusterBrokers: Record<"redpanda" | "kafka", Omit<StatefulServerArgs, "namespace">> = {
  redpanda: {
    serverName: "redpanda",
    image: images.redpanda,
    runAs: 101,
    port,
    args: [
      "redpanda",
      "start",
      // Overprovisioned, no fsync, topics made when they are first used.
      "--mode=dev-container",
      "--smp=1",
      "--memory=1G",
      `--kafka-addr=0.0.0.0:${port}`,
      `--advertise-kafka-addr=redpanda:${port}`,
      "--rpc-addr=127.0.0.1:33145",
      "--advertise-rpc-addr=127.0.0.1:33145",
    ],
    dataPath: "/var/lib/redpanda/data",
    // What its arguments say becomes a file, which it writes anew at each start.
    scratch: ["/etc/redpanda", "/tmp"],
    resources: { requests: { cpu: "100m", memory: "512Mi" }, limits: { cpu: "2", memory: "1536Mi" } },
  },
  kafka: {
    serverName: "kafka",
    image: images.kafka,
    runAs: 1000,
    port,
    env: Object.entries({
      // One node that is broker and controller. The image takes none of its own defaults once one of these is set.
      KAFKA_NODE_ID: "1",
      KAFKA_PROCESS_ROLES: "broker,controller",
      KAFKA_CONTROLLER_QUORUM_VOTERS: "1@localhost:9093",
      KAFKA_CONTROLLER_LISTENER_NAMES: "CONTROLLER",
      KAFKA_LISTENERS: `PLAINTEXT://:${port},CONTROLLER://:9093`,
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://kafka:${port}`,
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
      KAFKA_INTER_BROKER_LISTENER_NAME: "PLAINTEXT",
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: "1",
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: "1",
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: "1",
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: "0",
      // As many as Redpanda's mode for development gives a topic.
      KAFKA_NUM_PARTITIONS: "3",
      // A folder in the volume: Kafka refuses to start on the `lost+found` at the top of a fresh file system.
      KAFKA_LOG_DIRS: "/var/lib/kafka/data/logs",
      KAFKA_HEAP_OPTS: "-Xms256m -Xmx384m",
    }).map(([name, value]) => ({ name, value })),
    dataPath: "/var/lib/kafka/data",
    // Its configuration, which the image makes of the environment at each start, and logs of the Java runtime and of its tools.
    scratch: ["/opt/kafka/config", "/opt/kafka/logs", "/tmp"],
    resources: { requests: { cpu: "100m", memory: "512Mi" }, limits: { cpu: "2", memory: "1Gi" } },
  },
};

/** One of them. */
export function brokerServer(broker: keyof typeof inClusterBrokers): Omit<StatefulServerArgs, "namespace"> {
  return inClusterBrokers[broker];
}
