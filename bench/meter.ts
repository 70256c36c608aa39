import { readdirSync, readFileSync } from "node:fs";

/** What a part of a system took while it was watched. */
export interface Consumption {
  readonly cpuSeconds: number;
  /** The most memory that was seen at once; pages that its processes share are counted once. */
  readonly peakBytes: number;
}

/** Of each process its parent, and the clock ticks that it and those of its children that ended were at work. */
interface Process {
  readonly parent: number;
  readonly ticks: number;
}

const ticksPerSecond = 100;
const sampleMs = 500;

/** The line is https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html; a name in parentheses may hold anything. */
export function readStat(line: string): Process {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { parent: Number(fields[1]), ticks };
}

function ifThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // The process ended meanwhile.
    return undefined;
  }
}

function processes(): Map<number, Process> {
  const found = new Map<number, Process>();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? ifThere(`/proc/${name}/stat`) : undefined;
    if (stat !== undefined) found.set(Number(name), readStat(stat));
  }
  return found;
}

/** A process with all that it started. */
function tree(root: number, all: ReadonlyMap<number, Process>): number[] {
  const below = [...all].filter(([, { parent }]) => parent === root).map(([pid]) => pid);
  return [root, ...below.flatMap((pid) => tree(pid, all))];
}

function memory(pids: readonly number[]): number {
  const statuses = pids.map((pid) => ifThere(`/proc/${pid}/status`) ?? "");
  const kilobytes = (field: string) =>
    statuses.map((status) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0));
  const own = kilobytes("RssAnon").reduce((sum, value) => sum + value, 0);
  return (own + Math.max(...kilobytes("RssFile")) + Math.max(...kilobytes("RssShmem"))) * 1024;
}

/** Watches some parts of a system, each a process with what is below it, and returns what ends it. */
export function watch<Part extends string>(
  parts: Readonly<Record<Part, number>>,
): () => Readonly<Record<Part, Consumption>> {
  const names = Object.keys(parts) as Part[];
  const peaks = new Map<Part, number>();
  const sample = () => {
    const all = processes();
    return new Map(
      names.map((name) => {
        const pids = tree(parts[name], all);
        peaks.set(name, Math.max(peaks.get(name) ?? 0, memory(pids)));
        return [name, pids.reduce((sum, pid) => sum + (all.get(pid)?.ticks ?? 0), 0)];
      }),
    );
  };
  const before = sample();
  const timer = setInterval(sample, sampleMs);
  return () => {
    clearInterval(timer);
    const after = sample();
    return Object.fromEntries(
      names.map((name) => {
        const ticks = (after.get(name) ?? 0) - (before.get(name) ?? 0);
        return [name, { cpuSeconds: ticks / ticksPerSecond, peakBytes: peaks.get(name) ?? 0 }];
      }),
    ) as Record<Part, Consumption>;
  };
}
