import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { waitFor } from "../tools/progress.ts";

const cgroupRoot = "/sys/fs/cgroup";

const isUnified = existsSync(join(cgroupRoot, "cgroup.controllers"));

/** The hierarchies below /sys/fs/cgroup: one on cgroup v2, one a controller on v1. */
function hierarchies(): string[] {
  if (isUnified) return [cgroupRoot];
  return readdirSync(cgroupRoot)
    .map((controller) => join(cgroupRoot, controller))
    .filter((path) => existsSync(join(path, "cgroup.procs")));
}

/**
 * A control group that holds every process of one cluster, however often it forks: what is in it is ours, and nothing else is.
 */
export class ControlGroup {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Makes the group in every hierarchy, with a child for what isn't a pod: cgroup v2 allows processes in leaves only. */
  create(): void {
    for (const hierarchy of hierarchies()) {
      mkdirSync(join(hierarchy, this.name, "system"), { recursive: true });
      if (isUnified) this.#delegateControllers(hierarchy);
      else if (hierarchy.endsWith("/cpuset")) this.#inheritCpuset(hierarchy);
    }
  }

  #delegateControllers(hierarchy: string): void {
    for (const group of [hierarchy, join(hierarchy, this.name)]) {
      const available = readFileSync(join(group, "cgroup.controllers"), "utf8").trim().split(" ");
      const wanted = available.filter((name) => ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"].includes(name));
      writeFileSync(join(group, "cgroup.subtree_control"), wanted.map((name) => `+${name}`).join(" "));
    }
  }

  /** A new cpuset of v1 is empty, and no process can be put into an empty one. */
  #inheritCpuset(hierarchy: string): void {
    for (const [parent, child] of [
      [hierarchy, join(hierarchy, this.name)],
      [join(hierarchy, this.name), join(hierarchy, this.name, "system")],
    ] as const) {
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        writeFileSync(join(child, file), readFileSync(join(parent, file), "utf8"));
      }
    }
  }

  /** Starts a process that outlives this one, with its output in a log; returns its id. */
  start(command: readonly string[], log: string, env: Record<string, string> = {}): number {
    const groups = hierarchies().map((hierarchy) => join(hierarchy, this.name, "system", "cgroup.procs"));
    const join_ = 'for group in $GROUPS_TO_JOIN; do echo $$ > "$group"; done; unset GROUPS_TO_JOIN; exec "$@"';
    const output = openSync(log, "a");
    const child = spawn("/bin/sh", ["-c", join_, "sh", ...command], {
      detached: true,
      stdio: ["ignore", output, output],
      env: { ...process.env, ...env, GROUPS_TO_JOIN: groups.join(" ") },
    });
    closeSync(output);
    child.unref();
    if (child.pid === undefined) throw new Error(`\`${command.join(" ")}\` could not be started (log: ${log})`);
    return child.pid;
  }

  /** Ends one process of it, and resolves when it's gone. */
  async endOne(pid: number): Promise<void> {
    await waitFor(`process ${pid} of ${this.name} to end`, 30, () => {
      if (!this.processes().includes(pid)) return Promise.resolve(true);
      this.#signal([pid], "SIGKILL");
      return Promise.resolve(undefined);
    });
  }

  #path(): string {
    return isUnified ? join(cgroupRoot, this.name) : join(cgroupRoot, "pids", this.name);
  }

  #groupsBelow(path: string): string[] {
    if (!existsSync(path)) return [];
    const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...children.flatMap((child) => this.#groupsBelow(join(path, child.name))), path];
  }

  /** The processes in it now; `part` narrows them to a child group. */
  processes(part = ""): number[] {
    return this.#groupsBelow(join(this.#path(), part)).flatMap((group) => {
      try {
        return readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
      } catch {
        return []; // It ended meanwhile.
      }
    });
  }

  #signal(pids: readonly number[], signal: NodeJS.Signals): void {
    for (const pid of pids) {
      try {
        process.kill(pid, signal);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
  }

  /** Ends every process in it (pods first get time to end by themselves) and removes it. */
  async end(graceSeconds = 0): Promise<void> {
    if (graceSeconds > 0) {
      // Without kubelet nothing is started again.
      this.#signal(
        this.processes("system").filter((pid) => commandName(pid) === "kubelet"),
        "SIGKILL",
      );
      this.#signal(this.processes("kubepods"), "SIGTERM");
      const deadline = performance.now() + graceSeconds * 1000;
      await waitFor("pods to end", graceSeconds + 1, () =>
        Promise.resolve(this.processes("kubepods").length === 0 || performance.now() > deadline ? true : undefined),
      );
    }
    await waitFor(
      `the processes of ${this.name} to end`,
      30,
      () => {
        const left = this.processes();
        this.#signal(left, "SIGKILL");
        return Promise.resolve(left.length === 0 ? true : undefined);
      },
      () => `still there: ${this.processes().join(" ")}`,
    );
    await waitFor(`the control groups of ${this.name} to go`, 10, () => {
      for (const hierarchy of hierarchies()) {
        for (const group of this.#groupsBelow(join(hierarchy, this.name))) rmdirSync(group);
      }
      return Promise.resolve(true);
    });
  }

  /** Memory that its processes have and can't give back, in bytes: caches of files are not counted. */
  memoryInUse(): number {
    const file = isUnified ? join(cgroupRoot, this.name) : join(cgroupRoot, "memory", this.name);
    const stat = readFileSync(join(file, "memory.stat"), "utf8");
    return Number(new RegExp(`^${isUnified ? "anon" : "total_rss"} (\\d+)$`, "m").exec(stat)?.[1] ?? 0);
  }
}

function commandName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}
