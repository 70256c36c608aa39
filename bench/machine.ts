import { cpus, freemem, totalmem } from "node:os";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../components/content-tag.ts";
import { versions as toolVersions } from "../test/tools/go-tools.ts";
import { servers } from "../test/tools/root-filesystems.ts";
import { capture } from "../test/tools/run.ts";
import { recipeSources } from "./python.ts";

/** What a figure's machine has to do with it. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly freeBytes: number;
  readonly system: string;
  /** How many processes wanted a core before the bench began, on average over a minute; it wants one without any. */
  readonly loadBefore: number;
}

export async function describeMachine(): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    freeBytes: freemem(),
    system: await capture("uname", ["-sr"]),
    loadBefore: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}

/** The version of what is measured, and of what it is measured with. */
export async function describeVersions(): Promise<Readonly<Record<string, string>>> {
  const requirements = readFileSync(join(recipeSources, "requirements.txt"), "utf8");
  const python = Object.fromEntries(
    ["fastapi", "sqlmodel", "uvicorn", "httpx"].map((name) => [
      name,
      new RegExp(`^${name}==(.*)$`, "m").exec(requirements)?.[1] ?? "unknown",
    ]),
  );
  return {
    "event-flow": await capture("git", ["describe", "--always", "--dirty"], { cwd: repositoryRoot }),
    node: process.versions.node,
    dapr: toolVersions.dapr,
    servers: `${servers.version}: PostgreSQL 17, Valkey 8`,
    "@dapr/dapr": packageVersion("@dapr/dapr"),
    fastify: packageVersion("fastify"),
    python: (await capture("python3", ["--version"])).replace("Python ", ""),
    ...python,
    vegeta: toolVersions.vegeta,
  };
}

/** As it is locked. */
function packageVersion(name: string): string {
  const lock = JSON.parse(readFileSync(join(repositoryRoot, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version?: string }>;
  };
  return lock.packages[`node_modules/${name}`]?.version ?? "unknown";
}
