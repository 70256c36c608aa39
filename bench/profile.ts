import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { repositoryRoot } from "../components/content-tag.ts";
import { type Post, send } from "./load.ts";
import { startPeer } from "./peers.ts";
import type { Plan } from "./plan.ts";
import type { Stage } from "./stage.ts";

/** A share of the time in which a program was at work. */
export interface Share {
  readonly what: string;
  readonly share: number;
}

/** Where a program's time went under load: the time of each function itself, without what it called. */
export interface Profile {
  readonly app: string;
  /** How much of the time it was at work, rather than waiting. */
  readonly busy: number;
  readonly modules: readonly Share[];
  readonly functions: readonly Share[];
}

/** What Node writes with `--cpu-prof` (https://chromedevtools.github.io/devtools-protocol/tot/Profiler/#type-Profile). */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** In microseconds, before each sample. */
  readonly timeDeltas: readonly number[];
}

/** A span of a program's time, in milliseconds since it was started. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

const listed = 15;
const connections = 16;

/** What isn't written in JavaScript: mostly what sockets are written with. */
const native = "(Node's native code)";

/** A file of ours from the repository's root, of a package from its name. */
function fileOf(url: string): string {
  return url.replace(/.*\/node_modules\//, "").replace(`${pathToFileURL(repositoryRoot).href}/`, "");
}

/** The package, file of ours, or part of Node that a function is in. */
function moduleOf(url: string, functionName: string): string {
  // V8 names its own like "(garbage collector)".
  if (url === "") return functionName.startsWith("(") ? functionName : native;
  return url.includes("/node_modules/") ? (/^(@[^/]+\/)?[^/]+/.exec(fileOf(url))?.[0] ?? url) : fileOf(url);
}

export function summarize(app: string, { nodes, samples, timeDeltas }: CpuProfile, { from, to }: Span): Profile {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const modules = new Map<string, number>();
  const functions = new Map<string, number>();
  let now = 0;
  let total = 0;
  let idle = 0;
  for (const [index, id] of samples.entries()) {
    const time = timeDeltas[index] ?? 0;
    now += time;
    if (now < from * 1_000 || now > to * 1_000) continue;
    const { functionName = "", url = "", lineNumber = 0 } = frames.get(id) ?? {};
    total += time;
    if (functionName === "(idle)") {
      idle += time;
      continue;
    }
    const module = moduleOf(url, functionName);
    const known = functionName || "(anonymous)";
    const name = url === "" ? known : `${known} — ${fileOf(url)}:${lineNumber + 1}`;
    modules.set(module, (modules.get(module) ?? 0) + time);
    functions.set(name, (functions.get(name) ?? 0) + time);
  }
  const top = (times: ReadonlyMap<string, number>) =>
    [...times]
      .sort(([, a], [, b]) => b - a)
      .slice(0, listed)
      .map(([what, time]) => ({ what, share: time / (total - idle) }));
  return { app, busy: (total - idle) / total, modules: top(modules), functions: top(functions) };
}

/** Runs both services under load with V8's profiler. */
export async function profileServices(stage: Stage, plan: Plan, users: readonly string[]): Promise<Profile[]> {
  const dir = mkdtempSync(join(tmpdir(), "event-flow-profiles-"));
  try {
    const peer = await startPeer(stage, "event-flow", { env: { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${dir}` } });
    try {
      const posts: Post[] = Array.from({ length: 10_000 }, (_, index) =>
        peer.post(users[index % users.length] ?? "", `Task ${index} of the profile`),
      );
      const from = performance.now();
      await send(posts, { connections }, { seconds: plan.profileSeconds });
      const to = performance.now();
      const pods = Object.entries({ backend: peer.backend, "notification-service": peer.subscribers[0] });
      return await Promise.all(
        pods.map(async ([name, pod]) => {
          if (pod === undefined) throw new Error(`There is no ${name} to profile`);
          const { app, startedAt } = pod;
          await app.terminate();
          const file = readdirSync(dir).find((each) => each.includes(`.${app.pid()}.`));
          if (file === undefined) throw new Error(`${name} wrote no profile (log: ${app.log})`);
          const profile = JSON.parse(readFileSync(join(dir, file), "utf8")) as CpuProfile;
          return summarize(name, profile, { from: from - startedAt, to: to - startedAt });
        }),
      );
    } finally {
      await peer.stop();
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
}
