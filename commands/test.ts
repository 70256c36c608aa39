import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryRoot } from "../components/content-tag.ts";
import { kubeconform, kubeScore, otelCollector, toxiproxy } from "../test/tools/go-tools.ts";
import { buildTools } from "../test/tools/index.ts";
import { schemathesis } from "../test/tools/schemathesis.ts";
import { print, say, seconds } from "../test/tools/progress.ts";
import { CommandFailed, main, runShown } from "./process.ts";
import type { Report } from "./vitest-report.ts";

/** A part of the tests. */
interface Stage {
  readonly name: string;
  readonly run: () => Promise<Outcome>;
}

interface Outcome {
  readonly passed: number;
  readonly failed: number;
  /** What failed and how, to be told again at the end: a log of CI is often kept by its last lines. */
  readonly failures: readonly string[];
}

/** Runs a command of the repository and says whether it succeeded. */
async function succeeds(command: string, ...args: string[]): Promise<boolean> {
  try {
    await runShown(command, args, { cwd: repositoryRoot });
    return true;
  } catch (error) {
    if (error instanceof CommandFailed) return false;
    throw error;
  }
}

/** A check that passes or fails as a whole. */
function check(name: string, command: string, ...args: string[]): Stage {
  return {
    name,
    run: async () =>
      (await succeeds(command, ...args))
        ? { passed: 1, failed: 0, failures: [] }
        : { passed: 0, failed: 1, failures: [`${name}: see above`] },
  };
}

/** Some of vitest's projects, see vitest.config.ts. */
function tests(...projects: string[]): Stage {
  return {
    name: `tests: ${projects.join(", ")}`,
    run: async () => {
      const dir = mkdtempSync(join(tmpdir(), "event-flow-tests-"));
      const report = join(dir, "report.json");
      try {
        const succeeded = await succeeds(
          "vitest",
          "run",
          ...projects.map((project) => `--project=${project}`),
          ...["--reporter=default", "--reporter=./commands/vitest-report.ts", `--outputFile=${report}`],
        );
        const { tests, passed, failures } = readReport(report);
        // What was skipped, because something before it failed, did not pass; nor did a file that couldn't be loaded.
        const notPassed = tests - passed;
        return { passed, failed: succeeded ? notPassed : Math.max(notPassed, 1), failures };
      } finally {
        rmSync(dir, { recursive: true });
      }
    },
  };
}

function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Report;
  } catch {
    return { tests: 0, passed: 0, failures: ["vitest ended without a report: see above"] };
  }
}

const checks: readonly Stage[] = [
  check("format", "prettier", "--check", "."),
  check("lint", "eslint", "--max-warnings", "0", "."),
  check("types", "tsc"),
  tests("unit", "manifests", "apps", "pulumi", "cluster"),
];

const stages = {
  test: [...checks, tests("chaos"), tests("e2e"), tests("rehearsal")],
  check: checks,
  e2e: [tests("e2e")],
  rehearse: [tests("rehearsal")],
} as const satisfies Record<string, readonly Stage[]>;

const which = process.argv[2] ?? "";

await main(async () => {
  if (!Object.hasOwn(stages, which)) throw new Error(`usage: test.ts ${Object.keys(stages).join("|")}`);
  // First, so that what takes long on a new machine isn't counted as a test's own time, and takes no core from the others.
  await buildTools();
  await buildTools([otelCollector, toxiproxy, kubeconform, kubeScore, schemathesis]);
  const outcomes: Outcome[] = [];
  for (const stage of stages[which as keyof typeof stages]) {
    say(`\n== ${stage.name}`);
    const begun = performance.now();
    const outcome = await stage.run();
    const took = seconds(performance.now() - begun);
    say(`== ${stage.name}: ${outcome.passed} passed, ${outcome.failed} failed, ${took}`);
    outcomes.push(outcome);
  }
  say("");
  for (const failure of outcomes.flatMap(({ failures }) => failures)) say(`failed: ${failure}`);
  const sum = (of: "passed" | "failed") => outcomes.reduce((total, outcome) => total + outcome[of], 0);
  print(`\n${sum("passed")} passed, ${sum("failed")} failed`);
  if (sum("failed") > 0) process.exitCode = 1;
});
