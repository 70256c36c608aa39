import { type Fault, faults, kills, pair } from "./faults.ts";
import { random, type Random } from "./random.ts";

/** How much is to be done. */
export interface Plan {
  readonly seed: number;
  /** How often each fault is done by itself. */
  readonly alone: number;
  readonly pairs: number;
  /** How many kills there are in all. */
  readonly kills: number;
  /** The pause between two kills of the storm, in milliseconds: from and to. */
  readonly stormPauseMs: readonly [number, number];
  /** The name of the one fault that is done, or `storm`. @default all */
  readonly only?: string | undefined;
}

/** One fault, after which either the system's recovery is waited for, or only some time. */
export interface Act {
  readonly fault: Fault;
  /** What is up to chance in the fault. */
  readonly chance: Random;
  /** In the storm, which doesn't wait for recovery. */
  readonly pauseMs?: number;
}

/** What the storm is called where one fault is asked for. */
const onlyStorm = "storm";

/** The same acts for the same plan: each fault by itself in an order by chance, then pairs, then a storm of kills. */
export function schedule({ seed, alone, pairs, kills: killsInAll, stormPauseMs, only }: Plan): Act[] {
  const chance = random(seed);
  const act = (fault: Fault): Act => ({ fault, chance: random(chance.int(0, 2 ** 31 - 1)) });
  const acts: Act[] = [];
  if (only !== onlyStorm) {
    const chosen = only === undefined ? faults : faults.filter(({ name }) => name === only);
    if (chosen.length === 0) {
      const names = [...faults.map(({ name }) => name), onlyStorm].map((name) => `  ${name}`);
      throw new Error(`There is no fault ${only ?? ""}. There are:\n${names.join("\n")}`);
    }
    acts.push(...Array.from({ length: alone }, () => chance.shuffle(chosen).map(act)).flat());
    if (only !== undefined) return acts;
    acts.push(...Array.from({ length: pairs }, () => act(pair(chance))));
  }
  for (let count = killsOf(acts); count < killsInAll; count += 1) {
    acts.push({ ...act(chance.pick(kills)), pauseMs: chance.int(...stormPauseMs) });
  }
  return acts;
}

export function killsOf(acts: readonly Act[]): number {
  return acts.reduce((sum, { fault }) => sum + fault.kills, 0);
}
