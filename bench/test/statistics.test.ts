import { expect, test } from "vitest";
import { durations, median, quantile, randomFrom } from "../statistics.ts";

const oneToHundred = Array.from({ length: 100 }, (_, index) => index + 1);

test("a quantile is the value at its rank", () => {
  expect([0, 0.5, 0.99, 1].map((share) => quantile(oneToHundred, share))).toEqual([1, 50, 99, 100]);
  expect(quantile([7], 0.5)).toBe(7);
  expect(quantile([], 0.5)).toBeNaN();
});

test("the median of an even number of values lies between the two in the middle", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test("durations are told whatever their order, and p99.9 of a thousand only", () => {
  const { count, p50, p99, p999, max, curve } = durations(oneToHundred.toReversed());
  expect({ count, p50, p99, p999, max }).toEqual({ count: 100, p50: 50, p99: 99, p999: null, max: 100 });
  expect([curve.length, curve[0], curve[100], curve[200]]).toEqual([201, 1, 50, 100]);
  expect(durations(Array.from({ length: 1_000 }, (_, index) => index + 1)).p999).toBe(999);
});

test("a seed decides what is random", () => {
  const [first, again, other] = [randomFrom(1), randomFrom(1), randomFrom(2)];
  const numbers = [first(), first()];
  expect(numbers).toEqual([again(), again()]);
  expect(numbers).not.toEqual([other(), other()]);
  expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
});
