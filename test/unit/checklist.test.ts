import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { repositoryRoot } from "../../components/content-tag.ts";

const readme = readFileSync(join(repositoryRoot, "README.md"), "utf8");
const [, section = ""] = /^## The design's quality checklist\n([^]*?)^## /m.exec(readme) ?? [];
const items = section
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .slice(1)
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .map(([, item = "", , held = ""]) => ({ item, held }))
  .filter(({ item }) => !/^-+$/.test(item));

test("has an answer to each of the design's twelve items", () => {
  expect(items.map(({ item }) => item)).toHaveLength(12);
});

test.each(items)("$item is held by a test that is there", ({ held }) => {
  const tests = [...held.matchAll(/`([^`]+)`: "([^"]+)"/g)];
  expect(tests.length).toBeGreaterThan(0);
  for (const [, file = "", name = ""] of tests) {
    expect(existsSync(join(repositoryRoot, file)), file).toBe(true);
    expect(readFileSync(join(repositoryRoot, file), "utf8")).toContain(`"${name}"`);
  }
});
