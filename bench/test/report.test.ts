import { expect, test } from "vitest";
import type { PeerName } from "../peers.ts";
import { quickPlan, type OpenRate } from "../plan.ts";
import { drawPlots } from "../plots.ts";
import { describe } from "../report.ts";
import type { Results, Visit } from "../results.ts";
import { durations } from "../statistics.ts";
import { drainOf, endToEndOf, mostPosts, postsOf, targetsOf } from "../summary.ts";

const megabyte = 1e6;

const parts = { backend: { cpuSeconds: 0.5, peakBytes: 100 * megabyte }, subscriber: { cpuSeconds: 1, peakBytes: 1 } };

function posts(peer: PeerName, connections: number, perSecond: number, ms: number) {
  const failed = perSecond === 0 ? connections : 0;
  const latency = durations(perSecond === 0 ? [] : [ms, 2 * ms]);
  return { peer, connections, subscribed: false, perSecond, latency, failed };
}

function endToEnd(peer: PeerName, rate: OpenRate, ms: number) {
  const toHandled = durations([ms, 2 * ms]);
  const parts = {
    backend: { cpuSeconds: 0.5, peakBytes: 100 * megabyte },
    subscriber: { cpuSeconds: 1, peakBytes: 1 },
  };
  return { peer, rate, sent: 400, accepted: 400, latency: toHandled, toHandled, parts };
}

function visit(peer: PeerName, changes: Partial<Visit>): Visit {
  return { peer, posts: [], endToEnd: [], bulk: [], drains: [], starts: [], check: undefined, ...changes };
}

/** Two turns of each peer, of which the second is twice as fast. */
function results(changes: Partial<Results> = {}): Results {
  const turn = (speed: number) => [
    visit("limit", {
      endToEnd: [endToEnd("limit", 200, 1 / speed)],
      bulk: [
        { connections: 1, eventsPerSecond: 1_000 * speed },
        { connections: 16, eventsPerSecond: 2_000 * speed },
      ],
    }),
    visit("recipe", {
      posts: [posts("recipe", 1, 10 * speed, 60), posts("recipe", 16, 0, NaN)],
      endToEnd: [endToEnd("recipe", 10, 70)],
    }),
    visit("in-request", { posts: [posts("in-request", 1, 300, 3), posts("in-request", 16, 900, 9)] }),
    visit("event-flow", {
      posts: [posts("event-flow", 1, 600 * speed, 2), posts("event-flow", 16, 1_000 * speed, 8)],
      endToEnd: [endToEnd("event-flow", 200, 6 / speed)],
      drains: [
        { backlog: 1_000, eventsPerSecond: 1_100 * speed, parts },
        { backlog: 10_000, eventsPerSecond: 1_000 * speed, parts },
      ],
      starts: [{ peer: "event-flow", app: "backend", readyMs: 500 }],
      check: { acknowledged: 50, lost: 0, handledAgain: 0 },
    }),
  ];
  return {
    date: "2026-11-25T01:23:15.000Z",
    seed: 1,
    quick: false,
    plan: { ...quickPlan, rounds: 2 },
    machine: { cpu: "a CPU", cores: 2, memoryBytes: 2 ** 34, freeBytes: 2 ** 33, system: "Linux", loadBefore: 0 },
    versions: { node: "24" },
    visits: [...turn(1), ...turn(2)],
    replicas: [
      { replicas: 1, perSecond: 500 },
      { replicas: 2, perSecond: 900 },
    ],
    kafka: {
      recordBytes: 600,
      perSecond: 40_000,
      producerP50: 1,
      producerP99: 2,
      roundTripP50: 1,
      roundTripP99: 2,
    },
    sizes: [{ what: "backend", bytes: 30 * megabyte }],
    profiles: [],
    ...changes,
  };
}

test("a figure is the median over the turns, and the turns' range is told", () => {
  expect(postsOf(results(), "event-flow", 16, false)).toMatchObject({
    perSecond: 1_500,
    slowest: 1_000,
    fastest: 2_000,
  });
  expect(postsOf(results(), "event-flow", 16, true)).toBeUndefined();
  expect(mostPosts(results(), "recipe", false)).toMatchObject({ connections: 1, perSecond: 15 });
  const { eventsPerSecond, costs } = drainOf(results(), 1_000);
  expect(eventsPerSecond).toBe(1_650);
  expect(costs[0]).toEqual({ part: "backend", cpuSeconds: 5, peakBytes: 100 * megabyte });
});

test("what a part took is told for 10,000 events", () => {
  const { costs, toHandled, sent } = endToEndOf(results(), "event-flow", 200) ?? {};
  expect(costs?.[0]).toEqual({ part: "backend", cpuSeconds: 12.5, peakBytes: 100 * megabyte });
  expect([toHandled?.p50, sent]).toEqual([4.5, 800]);
});

test("targets are reached or not", () => {
  expect(targetsOf(results()).map(({ measured, reached }) => [measured, reached])).toEqual([
    ["100 times", true],
    ["300 % by 1, 167 % by 16", true],
    ["4.0 to 6.0 ms by 1, 16.0 to 18.0 ms by 16", true],
    ["3.8 ms", true],
    ["7.5 ms", true],
    ["50 % of 3000/s", true],
    ["1500/s of 10000, 1650/s of 1000", true],
    ["100 MB and 0 MB", true],
    ["0 lost and 0 twice, of 100", true],
  ]);
  const lossy = visit("event-flow", { check: { acknowledged: 10, lost: 1, handledAgain: 0 } });
  const worse = targetsOf(results({ visits: [...results().visits, lossy] }));
  expect(worse.at(-1)).toMatchObject({ measured: "1 lost and 0 twice, of 110", reached: false });
});

test("the report says what wasn't answered, what wasn't measured, and what it was measured on", () => {
  const text = describe(results());
  expect(text).toContain("seed 1. 2 cores (a CPU), 16 GiB,");
  expect(text).toMatch(/the recipe \| 16 \| none answered \| – \| – \| – \| 32/);
  expect(text).not.toMatch(/NaN|undefined/);
});

test("plots are drawn on white", async () => {
  const plots = await drawPlots(results());
  expect(Object.keys(plots)).toEqual([
    "requests.svg",
    "latency.svg",
    "end-to-end.svg",
    "drain.svg",
    "cpu.svg",
    "replicas.svg",
  ]);
  for (const svg of Object.values(plots)) {
    expect(svg).toMatch(/^<svg [\s\S]*fill="white"/);
    expect(svg).not.toContain("NaN");
  }
});
