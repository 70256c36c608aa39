import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** Choices that are the same each time for the same seed. */
export interface Random {
  /** An integer, both ends included. */
  int(from: number, to: number): number;
  pick<T>(items: readonly T[]): T;
  /** All of them in an order by chance. */
  shuffle<T>(items: readonly T[]): T[];
}

export function random(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  const int = (from: number, to: number) => uniformInt(generator, from, to);
  const pick = <T>(items: readonly T[]): T => {
    const item = items[int(0, items.length - 1)];
    if (item === undefined) throw new Error("There is nothing to pick from");
    return item;
  };
  const shuffle = <T>(items: readonly T[]): T[] => {
    const left = [...items];
    return items.map(() => {
      const [item] = left.splice(int(0, left.length - 1), 1);
      return item as T;
    });
  };
  return { int, pick, shuffle };
}
