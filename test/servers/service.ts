import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { waitFor } from "../tools/progress.ts";
import { dieWithParent } from "./process.ts";

/** One line of a service's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string };

/** A service that runs as in its container: `node apps/<folder>/src/server.ts`. */
export interface Service {
  readonly url: string;
  /** What it logged so far. */
  readonly log: readonly LogLine[];
  /** Everything that it printed so far, as it printed it. */
  output(): string;
  /** Waits for a log line. */
  logged(what: string, matches: (line: LogLine) => boolean): Promise<LogLine>;
  /** Asks it to stop, as the kubelet does, and returns its exit code. */
  stop(): Promise<number | null>;
  /** Ends it at once, as a crash would, and resolves when it's gone. */
  kill(): Promise<void>;
  /** Stops it from running, as an overloaded machine would, until `resume`. */
  pause(): void;
  resume(): void;
}

const apps = join(import.meta.dirname, "..", "..", "apps");

/** Where this machine has what images have at NODE_COMPILE_CACHE. `npm ci` empties it, as it does the packages' folder. */
const compileCache = join(apps, "..", "node_modules", ".cache", "event-flow");

/**
 * The command that runs a program as the services' containers do: with what their Dockerfile tells Node and the C library.
 * `through` is the beginning of a command line that ends in Node's.
 */
export function nodeCommand(file: string, through: readonly string[] = []): readonly string[] {
  const dockerfile = readFileSync(join(apps, "Dockerfile"), "utf8");
  const { NODE_OPTIONS = "", ...others } = Object.fromEntries(
    [...dockerfile.matchAll(/^ENV (\w+)=(?:"(.*)"|(\S+))$/gm)].map(([, name = "", quoted, plain]) => [
      name,
      quoted ?? plain,
    ]),
  );
  const variables = Object.entries({ ...others, NODE_COMPILE_CACHE: compileCache });
  return [
    ...["env", ...variables.map(([name, value]) => `${name}=${value}`)],
    // As arguments: who profiles a service has options of its own.
    ...[...through, process.execPath, ...NODE_OPTIONS.split(" "), file],
  ];
}

export function serviceCommand(
  folder: string,
  { entry = "src/server.ts", through }: { entry?: string | undefined; through?: readonly string[] } = {},
): readonly string[] {
  return nodeCommand(join(apps, folder, entry), through);
}

/** The key that signs tests' bearer tokens. */
export const jwtSecret = "0123456789abcdef0123456789abcdef";

/** What the recurring-task service shows to the backend. */
export const nextTaskToken = "the-token-that-next-tasks-are-made-by";

/** What a service shows to its sidecar, where a test has that ask for it. */
export const apiToken = "the-token-that-a-service-shows-to-its-sidecar";

/** What a sidecar shows to its service, unless a test gives each its own. */
export const appApiToken = "the-token-that-a-sidecar-shows-to-its-app";

/** What the key pair for web push is made of, in tests. */
export const vapidSecret = "abcdef0123456789abcdef0123456789";

function spawnService(folder: string, env: Readonly<Record<string, string>>, entry?: string): ChildProcess {
  const [program, ...args] = [...dieWithParent, ...serviceCommand(folder, { entry })];
  return spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs what is expected to end: a service that can't start, or another entry of its folder. */
export async function runService(folder: string, env: Readonly<Record<string, string>>, entry?: string) {
  const child = spawnService(folder, env, entry);
  const [output, errors] = await Promise.all([
    child.stdout ? text(child.stdout) : "",
    child.stderr ? text(child.stderr) : "",
    once(child, "exit"),
  ]);
  return { exitCode: child.exitCode, output, errors };
}

/** Starts a service and, unless told otherwise, waits until it listens. */
export async function startService(
  folder: string,
  port: number,
  env: Readonly<Record<string, string>>,
  { listening = true, entry }: { listening?: boolean; entry?: string } = {},
): Promise<Service> {
  const child = spawnService(
    folder,
    {
      PORT: String(port),
      JWT_SECRET: jwtSecret,
      NEXT_TASK_TOKEN: nextTaskToken,
      APP_API_TOKEN: appApiToken,
      ...env,
    },
    entry,
  );
  let output = "";
  const log: LogLine[] = [];
  let rest = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    log.push(...lines.map((line) => JSON.parse(line) as LogLine));
  });
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });

  const service: Service = {
    url: `http://127.0.0.1:${port}`,
    log,
    output: () => output,
    logged: (what, matches) =>
      waitFor(
        `${folder} to log ${what}`,
        60,
        () => Promise.resolve(log.find(matches)),
        () => output.split("\n").slice(-15).join("\n"),
      ),
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, "exit");
        child.kill("SIGTERM");
        await gone;
      }
      return child.exitCode;
    },
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
    pause: () => void child.kill("SIGSTOP"),
    resume: () => void child.kill("SIGCONT"),
  };
  if (listening) await service.logged("that it listens", ({ msg }) => msg.startsWith("Server listening"));
  return service;
}
