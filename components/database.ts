import { services } from "@event-flow/events";
import * as digitalocean from "@pulumi/digitalocean";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { Site } from "./cluster.ts";
import { openWay } from "./network-policies.ts";
import { oneTimeJob } from "./one-time-job.ts";
import { type SecretFiles, StatefulServer } from "./stateful-server.ts";
import { VersionedSecret } from "./versioned-secret.ts";
import { images } from "./versions.ts";

export interface DatabaseArgs {
  /** What it is made of. */
  readonly site: Site;

  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;
}

/** A PostgreSQL where the backend keeps tasks and the analytics service what became of them: a database and a user for each. */
export class Database extends pulumi.ComponentResource {
  /** How the backend reaches its database, password and all; a secret. */
  readonly url: pulumi.Output<string>;

  /** How the analytics service reaches its own; a secret, too. */
  readonly analyticsUrl: pulumi.Output<string>;

  /** The files that these speak of, which a service must find; `undefined` when there are none. */
  readonly files: SecretFiles | undefined;

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
            ...databaseServer,
            image: images.postgres,
            runAs: 999,
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
            scratch: ["/tmp", "/var/run/postgresql"],
            resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { cpu: "2", memory: "512Mi" } },
          },
          { parent: this },
        );
        this.url = pulumi.interpolate`postgresql://${userName}:${password.result}@${server.address}/${databaseName}`;
        this.analyticsUrl = this.#makeAnalytics(name, { namespace, server, admin: secret });
        this.files = undefined;
        break;
      }
      case "prod": {
        const { settings, vpcId, vpcRange, clusterId } = site;
        const postgres = new digitalocean.DatabaseCluster(
          `${name}-postgres`,
          {
            name: `${settings.name}-tasks`,
            engine: "pg",
            version: "17",
            size: "db-s-1vcpu-2gb",
            // One in reserve.
            nodeCount: 2,
            region: settings.region,
            privateNetworkUuid: vpcId,
            maintenanceWindows: [{ day: "sunday", hour: "06:00" }],
          },
          { parent: this, protect: true },
        );
        const database = new digitalocean.DatabaseDb(
          `${name}-database`,
          { clusterId: postgres.id, name: databaseName },
          { parent: this, protect: true },
        );
        const user = new digitalocean.DatabaseUser(
          `${name}-user`,
          { clusterId: postgres.id, name: userName },
          // It owns the tables.
          { parent: this, protect: true },
        );
        const analyticsDatabase = new digitalocean.DatabaseDb(
          `${name}-analytics`,
          { clusterId: postgres.id, name: analyticsName },
          { parent: this, protect: true },
        );
        const analyticsUser = new digitalocean.DatabaseUser(
          `${name}-analytics-user`,
          { clusterId: postgres.id, name: analyticsName },
          { parent: this, protect: true },
        );
        const firewall = new digitalocean.DatabaseFirewall(
          `${name}-firewall`,
          // The first rule shuts out everyone else; without any, the protected data would be open to all.
          { clusterId: postgres.id, rules: [{ type: "k8s", value: clusterId }] },
          { parent: this, protect: true },
        );
        // Its certificate is of a CA of the account's own, so the backend is given that to check it by.
        const ca = new k8s.core.v1.Secret(
          `${name}-ca`,
          {
            metadata: { name: "postgres-ca", namespace },
            stringData: {
              [caFile]: digitalocean.getDatabaseCaOutput({ clusterId: postgres.id }, { parent: this }).certificate,
            },
          },
          { parent: this },
        );
        this.files = { path: caPath, secretName: ca.metadata.name };
        const way = openWay(
          name,
          {
            namespace,
            way: {
              name: "postgres",
              from: { pods: [...databaseClients, databaseJobs.prod] },
              to: { others: [{ ipBlock: { cidr: vpcRange } }] },
              ports: [postgres.port],
            },
          },
          { parent: this },
        );
        const urlFor = (userAndPassword: pulumi.Output<string>, { name: databaseToUse } = database) => {
          const address = pulumi.interpolate`${postgres.privateHost}:${postgres.port}/${databaseToUse}`;
          const tls = `sslmode=verify-full&sslrootcert=${caPath}/${caFile}`;
          return pulumi.secret(pulumi.interpolate`postgresql://${userAndPassword}@${address}?${tls}`);
        };
        this.url = urlFor(pulumi.interpolate`${user.name}:${user.password}`);
        this.analyticsUrl = urlFor(
          pulumi.interpolate`${analyticsUser.name}:${analyticsUser.password}`,
          analyticsDatabase,
        );
        this.#letUsersMakeTables(name, {
          namespace,
          adminUrl: urlFor(pulumi.interpolate`${postgres.user}:${postgres.password}`),
          files: this.files,
          dependsOn: [firewall, ...way, user, analyticsDatabase, analyticsUser],
        });
        break;
      }
    }

    this.registerOutputs({ url: this.url, analyticsUrl: this.analyticsUrl });
  }

  /**
   * Makes the analytics service's database and user on a server that the image set up for the backend's, be it new or one that
   * has long been there. Returns how to reach it.
   */
  #makeAnalytics(
    name: string,
    args: { namespace: pulumi.Input<string>; server: StatefulServer; admin: k8s.core.v1.Secret },
  ): pulumi.Output<string> {
    const { namespace, server, admin } = args;
    const password = new random.RandomPassword(
      `${name}-analytics-password`,
      { length: 32, special: false },
      { parent: this },
    );
    const secret = new VersionedSecret(
      `${name}-analytics-credentials`,
      { namespace, secretName: "postgres-analytics-credentials", data: { password: password.result } },
      { parent: this },
    );
    oneTimeJob(
      `${name}-make-analytics`,
      {
        namespace,
        jobName: databaseJobs.dev,
        image: images.postgres,
        runAs: 999,
        command: ["sh", "-c", 'printf %s "$SQL" | psql --no-psqlrc --set=ON_ERROR_STOP=1'],
        env: [
          { name: "PGHOST", value: server.address.split(":")[0] ?? "" },
          { name: "PGDATABASE", value: databaseName },
          { name: "PGUSER", value: userName },
          { name: "PGPASSWORD", valueFrom: { secretKeyRef: { name: admin.metadata.name, key: "password" } } },
          { name: "PASSWORD", valueFrom: { secretKeyRef: { name: secret.secretName, key: "password" } } },
          { name: "SQL", value: makeAnalytics },
        ],
        retries: 5,
        revision: secret.revision,
      },
      { parent: this, dependsOn: server },
    );
    return pulumi.interpolate`postgresql://${analyticsName}:${password.result}@${server.address}/${analyticsName}`;
  }

  /** Since PostgreSQL 15 only a database's owner may make tables in it, and DigitalOcean has no other than its admin. */
  #letUsersMakeTables(
    name: string,
    args: {
      namespace: pulumi.Input<string>;
      adminUrl: pulumi.Output<string>;
      files: SecretFiles;
      dependsOn: pulumi.Resource[];
    },
  ): void {
    const { namespace, adminUrl, files, dependsOn } = args;
    const secret = new k8s.core.v1.Secret(
      `${name}-admin`,
      { metadata: { name: "postgres-admin", namespace }, stringData: { url: adminUrl } },
      { parent: this },
    );
    oneTimeJob(
      `${name}-grant`,
      {
        namespace,
        jobName: databaseJobs.prod,
        image: images.postgres,
        runAs: 999,
        command: ["sh", "-c", 'printf %s "$SQL" | psql "$URL" --no-psqlrc --set=ON_ERROR_STOP=1'],
        env: [
          { name: "URL", valueFrom: { secretKeyRef: { name: secret.metadata.name, key: "url" } } },
          {
            name: "SQL",
            value: [
              `GRANT ALL ON SCHEMA public TO "${userName}";`,
              `\\connect "${analyticsName}"`,
              `GRANT ALL ON SCHEMA public TO "${analyticsName}";`,
              "",
            ].join("\n"),
          },
        ],
        files,
        // A new firewall takes its time.
        retries: 5,
      },
      { parent: this, dependsOn },
    );
  }
}

/** The server of stack dev. */
export const databaseServer = { serverName: "postgres", port: 5432 } as const;

/** The services that have a database there. */
export const databaseClients: readonly string[] = [services.backend.name, services.analyticsService.name];

/** The jobs that ready the databases of each stack. */
export const databaseJobs = { dev: "postgres-analytics", prod: "postgres-grant" } as const;

const databaseName = "todo";
const userName = "todo";
/** Of a database and of its user. */
const analyticsName = "analytics";
/** For psql. What is there stays as it is, but for the password. */
const makeAnalytics = `\\getenv password PASSWORD
SELECT 'CREATE ROLE ${analyticsName} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${analyticsName}') \\gexec
ALTER ROLE ${analyticsName} PASSWORD :'password';
SELECT 'CREATE DATABASE ${analyticsName} OWNER ${analyticsName}'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '${analyticsName}') \\gexec
`;
const dataPath = "/var/lib/postgresql/data";
const caPath = "/etc/postgres-ca";
const caFile = "ca.crt";
