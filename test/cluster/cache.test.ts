import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Artifact } from "../tools/cache.ts";

const directory = mkdtempSync(join(tmpdir(), "event-flow-cache-"));
let cache: typeof import("../tools/cache.ts");

beforeAll(async () => {
  vi.stubEnv("EVENT_FLOW_CACHE", directory);
  cache = await import("../tools/cache.ts");
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

function artifact(name: string, version: string, build: Artifact["build"] = () => Promise.resolve()): Artifact {
  return { name, version, coldSeconds: 1, recipe: [], build };
}

const make = (made: Artifact) => cache.build(made, join(directory, "log"));

/** As if nobody had used it for so long. */
function leave(dir: string, days: number): void {
  const then = new Date(Date.now() - days * 24 * 3600 * 1000);
  utimesSync(dir, then, then);
}

test("a build that fails leaves nothing that looks built, and what was built before stays", async () => {
  const whole = await make(artifact("whole", "1"));
  const broken = artifact("broken", "1", (dir) => {
    writeFileSync(join(dir, "half"), "");
    return Promise.reject(new Error("no more disk"));
  });
  await expect(make(broken)).rejects.toThrow("no more disk");
  expect(cache.isBuilt(broken)).toBe(false);
  expect(existsSync(whole)).toBe(true);
});

test("a build that was killed while something was mounted in its folder is begun anew", async () => {
  const build = (dir: string) => {
    writeFileSync(join(dir, "made"), "");
    return Promise.resolve();
  };
  const root = artifact("root", "1", build);
  const left = join(`${cache.artifactDir(root)}.partial`, "root", "sys");
  mkdirSync(left, { recursive: true });
  await execa("mount", ["-t", "tmpfs", "-o", "ro", "none", left]);
  expect(existsSync(join(await make(root), "made"))).toBe(true);
});

test("a new version removes the ones that nobody has used for a week, and nothing else", async () => {
  const unused = await make(artifact("tool", "1"));
  const used = artifact("tool", "2");
  const usedDir = await make(used);
  const other = await make(artifact("tool-of-another-name", "1"));
  for (const dir of [unused, usedDir, other]) leave(dir, 8);
  expect(cache.isBuilt(used)).toBe(true);

  const newest = await make(artifact("tool", "3"));
  expect([unused, usedDir, other, newest].map((dir) => existsSync(dir))).toEqual([false, true, true, true]);
});
