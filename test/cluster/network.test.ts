import { expect, test } from "vitest";
import { clusterNames, layout } from "./layout.ts";
import { overlaps } from "./network.ts";

test.each([
  ["10.0.0.0/8", "10.96.0.0/24", true],
  ["10.96.0.0/24", "10.96.0.128/25", true],
  ["10.96.0.7", "10.96.0.0/24", true],
  ["10.96.1.0/24", "10.96.0.0/24", false],
  ["192.168.255.255", "192.169.0.0/16", false],
])("%s and %s overlap: %s", (a, b, expected) => {
  expect(overlaps(a, b)).toBe(expected);
  expect(overlaps(b, a)).toBe(expected);
});

test("clusters that run side by side share no address, and their interfaces' names fit the kernel's 15 letters", () => {
  const all = clusterNames.map(layout);
  const ranges = all.flatMap(({ nodeRange, podRange, serviceRange }) => [nodeRange, podRange, serviceRange]);
  for (const [index, range] of ranges.entries()) {
    expect(ranges.slice(index + 1).filter((other) => overlaps(range, other))).toEqual([]);
  }
  expect(all.map(({ hostInterface }) => hostInterface.length).filter((length) => length > 15)).toEqual([]);
});
