/**
 * What the stand-in's cloud is made of: the cluster of `test/cluster` called prod, which must be up, and servers that run in its
 * network namespace and control group, so that they end with it.
 */
import { randomBytes } from "node:crypto";
import { chownSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { stringify } from "yaml";
import { kubectl } from "../../cluster/cluster.ts";
import { layout } from "../../cluster/layout.ts";
import { inNamespace } from "../../cluster/network.ts";
import { ControlGroup } from "../../cluster/processes.ts";
import { insideRoot } from "../../servers/process.ts";
import { waitFor } from "../../tools/progress.ts";
import { tail } from "../../tools/run.ts";
import { engines } from "./catalog.ts";
import { call } from "./valkey.ts";

export interface Kubeconfig {
  readonly raw: string;
  readonly server: string;
  readonly ca: string;
  readonly token: string;
}

export interface Hardware {
  /** The addresses of the private network. */
  readonly range: string;
  /** A kubeconfig whose token the API server takes until it is forgotten. */
  readonly kubeconfig: (context: string) => Promise<Kubeconfig>;
  /** Makes the API server refuse every token given out so far. */
  readonly forgetTokens: () => Promise<void>;
  /** The certificate of the account's own CA, which signs PostgreSQL's. */
  readonly databaseCa: () => string;
  readonly startDatabase: (
    id: string,
    engine: string,
    name: string,
    password: string,
  ) => Promise<{ privateHost: string; process: number }>;
  readonly stopDatabase: (id: string, name: string, process: number) => Promise<void>;
  readonly setEvictionPolicy: (password: string, policy: string) => Promise<void>;
  readonly createDatabase: (adminPassword: string, name: string) => Promise<void>;
  readonly createUser: (adminPassword: string, name: string, password: string) => Promise<void>;
  readonly dropDatabase: (id: string, name: string) => Promise<void>;
  readonly dropUser: (id: string, name: string) => Promise<void>;
}

export const cluster = layout("prod");

/** The Kubernetes namespaces by which the cluster's DNS knows the servers outside it. */
export const zones = { digitalocean: "ondigitalocean", redpanda: "redpanda-cloud" } as const;

/** A name of such a server, as pods resolve it. */
export const hostName = (host: string, zone: string): string => `${host}.${zone}.svc.cluster.local`;

/** The user that servers run as. */
const unprivileged = 999;

const group = new ControlGroup(cluster.id);

/** Files that a server reads, in its folder. */
export function serverFile(dir: string, name: string, content: string): void {
  writeFileSync(join(dir, name), content, { mode: 0o600 });
  chownSync(join(dir, name), unprivileged, unprivileged);
}

/** Starts a server beside the cluster: it can be reached from pods and from this machine at the node's address. */
export function startBeside(dir: string, script: string): number {
  return group.start(inNamespace(cluster, insideRoot(dir, script)), join(dir, "log"));
}

/** Gives a host a name in the cluster's DNS: that of a Service without pods. */
export async function announce(host: string, zone: string): Promise<void> {
  const metadata = { name: host, namespace: zone, labels: { "kubernetes.io/service-name": host } };
  const items = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: zone } },
    { apiVersion: "v1", kind: "Service", metadata, spec: { clusterIP: "None", ports: [{ port: 1 }] } },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata,
      addressType: "IPv4",
      endpoints: [{ addresses: [cluster.nodeAddress], conditions: { ready: true } }],
      ports: [{ port: 1 }],
    },
  ];
  await apply(items);
}

async function apply(items: readonly object[]): Promise<void> {
  const file = join(cluster.dir, `apply-${randomBytes(4).toString("hex")}.json`);
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  try {
    await kubectl(cluster, "apply", "--server-side", "--force-conflicts", "-f", file);
  } finally {
    rmSync(file);
  }
}

const serviceAccount = { name: "digitalocean-admin", namespace: "kube-system" } as const;
/** A token bound to a secret is refused once that is gone. */
const boundTo = "digitalocean-token";

export function hardware(directory: string): Hardware {
  const tokenFile = join(directory, "kubeconfig-token");
  const databaseDir = (id: string) => join(directory, "databases", id);
  const host = (name: string) => `private-${name}-do-user-1-0`;
  const accountCa = () => readFileSync(join(directory, "account", "ca.crt"), "utf8");

  const token = async (): Promise<string> => {
    if (existsSync(tokenFile)) return readFileSync(tokenFile, "utf8");
    await apply([
      { apiVersion: "v1", kind: "ServiceAccount", metadata: serviceAccount },
      {
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRoleBinding",
        metadata: { name: serviceAccount.name },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
        subjects: [{ kind: "ServiceAccount", ...serviceAccount }],
      },
      { apiVersion: "v1", kind: "Secret", metadata: { name: boundTo, namespace: serviceAccount.namespace } },
    ]);
    const { name, namespace } = serviceAccount;
    const bound = ["--bound-object-kind=Secret", `--bound-object-name=${boundTo}`];
    const made = await kubectl(
      cluster,
      "create",
      "token",
      name,
      `--namespace=${namespace}`,
      "--duration=168h",
      ...bound,
    );
    writeFileSync(tokenFile, made, { mode: 0o600 });
    return made;
  };

  const connect = async <T>(
    user: string,
    password: string,
    database: string,
    use: (client: pg.Client) => Promise<T>,
  ) => {
    const client = new pg.Client({
      host: cluster.nodeAddress,
      port: engines["pg"]?.port ?? 0,
      user,
      password,
      database,
      ssl: { ca: accountCa(), servername: hostName(host("any"), zones.digitalocean) },
    });
    client.on("error", () => undefined);
    await client.connect();
    try {
      return await use(client);
    } finally {
      await client.end();
    }
  };
  const asSuperuser = <T>(id: string, database: string, use: (client: pg.Client) => Promise<T>) =>
    connect("postgres", readFileSync(join(databaseDir(id), "superuser"), "utf8"), database, use);

  /** One after the other, as PostgreSQL wants it: databases are made of one template, and rights of roles are in all of them. */
  const inTurn = (action: () => Promise<void>): Promise<void> => {
    const done = last.then(action);
    last = done.catch(() => undefined);
    return done;
  };
  let last = Promise.resolve();

  const startPostgres = async (dir: string, password: string): Promise<number> => {
    const superuser = randomBytes(18).toString("base64url");
    serverFile(dir, "superuser", superuser);
    // As at DigitalOcean: the admin is no superuser.
    serverFile(
      dir,
      "admin.sql",
      `create role doadmin login createdb createrole password '${password}'; create database defaultdb owner doadmin;`,
    );
    serverFile(dir, "hba", "hostssl all all all scram-sha-256\n");
    const bin = "/usr/lib/postgresql/17/bin";
    const process = startBeside(
      dir,
      `
      ${bin}/initdb -D /mnt/data -U postgres --auth=trust --no-sync --locale=C -E UTF8
      ${bin}/pg_ctl -D /mnt/data -w start -o "-c listen_addresses= -c unix_socket_directories=/mnt -c fsync=off"
      ${bin}/psql -h /mnt -U postgres -v ON_ERROR_STOP=1 -f /mnt/admin.sql postgres
      ${bin}/psql -h /mnt -U postgres -c "alter role postgres password '$(cat /mnt/superuser)'" postgres
      ${bin}/pg_ctl -D /mnt/data -w stop -m fast
      cp /mnt/hba /mnt/data/pg_hba.conf
      exec ${bin}/postgres -D /mnt/data -p ${engines["pg"]?.port} -c listen_addresses=${cluster.nodeAddress} \\
        -c unix_socket_directories= -c fsync=off -c ssl=on -c ssl_cert_file=/mnt/server.crt -c ssl_key_file=/mnt/server.key
      `,
    );
    await waitFor(
      "PostgreSQL",
      60,
      async () => {
        await connect("doadmin", password, "defaultdb", (client) => client.query("select 1"));
        return true;
      },
      () => tail(join(dir, "log")),
    );
    return process;
  };

  const startValkey = async (dir: string, password: string): Promise<number> => {
    serverFile(
      dir,
      "valkey.conf",
      `bind ${cluster.nodeAddress}
port 0
tls-port ${engines["valkey"]?.port}
tls-cert-file /mnt/server.crt
tls-key-file /mnt/server.key
tls-auth-clients no
requirepass ${password}
dir /mnt
save ""
`,
    );
    const process = startBeside(dir, "exec valkey-server /mnt/valkey.conf");
    await waitFor(
      "Valkey",
      20,
      async () => ((await valkey(password, "PING")) === "+PONG" ? true : undefined),
      () => tail(join(dir, "log")),
    );
    return process;
  };

  const valkey = (password: string, ...command: string[]) =>
    call({
      address: cluster.nodeAddress,
      port: engines["valkey"]?.port ?? 0,
      tls: {
        ca: readFileSync(join(directory, "public", "ca.crt"), "utf8"),
        servername: hostName(host("any"), zones.digitalocean),
      },
      password,
      command,
    });

  return {
    range: cluster.nodeRange,
    databaseCa: accountCa,

    kubeconfig: async (context) => {
      const ca = readFileSync(join(cluster.pki, "ca.crt")).toString("base64");
      const made = await token();
      const raw = stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: context, cluster: { server: cluster.apiServer, "certificate-authority-data": ca } }],
        users: [{ name: `${context}-admin`, user: { token: made } }],
        contexts: [{ name: context, context: { cluster: context, user: `${context}-admin` } }],
        "current-context": context,
      });
      return { raw, server: cluster.apiServer, ca, token: made };
    },

    forgetTokens: async () => {
      rmSync(tokenFile, { force: true });
      await kubectl(cluster, "delete", "secret", boundTo, "--namespace=kube-system", "--ignore-not-found");
    },

    startDatabase: async (id, engine, name, password) => {
      const dir = databaseDir(id);
      mkdirSync(dir, { recursive: true });
      // PostgreSQL's certificates are of the account's own CA, Valkey's of a public one.
      const authority = join(directory, engine === "pg" ? "account" : "public");
      for (const [from, to] of [
        ["server.crt", "server.crt"],
        ["server.key", "server.key"],
      ] as const) {
        copyFileSync(join(authority, from), join(dir, to));
        chownSync(join(dir, to), unprivileged, unprivileged);
      }
      const process = await (engine === "pg" ? startPostgres(dir, password) : startValkey(dir, password));
      await announce(host(name), zones.digitalocean);
      return { privateHost: hostName(host(name), zones.digitalocean), process };
    },

    stopDatabase: async (id, name, process) => {
      await group.endOne(process);
      await kubectl(
        cluster,
        "delete",
        "service",
        host(name),
        `--namespace=${zones.digitalocean}`,
        "--ignore-not-found",
      );
      rmSync(databaseDir(id), { recursive: true, force: true });
    },

    setEvictionPolicy: async (password, policy) => {
      await valkey(password, "CONFIG", "SET", "maxmemory-policy", policy.replace("_", "-"));
    },

    createDatabase: (adminPassword, name) =>
      inTurn(async () => {
        await connect("doadmin", adminPassword, "defaultdb", (client) => client.query(`create database "${name}"`));
      }),

    createUser: (adminPassword, name, password) =>
      inTurn(async () => {
        const statement = `create role "${name}" login password '${password}'`;
        await connect("doadmin", adminPassword, "defaultdb", (client) => client.query(statement));
      }),

    dropDatabase: (id, name) =>
      inTurn(async () => {
        // Whoever is in it is thrown out.
        await asSuperuser(id, "postgres", (client) => client.query(`drop database "${name}" with (force)`));
      }),

    dropUser: (id, name) =>
      inTurn(async () => {
        const { rows } = await asSuperuser(id, "postgres", (client) =>
          client.query<{ datname: string }>("select datname from pg_database where datallowconn"),
        );
        for (const { datname } of rows) {
          await asSuperuser(id, datname, (client) =>
            client.query(`reassign owned by "${name}" to doadmin; drop owned by "${name}"`),
          );
        }
        await asSuperuser(id, "postgres", (client) => client.query(`drop role "${name}"`));
      }),
  };
}
