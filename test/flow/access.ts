import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import {
  daprTokenHeader,
  daprTokenKey,
  daprTokenSecrets,
  eachService,
  perService,
  secrets,
  services,
  type ServiceIdentity,
  type ServiceKey,
} from "@event-flow/events";
import { capture } from "../tools/run.ts";
import { token } from "../servers/token.ts";

/** How to reach a cluster that the stack is deployed to. */
export interface Access {
  readonly kubectl: string;
  readonly context: string;
  readonly namespace: string;
  /** The environment of kubectl. */
  readonly env: Readonly<Record<string, string>>;
}

export function kubectl(access: Access, ...args: string[]): Promise<string> {
  return capture(access.kubectl, [`--context=${access.context}`, `--namespace=${access.namespace}`, ...args], {
    env: access.env,
  });
}

/** Makes objects, or changes them to what they are here. */
export async function apply(access: Access, items: readonly object[]): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "event-flow-objects-"));
  try {
    const file = join(dir, "objects.json");
    writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    await kubectl(access, "apply", `--filename=${file}`);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** A local port that leads to a port of a pod or service for as long as it is open. */
export interface Forward {
  readonly url: string;
  readonly close: () => void;
}

/** Opens a port of this machine's own choice. */
export async function forward(access: Access, target: string, port: number): Promise<Forward> {
  const child = spawn(
    access.kubectl,
    [`--context=${access.context}`, `--namespace=${access.namespace}`, "port-forward", target, `:${port}`],
    { env: { ...process.env, ...access.env }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const close = () => {
    process.off("exit", close);
    child.kill();
  };
  process.once("exit", close);
  const local = new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).on("line", (line) => {
      const found = /^Forwarding from 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.once("error", reject);
    child.once("exit", () => {
      reject(new Error(`kubectl port-forward ${target} ended before it was ready: ${errors}`));
    });
  });
  return { url: `http://127.0.0.1:${await local}`, close };
}

/** The services, reached from outside, and one new user of theirs. */
export interface Client {
  readonly userId: string;
  readonly call: (service: ServiceKey, request: Call) => Promise<Answer>;
  readonly close: () => void;
}

export interface Call {
  readonly method?: string;
  /** Below `/api/{user_id}`. */
  readonly path: string;
  readonly body?: unknown;
  /** Whose resource is asked for. @default the user's own */
  readonly owner?: string;
  /** @default true */
  readonly withToken?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** A client that shows the token of a user at the services' addresses. */
export function clientAt(urls: Readonly<Record<ServiceKey, string>>, userId: string, jwtSecret?: string): Client {
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const authorization = `Bearer ${token({ sub: userId, exp }, jwtSecret)}`;
  return {
    userId,
    call: async (service, { method = "GET", path, body, owner = userId, withToken = true }) => {
      const response = await fetch(`${urls[service]}/api/${owner}${path}`, {
        method,
        headers: {
          ...(withToken ? { authorization } : {}),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(30_000),
      });
      const text = await response.text();
      return { status: response.status, body: text === "" ? undefined : (JSON.parse(text) as unknown) };
    },
    close: () => undefined,
  };
}

/** The key that signs the tokens of a stack's users. */
export async function jwtSecretOf(access: Access): Promise<string> {
  const { name, keys } = secrets.todo;
  const encoded = await kubectl(access, "get", "secret", name, `--output=jsonpath={.data.${keys.jwtSecret}}`);
  return Buffer.from(encoded, "base64").toString();
}

/** The header by which a service's sidecar takes somebody for the service (`api`), or the service for its sidecar (`app`). */
export async function tokenHeader(
  access: Access,
  service: ServiceIdentity,
  use: "api" | "app" = "api",
): Promise<Record<string, string>> {
  const name = daprTokenSecrets(service)[use];
  const encoded = await kubectl(access, "get", "secret", name, `--output=jsonpath={.data.${daprTokenKey}}`);
  return { [daprTokenHeader]: Buffer.from(encoded, "base64").toString() };
}

export async function connect(access: Access, userId: string): Promise<Client> {
  const jwtSecret = await jwtSecretOf(access);
  const forwards = await eachService((service) => forward(access, `service/${services[service].name}`, 80));
  return {
    ...clientAt(
      perService((service) => forwards[service].url),
      userId,
      jwtSecret,
    ),
    close: () => {
      for (const { close } of Object.values(forwards)) close();
    },
  };
}

/** A line of a service's log that tells of one event. */
export interface LogLine {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: number;
  readonly msg: string;
  readonly eventId: string;
  readonly type: string;
  readonly taskId: number;
  readonly userId: string;
}

/** What a service logged about the events of one user, over all its pods. */
export async function eventLog(access: Access, service: ServiceIdentity, userId: string): Promise<LogLine[]> {
  const output = await kubectl(
    access,
    "logs",
    `--selector=app=${service.name}`,
    `--container=${service.name}`,
    "--tail=-1",
  );
  return eventLines(output, userId);
}

/** The lines of a service's log that tell of one user's events. */
export function eventLines(log: string, userId: string): LogLine[] {
  return log
    .split("\n")
    .filter((line) => line.includes(userId) && line.includes('"eventId"'))
    .map((line) => JSON.parse(line) as LogLine);
}
