import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { repositoryRoot } from "../../../components/content-tag.ts";

/** The rows of the tables below a heading of a document, by their cells. */
export function rowsUnder(document: string, heading: string): string[][] {
  const text = readFileSync(join(repositoryRoot, document), "utf8");
  const [, section = ""] = text.split(`\n## ${heading}\n`);
  return section
    .split(/^## /m, 1)
    .join()
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("| --"))
    .slice(1)
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** A cell names tests as `` `file`: "title" ``: each must be there, by the title that it has in the file. */
export function expectTests(cell: string): void {
  const tests = [...cell.matchAll(/`([^`]+)`: "([^"]+)"/g)];
  expect(tests.length).toBeGreaterThan(0);
  for (const [, file = "", title = ""] of tests) {
    expect(existsSync(join(repositoryRoot, file)), file).toBe(true);
    expect(readFileSync(join(repositoryRoot, file), "utf8")).toContain(`"${title}"`);
  }
}
