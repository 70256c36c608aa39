import { secrets, subscribers } from "@event-flow/events";
import * as digitalocean from "@pulumi/digitalocean";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { Site } from "./cluster.ts";
import type { RedisConnection } from "./dapr-component.ts";
import { openWay } from "./network-policies.ts";
import { StatefulServer } from "./stateful-server.ts";
import { VersionedSecret } from "./versioned-secret.ts";
import { images } from "./versions.ts";

export interface StateStoreArgs {
  /** What it is made of. */
  readonly site: Site;

  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;
}

/** Where the services keep state: a Valkey, which speaks Redis' protocol. */
export class StateStore extends pulumi.ComponentResource {
  /** How to reach it. */
  readonly connection: RedisConnection;

  /** Another value when its address or its password changed. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: StateStoreArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:state:StateStore", name, {}, opts);

    const { site, namespace } = args;
    const { redis } = secrets;

    const credentials = (host: pulumi.Input<string>, password: pulumi.Input<string>) =>
      new VersionedSecret(
        `${name}-credentials`,
        { namespace, secretName: redis.name, data: { [redis.keys.host]: host, [redis.keys.password]: password } },
        { parent: this },
      );

    switch (site.environment) {
      case "dev": {
        const password = new random.RandomPassword(
          `${name}-password`,
          { length: 32, special: false },
          { parent: this },
        );
        const secret = credentials(`${stateServer.serverName}:${stateServer.port}`, password.result);
        const configuration = new VersionedSecret(
          `${name}-configuration`,
          {
            namespace,
            secretName: "redis-configuration",
            // A file, as arguments are there for all to read.
            data: { [configurationFile]: valkeyConfiguration(password.result) },
          },
          { parent: this },
        );
        new StatefulServer(
          `${name}-server`,
          {
            namespace,
            ...stateServer,
            image: images.valkey,
            runAs: 999,
            args: ["valkey-server", `${configurationPath}/${configurationFile}`],
            env: [
              {
                name: "REDISCLI_AUTH",
                valueFrom: { secretKeyRef: { name: secret.secretName, key: redis.keys.password } },
              },
            ],
            readyWhen: ["sh", "-c", "valkey-cli ping | grep -q PONG"],
            dataPath: "/data",
            files: { path: configurationPath, secretName: configuration.secretName },
            madeOf: configuration.revision,
            resources: { requests: { cpu: "20m", memory: "32Mi" }, limits: { cpu: "1", memory: "256Mi" } },
          },
          { parent: this },
        );
        this.connection = { ...secretKeys, tls: false };
        this.revision = secret.revision;
        break;
      }
      case "prod": {
        const { settings, vpcId, vpcRange, clusterId } = site;
        const valkey = new digitalocean.DatabaseCluster(
          `${name}-valkey`,
          {
            name: `${settings.name}-state`,
            engine: "valkey",
            version: "8",
            size: "db-s-1vcpu-2gb",
            // One in reserve.
            nodeCount: 2,
            region: settings.region,
            privateNetworkUuid: vpcId,
            maintenanceWindows: [{ day: "sunday", hour: "05:00" }],
            // State is no cache: a full store refuses writes, which are retried, rather than forget others' state.
            evictionPolicy: "noeviction",
          },
          { parent: this, protect: true },
        );
        new digitalocean.DatabaseValkeyConfig(
          `${name}-persistence`,
          // Snapshots: what the one in reserve missed when both are lost is at most ten minutes of state.
          { clusterId: valkey.id, persistence: "rdb" },
          { parent: this },
        );
        new digitalocean.DatabaseFirewall(
          `${name}-firewall`,
          // The first rule shuts out everyone else; without any, the protected data would be open to all.
          { clusterId: valkey.id, rules: [{ type: "k8s", value: clusterId }] },
          { parent: this, protect: true },
        );
        openWay(
          name,
          {
            namespace,
            way: {
              name: "valkey",
              from: { pods: subscribers.map((subscriber) => subscriber.name) },
              to: { others: [{ ipBlock: { cidr: vpcRange } }] },
              ports: [valkey.port],
            },
          },
          { parent: this },
        );
        const secret = credentials(pulumi.interpolate`${valkey.privateHost}:${valkey.port}`, valkey.password);
        this.connection = { ...secretKeys, tls: true };
        this.revision = secret.revision;
        break;
      }
    }

    this.registerOutputs({ connection: this.connection, revision: this.revision });
  }
}

const secretKeys = {
  host: { name: secrets.redis.name, key: secrets.redis.keys.host },
  password: { name: secrets.redis.name, key: secrets.redis.keys.password },
};

/** The server of stack dev. Named by its protocol, as those who look for it with kubectl know it. */
export const stateServer = { serverName: "redis", port: 6379 } as const;
const configurationPath = "/etc/valkey";
const configurationFile = "valkey.conf";

function valkeyConfiguration(password: pulumi.Input<string>): pulumi.Output<string> {
  return pulumi.interpolate`bind * -::*
port ${stateServer.port}
requirepass ${password}
dir /data
appendonly yes
save ""
maxmemory 128mb
maxmemory-policy noeviction
`;
}
