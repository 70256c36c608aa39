import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { waitFor } from "../tools/progress.ts";
import { tail } from "../tools/run.ts";
import { locate } from "./locate.ts";

/** A server that tests started. It dies with the process that started it, however that ends. */
export interface Server {
  readonly name: string;
  /** What it printed, over all its starts. */
  readonly log: string;
  /** The process that was started last; it may have ended. What it started is below it. */
  pid(): number;
  isRunning(): boolean;
  /** Ends it at once, as a crash would, and resolves when it's gone. Its files stay for `start` to find. */
  kill(): Promise<void>;
  /** Asks it to stop, as the kubelet does, and resolves to its exit code. After 30 s it's killed: null. */
  terminate(signal?: NodeJS.Signals): Promise<number | null>;
  /** Starts it again, with the same port and files, and resolves when it's ready. */
  start(): Promise<void>;
  /** Stops it from running, as an overloaded machine would, until `resume`. */
  pause(): void;
  resume(): void;
  /** Ends it at once and removes its folder. */
  stop(): Promise<void>;
}

/** Where a server's log goes that is to outlive it; by default it's in the server's folder. */
export interface LogOption {
  readonly log?: string | undefined;
}

/** A folder of its own for one server's files. */
export function serverDir(name: string): string {
  return mkdtempSync(join(tmpdir(), `event-flow-${name}-`));
}

/** The kernel kills a process that was started so when its parent dies. */
export const dieWithParent = ["setpriv", "--pdeathsig", "KILL"] as const;

/** The user that servers run as inside the root filesystem: PostgreSQL refuses to be root. */
export const unprivileged = 999;

/**
 * A command line that runs a shell script as an unprivileged user inside a root filesystem, by default that of the servers,
 * with `dir` at /mnt. The namespaces make sure that nothing that the script starts outlives it.
 */
export function insideRoot(
  dir: string,
  script: string,
  { root }: { readonly root: string } = locate(),
): readonly string[] {
  chownSync(dir, unprivileged, unprivileged);
  const outer = [
    `mount -t proc proc ${root}/proc`,
    `mount --rbind /dev ${root}/dev`,
    // What a killed PostgreSQL leaves in shared memory goes with it.
    `mount -t tmpfs tmpfs ${root}/dev/shm`,
    `mount --rbind ${dir} ${root}/mnt`,
    // Not exec: the shell stays as the first process of its namespace, whose end takes all others with it.
    `chroot --userspec=${unprivileged}:${unprivileged} ${root} sh -ec "$0"; exit $?`,
  ].join(" && ");
  return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", outer, script];
}

/** The processes that one started directly. */
export function children(pid: number): number[] {
  try {
    const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return listed.split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // It's gone.
  }
}

/** A process and all below it, each before what it started. */
function family(pid: number): number[] {
  return [pid, ...children(pid).flatMap(family)];
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The server's own process: the wrappers of `insideRoot` around it keep a signal to themselves. */
function insideWrappers(pid: number): number {
  const wrappers = ["unshare", "sh"];
  const [child] = children(pid);
  return child !== undefined && wrappers.includes(readFileSync(`/proc/${pid}/comm`, "utf8").trim())
    ? insideWrappers(child)
    : pid;
}

/** Starts a server and waits until `ready` says so. */
export async function startServer(options: {
  readonly name: string;
  readonly dir: string;
  readonly log?: string | undefined;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutSeconds: number;
  /** Resolves, to anything but undefined, once the server can be used. */
  readonly ready: () => Promise<true | undefined>;
}): Promise<Server> {
  const { name, dir, timeoutSeconds, log = join(options.dir, "log") } = options;
  const [program, ...args] = [...dieWithParent, ...options.command];
  let child: ChildProcess | undefined;

  const isRunning = () => child?.exitCode === null && child.signalCode === null;

  const kill = async () => {
    if (child === undefined || !isRunning()) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };

  const terminate = async (signal: NodeJS.Signals = "SIGTERM") => {
    if (child?.pid === undefined || !isRunning()) return child?.exitCode ?? null;
    const gone = once(child, "exit");
    send(insideWrappers(child.pid), signal);
    const late = setTimeout(() => child?.kill("SIGKILL"), 30_000);
    await gone;
    clearTimeout(late);
    return child.exitCode;
  };

  const start = async () => {
    const output = openSync(log, "a");
    const started = spawn(program, args, {
      stdio: ["ignore", output, output],
      env: { ...process.env, ...options.env },
      // In a process group of its own: Ctrl-C is for the one who started it, who stops servers in their order.
      detached: true,
    });
    child = started;
    closeSync(output);
    try {
      await waitFor(
        `${name} to be ready (log: ${log})`,
        timeoutSeconds,
        async () => {
          if (started.exitCode !== null) return `it exited with code ${started.exitCode}`;
          if (started.signalCode !== null) return `it was ended by ${started.signalCode}`;
          // One that is frozen answers never.
          return Promise.race([options.ready(), sleep(5_000, undefined, { ref: false })]);
        },
        () => tail(log),
      ).then((result) => {
        if (result !== true) throw new Error(`${name} is not ready: ${result} (log: ${log})\n${tail(log)}`);
      });
    } catch (error) {
      await kill();
      throw error;
    }
  };

  await start();
  return {
    name,
    log,
    pid: () => child?.pid ?? 0,
    isRunning,
    kill,
    terminate,
    start,
    pause: () => {
      for (const pid of child?.pid === undefined ? [] : family(child.pid)) send(pid, "SIGSTOP");
    },
    resume: () => {
      for (const pid of child?.pid === undefined ? [] : family(child.pid)) send(pid, "SIGCONT");
    },
    stop: async () => {
      await kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
