/** The figure below which a share of sorted values lies (nearest rank); NaN if there is none. */
export function quantile(sorted: readonly number[], share: number): number {
  const rank = Math.max(Math.ceil(share * sorted.length), 1);
  return sorted[rank - 1] ?? NaN;
}

export function ascending(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b);
}

/** The middle value, or the mean of the two in the middle; NaN if there is none. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values);
  const middle = sorted.length / 2;
  return Number.isInteger(middle)
    ? ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2
    : (sorted[Math.floor(middle)] ?? NaN);
}

/** What is told of a set of durations in milliseconds. */
export interface Durations {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  /** `null` of fewer than a thousand, which have no such share. */
  readonly p999: number | null;
  readonly max: number;
  /** From the shortest to the longest, in steps of half a percent. */
  readonly curve: readonly number[];
}

export function durations(values: readonly number[]): Durations {
  const sorted = ascending(values);
  return {
    count: sorted.length,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    p999: sorted.length < 1_000 ? null : quantile(sorted, 0.999),
    max: sorted.at(-1) ?? NaN,
    curve: Array.from({ length: 201 }, (_, index) => quantile(sorted, index / 200)),
  };
}

/** Numbers from 0 to 1 that a seed decides (https://gist.github.com/tommyettinger/46a874533244883189143505d203312c). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
