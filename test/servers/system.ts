import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  daprTokenKey,
  daprTokenSecrets,
  perService,
  probes,
  secrets,
  type ServiceIdentity,
  type ServiceKey,
  services,
} from "@event-flow/events";
import { waitFor } from "../tools/progress.ts";
import { clockFrom, withClock } from "./clock.ts";
import { startDaprd, type Daprd } from "./daprd.ts";
import { type Kafka, startKafka } from "./kafka.ts";
import { type MailDev, startMailDev } from "./maildev.ts";
import { type Backing, podVariables, secretValue, type SecretValues } from "./manifests.ts";
import { freePort } from "./ports.ts";
import { createDatabase, type Postgres, startPostgres } from "./postgres.ts";
import { type Server, serverDir, startServer } from "./process.ts";
import { jwtSecret, nextTaskToken, serviceCommand, vapidSecret } from "./service.ts";
import { startValkey, type Valkey } from "./valkey.ts";

/** A service of the stack as a process that can be started again, as its container is. */
export interface App extends Server {
  readonly url: string;
}

/** A service with its sidecar. */
export interface Pod {
  readonly app: App;
  readonly daprd: Daprd;
  /** What the sidecar shows to the service. */
  readonly appApiToken: string;
}

/** Which ones of the stack's services there are, and how many of each. */
export type Replicas = Readonly<Record<ServiceKey, number>>;

/** The whole event flow as processes of this machine: what stack dev has in pods, with the manifests that it emits. */
export interface System {
  readonly postgres: Postgres;
  readonly kafka: Kafka;
  readonly valkey: Valkey;
  /** What takes mail, if the system has it. */
  readonly maildev: MailDev | undefined;
  readonly databaseUrl: string;
  readonly pods: Readonly<Record<ServiceKey, Pod[]>>;
  /** Starts one more replica of a service. */
  add(service: ServiceKey): Promise<Pod>;
  /** Waits until every service says that it's ready. */
  ready(timeoutSeconds?: number): Promise<void>;
  /** Lets the services stop as in a cluster, then ends the rest. */
  stop(): Promise<void>;
}

export interface SystemOptions {
  /** @default one of each */
  readonly replicas?: Replicas;
  /** Where each part's log goes, as `<part>.log`; by default it ends with the part. */
  readonly logs?: string;
  /** Where the first replica of a service listens, if it matters. */
  readonly ports?: Partial<Record<ServiceKey, number>>;
  /** Whether its sidecars show metrics. */
  readonly metrics?: boolean;
  /** Whether there is something that takes mail. @default there isn't, and no channel for e-mail */
  readonly mail?: boolean;
  /** The URL of what takes its traces. @default nothing is traced */
  readonly collector?: string | undefined;
  /** Whether it's there to be measured: with a database that waits for its disk, and a broker that is compiled thoroughly. */
  readonly measured?: boolean;
  /** Between the parts: what is to be told as the address of one instead of its own. */
  readonly via?: (part: BackingServer, port: number) => Promise<number>;
  /** The file that sets the services' clock; PostgreSQL then has a clock of its own, too. @default the machine's clock */
  readonly clock?: string | undefined;
  /** A disk of its own for the broker's data. */
  readonly brokerDisk?: (dataDir: string) => Promise<readonly string[]>;
}

/** A server behind the services. */
export type BackingServer = "postgres" | "kafka" | "valkey";

/** The name of the backend's database. */
export const database = "tasks";
/** The name of the analytics service's. */
export const analyticsDatabase = "analytics";

async function startApp(
  { name }: ServiceIdentity,
  options: {
    port: number;
    env: Readonly<Record<string, string>>;
    log: string | undefined;
    clock: string | undefined;
  },
): Promise<App> {
  const { port, env, log, clock } = options;
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer({
    name,
    dir: serverDir(name),
    log,
    command: serviceCommand(name, { through: clock === undefined ? [] : withClock() }),
    env: {
      PORT: String(port),
      NODE_ENV: "production",
      ...(clock !== undefined && clockFrom(clock)),
      ...env,
    },
    timeoutSeconds: 90,
    ready: async () => ((await fetch(`${url}${probes.liveness}`)).ok ? true : undefined),
  });
  return { ...server, url };
}

/** A pair of tokens for each service and its sidecar, as `index.ts` has Pulumi make. */
function newDaprTokens(): SecretValues {
  const names = Object.values(services).map((identity) => daprTokenSecrets(identity));
  return Object.fromEntries(
    names
      .flatMap(({ api, app }) => [api, app])
      .map((name) => [`${name}/${daprTokenKey}`, randomBytes(32).toString("hex")]),
  );
}

/** What the injector gives a service's sidecar of them. */
function daprTokens(identity: ServiceIdentity, values: SecretValues) {
  const { api, app } = daprTokenSecrets(identity);
  const value = (name: string) => secretValue(values, { name, key: daprTokenKey }) ?? "";
  return { apiToken: value(api), appApiToken: value(app) };
}

/** Starts a service with its sidecar. */
export async function startPod(
  service: ServiceKey,
  options: {
    readonly backing: Backing;
    readonly secretValues: SecretValues;
    /** The file by which the pods' sidecars find each other. */
    readonly names: string;
    /** @default a free port */
    readonly port?: number | undefined;
    /** Whether the sidecar shows metrics. @default it doesn't */
    readonly metrics?: boolean | undefined;
    /** Makes the path of a log from the name of what writes it. */
    readonly log?: (name: string) => string | undefined;
    /** The file that sets the service's clock. */
    readonly clock?: string | undefined;
  },
): Promise<Pod> {
  const { backing, secretValues, names, metrics = false, log, clock } = options;
  const identity = services[service];
  const [port, httpPort] = [options.port ?? (await freePort()), await freePort()];
  const { apiToken, appApiToken } = daprTokens(identity, secretValues);
  const metricsPort = metrics ? await freePort() : undefined;
  // Together, as containers of a pod start: the sidecar waits for its app's port, the app goes on without the sidecar.
  const [app, daprd] = await Promise.all([
    startApp(identity, {
      port,
      clock,
      log: log?.(identity.name),
      env: {
        ...(await podVariables(identity.appId, secretValues, backing.collector)),
        ...(backing.smtp === undefined ? { EMAIL: "off" } : {}),
        DAPR_HTTP_PORT: String(httpPort),
      },
    }),
    startDaprd({
      ...backing,
      apiToken,
      appApiToken,
      appId: identity.appId,
      appPort: port,
      httpPort,
      metricsPort,
      names,
      log: log?.(`${identity.name}-daprd`),
    }),
  ]);
  return { app, daprd, appApiToken };
}

export async function startSystem(options: SystemOptions = {}): Promise<System> {
  const { replicas = perService(() => 1), logs, ports = {}, measured = false, clock } = options;
  if (logs !== undefined) mkdirSync(logs, { recursive: true });
  const log = (name: string) => (logs === undefined ? {} : { log: join(logs, `${name}.log`) });
  const via = options.via ?? ((_part, port) => Promise.resolve(port));

  const names = serverDir("names");
  const started: Server[] = [];
  const keep = async <T extends Server>(starting: Promise<T>): Promise<T> => {
    const server = await starting;
    started.push(server);
    return server;
  };
  const pods = perService((): Pod[] => []);
  const everyPod = () => Object.values(pods).flat();
  const stop = async () => {
    await Promise.all(everyPod().map(({ app }) => app.terminate()));
    await Promise.all(everyPod().flatMap(({ app, daprd }) => [app.stop(), daprd.stop()]));
    await Promise.all(started.map((server) => server.stop()));
    rmSync(names, { recursive: true, force: true });
  };
  try {
    const kafkaPort = await freePort();
    const advertised = await via("kafka", kafkaPort);
    const [postgres, kafka, valkey, maildev] = await Promise.all([
      keep(startPostgres({ ...log("postgres"), durable: measured, ownClock: clock !== undefined })),
      keep(startKafka({ ...log("kafka"), measured, port: kafkaPort, advertised, disk: options.brokerDisk })),
      keep(startValkey(log("valkey"))),
      options.mail === true ? keep(startMailDev(log("maildev"))) : undefined,
    ]);
    await createDatabase(postgres.port, database);
    await createDatabase(postgres.port, analyticsDatabase);
    const postgresPort = await via("postgres", postgres.port);
    const databaseUrl = postgres.url(database, postgresPort);
    const backing: Backing = {
      brokers: `127.0.0.1:${advertised}`,
      valkey: { address: `127.0.0.1:${await via("valkey", valkey.port)}`, password: valkey.password },
      smtp: maildev?.smtp,
      collector: options.collector,
    };
    const { todo, nextTask, analytics } = secrets;
    const secretValues: SecretValues = {
      [`${todo.name}/${todo.keys.databaseUrl}`]: databaseUrl,
      [`${todo.name}/${todo.keys.jwtSecret}`]: jwtSecret,
      [`${todo.name}/${todo.keys.vapidSecret}`]: vapidSecret,
      [`${nextTask.name}/${nextTask.keys.token}`]: nextTaskToken,
      [`${analytics.name}/${analytics.keys.databaseUrl}`]: postgres.url(analyticsDatabase, postgresPort),
      ...newDaprTokens(),
    };
    const add = async (service: ServiceKey) => {
      const nth = pods[service].length + 1;
      const suffix = nth === 1 ? "" : `-${nth}`;
      const pod = await startPod(service, {
        backing,
        secretValues,
        names: join(names, "names"),
        clock,
        metrics: options.metrics,
        port: nth === 1 ? ports[service] : undefined,
        log: (name) => log(`${name}${suffix}`).log,
      });
      pods[service].push(pod);
      return pod;
    };
    const ready = async (timeoutSeconds = 60) => {
      await waitFor("every service to be ready", timeoutSeconds, async () => {
        const answers = await Promise.all(everyPod().map(({ app }) => fetch(`${app.url}${probes.readiness}`)));
        return answers.every(({ ok }) => ok) ? true : undefined;
      });
    };
    await Promise.all(
      Object.entries(replicas).map(async ([service, count]) => {
        for (let nth = 0; nth < count; nth += 1) await add(service as ServiceKey);
      }),
    );
    await ready();
    return { postgres, kafka, valkey, maildev, databaseUrl, pods, add, ready, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
