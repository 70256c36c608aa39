import { expect, test } from "vitest";
import { faults } from "../chaos/faults.ts";
import { killsOf, schedule } from "../chaos/schedule.ts";

const plan = { seed: 7, alone: 2, pairs: 3, kills: 60, stormPauseMs: [1_000, 3_000] } as const;
const names = (acts: ReturnType<typeof schedule>) => acts.map(({ fault, pauseMs }) => `${fault.name} ${pauseMs ?? ""}`);

test("the same seed gives the same faults, another seed others", () => {
  expect(names(schedule(plan))).toEqual(names(schedule(plan)));
  expect(names(schedule(plan))).not.toEqual(names(schedule({ ...plan, seed: 8 })));
  const chances = (seed: number) => schedule({ ...plan, seed }).map(({ chance }) => chance.int(0, 1_000_000));
  expect(chances(7)).toEqual(chances(7));
});

test("each fault is done by itself, then come pairs, then a storm of kills until there are enough", () => {
  const acts = schedule(plan);
  const alone = acts.slice(0, 2 * faults.length).map(({ fault }) => fault.name);
  expect(alone.toSorted()).toEqual([...faults, ...faults].map(({ name }) => name).toSorted());
  const pairs = acts.slice(2 * faults.length, 2 * faults.length + 3);
  expect(new Set(pairs.map(({ fault }) => fault.name))).toEqual(new Set(["pairs of kills and freezes"]));
  const storm = acts.slice(2 * faults.length + 3);
  expect(storm.every(({ fault, pauseMs }) => fault.name.startsWith("kill: ") && pauseMs !== undefined)).toBe(true);
  expect(killsOf(acts)).toBe(60);
});

test("the storm can be had alone", () => {
  const acts = schedule({ ...plan, only: "storm" });
  expect([acts.length, acts.every(({ pauseMs }) => pauseMs !== undefined)]).toEqual([60, true]);
});

test("one fault can be done alone, and an unknown one is refused with those that there are", () => {
  expect(names(schedule({ ...plan, only: "kill: broker" }))).toEqual(["kill: broker ", "kill: broker "]);
  expect(() => schedule({ ...plan, only: "kill: brokr" })).toThrow("  kill: broker\n");
});
