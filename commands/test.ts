import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryRoot } from "../components/content-tag.ts";
import { kubeconform, kubeScore, otelCollector, toxiproxy } from "../test/tools/go-tools.ts";
import { buildTools } from "../test/tools/index.ts";
import { schemathesis } from "../test/tools/schemathesis.ts";
import { print, say, seconds } from "../test/tools/progress.ts";
import { CommandFailed, main, runShown } from "./process.ts";

/** A part of the tests: how many of it passed and failed. */
interface Stage {
  readonly name: string;
  readonly run: () => Promise<Count>;
}

interface Count {
  readonly passed: number;
  readonly failed: number;
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
    run: async () => ((await succeeds(command, ...args)) ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }),
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
          ...["--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
        );
        const { numTotalTests, numPassedTests } = readReport(report);
        // What was skipped, because something before it failed, did not pass; nor did a file that couldn't be loaded.
        const notPassed = numTotalTests - numPassedTests;
        return { passed: numPassedTests, failed: succeeded ? notPassed : Math.max(notPassed, 1) };
      } finally {
        rmSync(dir, { recursive: true });
      }
    },
  };
}

interface Report {
  readonly numTotalTests: number;
  readonly numPassedTests: number;
}

function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Report;
  } catch {
    return { numTotalTests: 0, numPassedTests: 0 };
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
  let passed = 0;
  let failed = 0;
  for (const stage of stages[which as keyof typeof stages]) {
    say(`\n== ${stage.name}`);
    const begun = performance.now();
    const count = await stage.run();
    say(`== ${stage.name}: ${count.passed} passed, ${count.failed} failed, ${seconds(performance.now() - begun)}`);
    passed += count.passed;
    failed += count.failed;
  }
  print(`\n${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
});
