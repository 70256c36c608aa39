import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { components, probes, topic } from "@event-flow/events";
import { loadOnly } from "@event-flow/service";
import { execa } from "execa";
import { type Daprd, startDaprd } from "../test/servers/daprd.ts";
import { eventOf } from "../test/servers/events.ts";
import { freePort } from "../test/servers/ports.ts";
import { createDatabase, query } from "../test/servers/postgres.ts";
import { type Server, serverDir, startServer } from "../test/servers/process.ts";
import {
  apiToken,
  appApiToken,
  jwtSecret,
  nextTaskToken,
  nodeCommand,
  serviceCommand,
} from "../test/servers/service.ts";
import { bearer } from "../test/servers/token.ts";
import type { Post } from "./load.ts";
import { follow } from "./log-lines.ts";
import { python, recipeSources } from "./python.ts";
import { deleteTopics, type Stage } from "./stage.ts";

/**
 * What is measured side by side: this system, the original design as it is written, this backend without an outbox, and what
 * a sidecar and a broker take by themselves.
 */
export const peerNames = ["event-flow", "in-request", "recipe", "limit"] as const;

export type PeerName = (typeof peerNames)[number];

/** A program of a peer with its sidecar. */
export interface Pod {
  readonly url: string;
  readonly app: Server;
  readonly sidecar: Daprd;
  /** When its program was started, by `performance.now()`. */
  readonly startedAt: number;
  /** From then until it said that it is ready. */
  readonly readyMs: number;
}

export interface Peer {
  readonly name: PeerName;
  /** What takes requests and publishes. The limit's is a sidecar only. */
  readonly backend: Pod | undefined;
  readonly publisher: Daprd;
  readonly subscribers: readonly Pod[];
  /** The name of its database; the limit has none. */
  readonly database: string | undefined;
  /** A request that creates a user's task. */
  post(user: string, title: string): Post;
  /** When each event was handled first, in milliseconds since 1970, by its title; those of other types by type and task. */
  handled(): ReadonlyMap<string, number>;
  /** How many times an event was handled that had been before. */
  handledAgain(): number;
  stop(): Promise<void>;
}

/** How a peer's programs are run. */
interface Programs {
  readonly backend?: (port: number, databaseUrl: string) => App;
  readonly subscriber: (port: number) => App;
  /** Reads a line of the subscriber's log. */
  readonly read: (line: string) => readonly [key: string, at: number] | undefined;
}

interface App {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A path that answers 200 once the program can be used. */
  readonly ready: string;
  /** What its sidecar has it show, as in a cluster. @default nothing: it knows of no token */
  readonly apiToken?: string;
}

const peers = join(import.meta.dirname, "peers");

/** One worker, as a container has. */
const uvicorn = (module: string, port: number) => [
  ...[python(), "-m", "uvicorn", `${module}:app`, "--app-dir", recipeSources],
  ...["--host", "127.0.0.1", "--port", String(port)],
];

/** A line of the notification service's log. */
interface LogLine {
  readonly time: number;
  readonly msg: string;
  readonly type: string;
  readonly taskId: number;
}

const notificationService = {
  subscriber: () => ({ command: serviceCommand("notification-service"), ready: probes.readiness, apiToken }),
  read: (text: string) => {
    if (!text.includes('"outcome":"told"')) return undefined;
    const { time, msg, type, taskId } = JSON.parse(text) as LogLine;
    return [/^NEW TASK: (.*) \(User: /.exec(msg)?.[1] ?? `${type}/${taskId}`, time] as const;
  },
};

const inRequestBackend = nodeCommand(join(peers, "in-request", "server.ts"));

/** Has Node compile the services once, as the build of their images does: otherwise the first turn alone had that to do. */
export async function compileServices(): Promise<void> {
  for (const command of [serviceCommand("backend"), serviceCommand("notification-service"), inRequestBackend]) {
    const [program, ...args] = [...command, loadOnly];
    await execa(program, args);
  }
}

const programs: Readonly<Record<PeerName, Programs>> = {
  "event-flow": {
    backend: (_port, url) => ({
      command: serviceCommand("backend"),
      env: { DATABASE_URL: url },
      ready: probes.readiness,
      apiToken,
    }),
    ...notificationService,
  },
  "in-request": {
    backend: (_port, url) => ({
      command: inRequestBackend,
      env: { DATABASE_URL: url },
      ready: probes.readiness,
    }),
    ...notificationService,
  },
  recipe: {
    backend: (port, url) => ({
      command: uvicorn("backend", port),
      // SQLAlchemy takes another driver by default.
      env: { DATABASE_URL: url.replace(/^postgres:/, "postgresql+psycopg2:") },
      ready: "/health",
    }),
    subscriber: (port) => ({ command: uvicorn("notification_service", port), ready: "/health" }),
    read: (text) => {
      const [, at, title] = /^(\d+\.\d+) .*NEW TASK: (.*) \(User: /.exec(text) ?? [];
      return at === undefined || title === undefined ? undefined : [title, Number(at) * 1_000];
    },
  },
  limit: {
    subscriber: () => ({ command: nodeCommand(join(peers, "subscriber.ts")), ready: "/" }),
    read: (text) => {
      const [, at, title] = /^(\d+) (.+)$/.exec(text) ?? [];
      return at === undefined || title === undefined ? undefined : [title, Number(at)];
    },
  },
};

/** What a container doesn't have: this machine's own certificates, whose reading takes a while at each start. */
const noCertificates = { NODE_EXTRA_CA_CERTS: "", SSL_CERT_FILE: "", SSL_CERT_DIR: "" };

/** Peers start one after the other, each with names that none before it had: no group of consumers waits for the dead. */
let started = 0;

async function startPod(
  { kafka: { brokers }, valkey }: Stage,
  appId: string,
  program: (port: number) => App,
  env: Readonly<Record<string, string>> = {},
): Promise<Pod> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const app = program(port);
  const sidecar = await startDaprd({ appId, appPort: port, brokers, valkey, apiToken: app.apiToken });
  const startedAt = performance.now();
  let readyMs = 0;
  const server = await startServer({
    name: appId,
    dir: serverDir(appId),
    command: app.command,
    env: {
      ...noCertificates,
      PORT: String(port),
      JWT_SECRET: jwtSecret,
      NEXT_TASK_TOKEN: nextTaskToken,
      APP_API_TOKEN: appApiToken,
      ...(app.apiToken !== undefined && { DAPR_API_TOKEN: app.apiToken }),
      NODE_ENV: "production",
      DAPR_HTTP_PORT: String(sidecar.httpPort),
      ...app.env,
      ...env,
    },
    timeoutSeconds: 60,
    ready: async () => {
      // Asked more often than other servers are: how long it takes is a figure.
      const until = performance.now() + 1_000;
      while (performance.now() < until) {
        if (await isReady(`${url}${app.ready}`)) {
          readyMs = performance.now() - startedAt;
          return true;
        }
        await sleep(10);
      }
      return undefined;
    },
  });
  return { url, app: server, sidecar, startedAt, readyMs };
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}

export interface PeerOptions {
  /** @default 1 */
  readonly subscribers?: number;
  /** Added to the environment of both programs. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a peer on a broker without events and an empty database. */
export async function startPeer(
  stage: Stage,
  name: PeerName,
  { subscribers: replicas = 1, env = {} }: PeerOptions = {},
): Promise<Peer> {
  await deleteTopics(stage);
  started += 1;
  const id = `${name}-${started}`;
  const { backend: program, subscriber, read } = programs[name];
  const database = program && id.replaceAll("-", "_");
  const backend =
    program && database !== undefined
      ? await createDatabase(stage.postgres.port, database).then((url) =>
          startPod(stage, `${id}-backend`, (port) => program(port, url), env),
        )
      : undefined;
  const publisher =
    backend?.sidecar ??
    (await startDaprd({ appId: `${id}-publisher`, appPort: await freePort(), brokers: stage.kafka.brokers }));
  const subscribers: Pod[] = [];
  for (let replica = 0; replica < replicas; replica += 1) {
    subscribers.push(await startPod(stage, `${id}-subscriber`, subscriber, env));
  }

  const logs = subscribers.map(({ app }) => follow(app.log));
  const handled = new Map<string, number>();
  let again = 0;
  return {
    name,
    backend,
    publisher,
    subscribers,
    database,
    post: backend === undefined ? publishedBy(publisher) : createdBy(backend),
    handled: () => {
      for (const line of logs.flatMap((next) => next())) {
        const [key, at] = read(line) ?? [];
        if (key === undefined || at === undefined) continue;
        if (handled.has(key)) again += 1;
        else handled.set(key, at);
      }
      return handled;
    },
    handledAgain: () => again,
    stop: async () => {
      const pods = [...subscribers, ...(backend === undefined ? [] : [backend])];
      await Promise.all([publisher.stop(), ...pods.flatMap(({ app, sidecar }) => [app.stop(), sidecar.stop()])]);
      if (database !== undefined)
        await query(stage.postgres.port, "postgres", `drop database ${database} with (force)`);
    },
  };
}

function createdBy({ url }: Pod): Peer["post"] {
  return (user, title) => ({
    url: `${url}/api/${user}/tasks`,
    headers: bearer(user),
    body: { title, description: "As long as what people write of a task.", priority_id: 1 },
    key: title,
  });
}

/** The event that a creation would make, with the metadata that the relay gives it. */
export function createdEvent(user: string, title: string, taskId: number) {
  const at = new Date().toISOString();
  const event = eventOf("task_created", {
    task_id: taskId,
    user_id: user,
    title,
    priority_id: 1,
    due_date: null,
    created_at: at,
  });
  return { ...event, traceid: event.traceparent };
}

function publishedBy({ httpPort }: Daprd): Peer["post"] {
  let tasks = 0;
  return (user, title) => {
    tasks += 1;
    const path = `/v1.0/publish/${components.pubsub}/${topic("task_created")}`;
    return {
      url: `http://127.0.0.1:${httpPort}${path}?metadata.partitionKey=${tasks}`,
      headers: { "content-type": "application/cloudevents+json" },
      body: createdEvent(user, title, tasks),
      key: title,
    };
  };
}
