import { writeFileSync } from "node:fs";
import { relative } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { Reporter, SerializedError, TestModule, Vitest } from "vitest/node";
import { repositoryRoot } from "../components/content-tag.ts";

/** What `make test` needs to know of a run of vitest. */
export interface Report {
  readonly tests: number;
  readonly passed: number;
  /** Each failure in one short line. */
  readonly failures: readonly string[];
}

const mostCharacters = 300;

/** Writes a `Report`. Vitest's own report in JSON has no differences between what was expected and what came. */
export default class implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const file = this.#vitest?.config.outputFile;
    if (typeof file !== "string")
      throw new Error("usage: vitest --reporter=./commands/vitest-report.ts --outputFile=<file>");
    const cases = modules.flatMap((module) => [...module.children.allTests()]);
    const failures = [
      ...modules.flatMap((module) =>
        [...module.children.allSuites(), module].flatMap((suite) => suite.errors().map(told(nameOf(suite)))),
      ),
      ...cases.flatMap((test) => (test.result().errors ?? []).map(told(nameOf(test)))),
      ...unhandled.map(told("outside of any test")),
    ];
    const passed = cases.filter((test) => test.result().state === "passed").length;
    writeFileSync(file, JSON.stringify({ tests: cases.length, passed, failures } satisfies Report));
  }
}

type Named = Pick<TestModule, "moduleId"> | { readonly module: TestModule; readonly fullName: string };

function nameOf(of: Named): string {
  if ("moduleId" in of) return relative(repositoryRoot, of.moduleId);
  return `${relative(repositoryRoot, of.module.moduleId)} > ${of.fullName}`;
}

/** A failure in one short line, as vitest tells of it at length: what was seen, and the lines that differ. */
function told(name: string) {
  return ({ message, diff }: SerializedError): string => {
    const different =
      typeof diff === "string" ? stripVTControlCharacters(diff).match(/^[-+] (?!Expected$|Received$).*$/gm) : undefined;
    const line = [message, ...(different ?? [])].join(" ").replaceAll(/\s+/g, " ");
    return `${name}: ${line.length > mostCharacters ? `${line.slice(0, mostCharacters)}…` : line}`;
  };
}
