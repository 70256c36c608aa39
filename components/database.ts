import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { Site } from "./cluster.ts";
import { StatefulServer } from "./stateful-server.ts";
import { images } from "./versions.ts";

export interface DatabaseArgs {
  /** What it is made of. */
  readonly site: Site;

  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;
}

/** Where the backend keeps tasks: a PostgreSQL with a database and a user of the backend's own. */
export class Database extends pulumi.ComponentResource {
  /** How to reach it, password and all; a secret. */
  readonly url: pulumi.Output<string>;

  constructor(name: string, args: DatabaseArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:database:Database", name, {}, opts);

    const { site, namespace } = args;
    switch (site.environment) {
      case "dev": {
        // No special characters: they would have to be escaped in the URL.
        const password = new random.RandomPassword(
          `${name}-password`,
          { length: 32, special: false },
          { parent: this },
        );
        const secret = new k8s.core.v1.Secret(
          `${name}-credentials`,
          { metadata: { name: "postgres-credentials", namespace }, stringData: { password: password.result } },
          { parent: this },
        );
        const server = new StatefulServer(
          `${name}-server`,
          {
            namespace,
            serverName: "postgres",
            image: images.postgres,
            runAs: 999,
            port: 5432,
            env: [
              { name: "POSTGRES_DB", value: databaseName },
              { name: "POSTGRES_USER", value: userName },
              {
                name: "POSTGRES_PASSWORD",
                valueFrom: { secretKeyRef: { name: secret.metadata.name, key: "password" } },
              },
              // A folder in the volume: initdb refuses one that has a `lost+found` in it.
              { name: "PGDATA", value: `${dataPath}/pgdata` },
            ],
            // Over TCP: while the image sets the database up, its server listens on the socket only.
            readyWhen: ["pg_isready", "--host=127.0.0.1", `--username=${userName}`, `--dbname=${databaseName}`],
            dataPath,
            resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "512Mi" } },
          },
          { parent: this },
        );
        this.url = pulumi.interpolate`postgresql://${userName}:${password.result}@${server.address}/${databaseName}`;
        break;
      }
    }

    this.registerOutputs({ url: this.url });
  }
}

const databaseName = "todo";
const userName = "todo";
const dataPath = "/var/lib/postgresql/data";
