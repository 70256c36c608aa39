/**
 * Kills, freezes and cuts off every part of the event flow under load, and proves that nothing is lost and nothing told twice.
 *
 *     node commands/chaos.ts [--seed <n>] [--kills <n>] [--minutes <n>] [--only "<fault>" | storm] [--report <file>]
 */
import { randomInt } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { printable } from "../components/text.ts";
import { explain, report, table } from "../test/chaos/report.ts";
import { runChaos } from "../test/chaos/run.ts";
import { daprd, toxiproxy } from "../test/tools/go-tools.ts";
import { buildTools } from "../test/tools/index.ts";
import { print, say } from "../test/tools/progress.ts";
import { servers } from "../test/tools/root-filesystems.ts";
import { CommandFailed, main, readArguments } from "./process.ts";

const usage = 'usage: chaos.ts [--seed <n>] [--kills <n>] [--minutes <n>] [--only "<fault>" | storm] [--report <file>]';

const { values } = readArguments(usage, {
  options: {
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    kills: { type: "string", default: "500" },
    minutes: { type: "string", default: "55" },
    only: { type: "string" },
    report: { type: "string" },
  },
});

/** As long as a timer can be set. */
const mostMinutes = 71_000;

function count(name: "seed" | "kills" | "minutes", most = 2 ** 32): number {
  const text = values[name];
  if (!/^\d{1,10}$/.test(text) || Number(text) > most)
    throw new Error(`--${name} is "${printable(text)}"; it must be a whole number of at most ${most}\n${usage}`);
  return Number(text);
}

await main(async () => {
  const [seed, kills, minutes] = [count("seed"), count("kills"), count("minutes", mostMinutes)];
  const end = AbortSignal.timeout(minutes * 60_000);
  const interrupted = new AbortController();
  process.once("SIGINT", () => {
    say("  … no more faults: what was done so far is verified");
    interrupted.abort();
  });
  await buildTools([servers, daprd, toxiproxy]);
  const logs = mkdtempSync(join(tmpdir(), "event-flow-chaos-"));
  print(`seed ${seed}, logs in ${logs}`);
  const outcome = await runChaos({
    ...{ seed, logs, only: values.only },
    ...{ alone: 2, pairs: 10, kills, stormPauseMs: [1_000, 2_000] },
    ...{ rate: 40, users: 20, holdSeconds: 20 },
    signal: AbortSignal.any([end, interrupted.signal]),
  });
  print(`\n${table(outcome.rows)}`);
  if (values.report !== undefined) writeFileSync(values.report, report({ seed, ...outcome }));
  if (outcome.violations.length > 0) {
    print(explain(outcome.violations, logs));
    throw new CommandFailed("chaos", 1);
  }
  print("\nNothing lost, nothing told twice, all in order.");
});
