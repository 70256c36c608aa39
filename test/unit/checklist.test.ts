import { expect, test } from "vitest";
import { expectTests, rowsUnder } from "./support/tables.ts";

const items = rowsUnder("README.md", "The design's quality checklist").map(([item = "", , held = ""]) => ({
  item,
  held,
}));

test("has an answer to each of the design's twelve items", () => {
  expect(items).toHaveLength(12);
});

test.each(items)("$item is held by a test that is there", ({ held }) => {
  expectTests(held);
});
