import { expect, test } from "vitest";
import { expectTests, rowsUnder } from "./support/tables.ts";

const threats = rowsUnder("docs/threats.md", "What is tried, and what stops it").map(
  ([who = "", how = "", , shown = ""]) => ({ who, how, shown }),
);

test("there are threats in the table", () => {
  expect(threats.length).toBeGreaterThan(0);
});

test.each(threats)("$who: $how, and a test shows what stops it", ({ shown }) => {
  expectTests(shown);
});
