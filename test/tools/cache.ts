import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { unmountBelow } from "./mounts.ts";
import { say, waitFor } from "./progress.ts";

/**
 * Where built tools, images and clusters are kept, outside the clone.
 * @default ~/.cache/event-flow, or what EVENT_FLOW_CACHE names
 */
export const cacheDir = process.env["EVENT_FLOW_CACHE"] ?? join(homedir(), ".cache", "event-flow");

/** The log of one piece of work. */
export function logFile(name: string): string {
  const dir = join(cacheDir, "logs");
  mkdirSync(dir, { recursive: true });
  return join(dir, `${name}.log`);
}

/** A short hash of strings and of files' contents, to name what is built from them. */
export function hash(...parts: readonly string[]): string {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(`${part.length}:`).update(part);
  return digest.digest("hex").slice(0, 12);
}

/** The contents of all files below a folder, with their names, in a fixed order. */
export function folderContents(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .sort()
    .filter((name) => statSync(join(dir, name)).isFile())
    .flatMap((name) => [name, readFileSync(join(dir, name), "utf8")]);
}

/**
 * Runs an action that only one process on this machine may run at a time. The lock is an abstract Unix socket: the kernel
 * lets go of it when its holder dies, however it dies.
 */
export async function withLock<T>(name: string, action: () => Promise<T>): Promise<T> {
  const address = `\0event-flow-${hash(cacheDir)}-${name}`;
  const server = createServer();
  let told = false;
  await waitFor(`another process to let go of ${name}`, 3 * 3600, async () => {
    server.listen(address);
    try {
      await once(server, "listening");
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      if (!told) say(`  … waiting for another process that is at work on ${name}`);
      told = true;
      return undefined;
    }
  });
  server.unref();
  try {
    return await action();
  } finally {
    server.close();
  }
}

/** Something built once and kept by its name, version and recipe. */
export interface Artifact {
  readonly name: string;
  readonly version: string;
  /** Everything the result depends on, so that a changed recipe builds anew. */
  readonly recipe: readonly string[];
  /** Roughly how long a cold build takes on 2 cores, in seconds. */
  readonly coldSeconds: number;
  /** Builds into an empty folder. */
  readonly build: (dir: string, log: string) => Promise<void>;
}

export function artifactDir(artifact: Artifact): string {
  return join(cacheDir, "tools", `${artifact.name}-${artifact.version}-${hash(...artifact.recipe)}`);
}

/** Whether an artifact is there. Who asks is about to use it, which keeps it from being removed as out of use. */
export function isBuilt(artifact: Artifact): boolean {
  const dir = artifactDir(artifact);
  if (!existsSync(dir)) return false;
  const now = new Date();
  utimesSync(dir, now, now);
  return true;
}

/** The file in an artifact's folder that says its name, which versions and recipes are told apart from. */
const nameFile = ".artifact";

/** How long an artifact is kept of which there is a newer one: another clone or branch may use it yet. */
const keptDays = 7;

/** Removes what an artifact replaces, once nobody has used it for a while. */
function removeUnused({ name }: Artifact, current: string): void {
  const oldest = Date.now() - keptDays * 24 * 3600 * 1000;
  for (const folder of readdirSync(join(cacheDir, "tools"))) {
    const dir = join(cacheDir, "tools", folder);
    const file = join(dir, nameFile);
    if (dir === current || !existsSync(file) || readFileSync(file, "utf8") !== name) continue;
    if (statSync(dir).mtimeMs < oldest) rmSync(dir, { recursive: true, force: true });
  }
}

/** Builds an artifact unless it's there. It appears under its name only when whole; a failure leaves the others alone. */
export async function build(artifact: Artifact, log: string): Promise<string> {
  const dir = artifactDir(artifact);
  await withLock(`${artifact.name}-${artifact.version}`, async () => {
    if (existsSync(dir)) return;
    const partial = `${dir}.partial`;
    // A build that was killed may have left the mounts of a root file system that it was setting up.
    await unmountBelow(partial);
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true });
    await artifact.build(partial, log);
    writeFileSync(join(partial, nameFile), artifact.name);
    renameSync(partial, dir);
    removeUnused(artifact, dir);
  });
  return dir;
}
