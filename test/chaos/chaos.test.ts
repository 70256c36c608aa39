/** A short run of `make chaos`, which is the same for longer. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { toxiproxy } from "../tools/go-tools.ts";
import { buildTools } from "../tools/index.ts";
import { say } from "../tools/progress.ts";
import { explain, table } from "./report.ts";
import { runChaos } from "./run.ts";

const seed = 8;

beforeAll(() => buildTools([toxiproxy]), 300_000);

test("whatever dies, nothing acknowledged is lost and nothing is told twice", { timeout: 900_000 }, async () => {
  const logs = mkdtempSync(join(tmpdir(), "event-flow-chaos-"));
  say(`seed ${seed}, logs in ${logs}`);
  const { violations, rows, kills } = await runChaos({
    ...{ seed, logs, alone: 1, pairs: 1, kills: 44, stormPauseMs: [500, 1_000] },
    ...{ rate: 40, users: 16, holdSeconds: 3 },
  });
  say(table(rows));
  expect(violations, explain(violations, logs)).toEqual([]);
  expect(kills).toBe(44);
  rmSync(logs, { recursive: true });
});
