import type { PeerName } from "./peers.ts";
import { type OpenRate, openRates } from "./plan.ts";
import type { EndToEnd, Posts, Results } from "./results.ts";
import { type Durations, median } from "./statistics.ts";

/** The names by which readers know the peers. */
export const titles: Readonly<Record<PeerName, string>> = {
  "event-flow": "this system",
  "in-request": "published in the request (SDK)",
  recipe: "the recipe",
  limit: "bare sidecar and broker",
};

/** The median of a figure over all turns. */
function over<T>(measured: readonly T[], figure: (each: T) => number): number {
  return median(measured.map(figure));
}

function durationsOver<T>(measured: readonly T[], of: (each: T) => Durations): Durations {
  const all = measured.map(of);
  const p999 = all.flatMap((each) => (each.p999 === null ? [] : [each.p999]));
  return {
    count: all.reduce((sum, { count }) => sum + count, 0),
    p50: over(all, ({ p50 }) => p50),
    p99: over(all, ({ p99 }) => p99),
    // Of some turns only it would be another sample's than the other figures.
    p999: p999.length < all.length ? null : median(p999),
    max: over(all, ({ max }) => max),
    curve: (all[0]?.curve ?? []).map((_, index) => over(all, ({ curve }) => curve[index] ?? NaN)),
  };
}

export interface PostsSummary extends Posts {
  /** The slowest and the fastest turn. */
  readonly slowest: number;
  readonly fastest: number;
}

/** The figures of one peer by one number of connections; undefined if that wasn't measured. */
export function postsOf(
  { visits }: Results,
  peer: PeerName,
  connections: number,
  subscribed: boolean,
): PostsSummary | undefined {
  const measured = visits
    .flatMap(({ posts }) => posts)
    .filter((each) => each.peer === peer && each.connections === connections && each.subscribed === subscribed);
  if (measured.length === 0) return undefined;
  const rates = measured.map(({ perSecond }) => perSecond);
  return {
    peer,
    connections,
    subscribed,
    perSecond: median(rates),
    slowest: Math.min(...rates),
    fastest: Math.max(...rates),
    latency: durationsOver(measured, ({ latency }) => latency),
    failed: measured.reduce((sum, { failed }) => sum + failed, 0),
  };
}

/** The most requests a second that a peer takes, by whatever number of connections. */
export function mostPosts(results: Results, peer: PeerName, subscribed: boolean): PostsSummary | undefined {
  return results.plan.connections
    .flatMap((connections) => postsOf(results, peer, connections, subscribed) ?? [])
    .sort((a, b) => b.perSecond - a.perSecond)[0];
}

export interface PartCost {
  readonly part: string;
  /** For 10,000 events. */
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

export interface EndToEndSummary extends Omit<EndToEnd, "parts"> {
  readonly costs: readonly PartCost[];
}

export function endToEndOf({ visits }: Results, peer: PeerName, rate: OpenRate): EndToEndSummary | undefined {
  const measured = visits
    .flatMap(({ endToEnd }) => endToEnd)
    .filter((each) => each.peer === peer && each.rate === rate);
  if (measured.length === 0) return undefined;
  return {
    peer,
    rate,
    sent: measured.reduce((sum, { sent }) => sum + sent, 0),
    accepted: measured.reduce((sum, { accepted }) => sum + accepted, 0),
    latency: durationsOver(measured, ({ latency }) => latency),
    toHandled: durationsOver(measured, ({ toHandled }) => toHandled),
    costs: costsOf(measured.map(({ parts, sent }) => ({ parts, events: sent }))),
  };
}

/** What each part took, by the turns in which so many events went through it. */
function costsOf(
  measured: readonly { readonly parts: EndToEnd["parts"]; readonly events: number }[],
): readonly PartCost[] {
  return Object.keys(measured[0]?.parts ?? {}).map((part) => ({
    part,
    cpuSeconds: over(measured, ({ parts, events }) => ((parts[part]?.cpuSeconds ?? NaN) / events) * 10_000),
    peakBytes: Math.max(...measured.map(({ parts }) => parts[part]?.peakBytes ?? NaN)),
  }));
}

/** The highest rate at which a peer was measured: the recipe keeps up with the lower one only. */
export function costliest(results: Results, peer: PeerName): EndToEndSummary | undefined {
  return openRates.flatMap((rate) => endToEndOf(results, peer, rate) ?? []).at(-1);
}

export interface DrainSummary {
  readonly eventsPerSecond: number;
  readonly costs: readonly PartCost[];
}

export function drainOf({ visits }: Results, backlog: number): DrainSummary {
  const measured = visits.flatMap(({ drains }) => drains).filter((each) => each.backlog === backlog);
  return {
    eventsPerSecond: over(measured, ({ eventsPerSecond }) => eventsPerSecond),
    costs: costsOf(measured.map(({ parts }) => ({ parts, events: backlog }))),
  };
}

export function bulkOf({ visits }: Results, connections: number): number {
  return over(
    visits.flatMap(({ bulk }) => bulk).filter((each) => each.connections === connections),
    ({ eventsPerSecond }) => eventsPerSecond,
  );
}

export function readyMsOf({ visits }: Results, peer: PeerName, app: "backend" | "subscriber"): number {
  return over(
    visits.flatMap(({ starts }) => starts).filter((each) => each.peer === peer && each.app === app),
    ({ readyMs }) => readyMs,
  );
}

/** What was to be reached, and what was. */
export interface Target {
  readonly what: string;
  readonly measured: string;
  readonly reached: boolean;
}

const megabyte = 1e6;

export function targetsOf(results: Results): Target[] {
  const { plan, visits } = results;
  const ours = mostPosts(results, "event-flow", false);
  const recipe = mostPosts(results, "recipe", false);
  const times = (ours?.perSecond ?? NaN) / (recipe?.perSecond ?? NaN);
  const compared = plan.connections.map((connections) => {
    const mine = postsOf(results, "event-flow", connections, false);
    const theirs = postsOf(results, "in-request", connections, false);
    return {
      connections,
      share: (mine?.perSecond ?? NaN) / (theirs?.perSecond ?? NaN),
      p99: mine?.latency.p99 ?? NaN,
      theirP99: theirs?.latency.p99 ?? NaN,
    };
  });
  const end = endToEndOf(results, "event-flow", 200)?.toHandled;
  const limit = endToEndOf(results, "limit", 200)?.toHandled;
  const [p50, p99] = [(end?.p50 ?? NaN) - (limit?.p50 ?? NaN), (end?.p99 ?? NaN) - (limit?.p99 ?? NaN)];
  const largest = plan.backlogs.at(-1) ?? 0;
  const smaller = plan.backlogs.at(-2) ?? largest;
  const bulk = Math.max(bulkOf(results, 1), bulkOf(results, 16));
  const relay = drainOf(results, largest).eventsPerSecond;
  const ofSmaller = drainOf(results, smaller).eventsPerSecond;
  const checks = visits.flatMap(({ check }) => check ?? []);
  const sum = (figure: (check: (typeof checks)[number]) => number) =>
    checks.reduce((total, check) => total + figure(check), 0);
  const memory = ["backend", "subscriber"].map(
    (app) => costliest(results, "event-flow")?.costs.find(({ part }) => part === app)?.peakBytes ?? NaN,
  );
  return [
    {
      what: "at least 100 times the recipe's requests a second",
      measured: `${times.toFixed(0)} times`,
      reached: times >= 100,
    },
    {
      what: "at least 80 % of the requests a second of publishing in the request",
      measured: compared.map(({ connections, share }) => `${(100 * share).toFixed(0)} % by ${connections}`).join(", "),
      reached: compared.every(({ share }) => share >= 0.8),
    },
    {
      what: "and no worse p99",
      measured: compared
        .map(
          ({ connections, p99: mine, theirP99 }) => `${mine.toFixed(1)} to ${theirP99.toFixed(1)} ms by ${connections}`,
        )
        .join(", "),
      reached: compared.every(({ p99: mine, theirP99 }) => mine <= theirP99),
    },
    {
      what: "request to handled at 200/s: p50 at most 10 ms beyond the bare sidecar's",
      measured: `${p50.toFixed(1)} ms`,
      reached: p50 <= 10,
    },
    { what: "and p99 at most 40 ms", measured: `${p99.toFixed(1)} ms`, reached: p99 <= 40 },
    {
      what: "the relay at least half of the sidecar's bulk limit",
      measured: `${((100 * relay) / bulk).toFixed(0)} % of ${bulk.toFixed(0)}/s`,
      reached: relay >= bulk / 2,
    },
    {
      what: "a rate that doesn't fall with the backlog",
      measured: `${relay.toFixed(0)}/s of ${largest}, ${ofSmaller.toFixed(0)}/s of ${smaller}`,
      reached: relay >= 0.9 * ofSmaller,
    },
    {
      what: "at most 150 MB for each service under load",
      measured: memory.map((bytes) => `${(bytes / megabyte).toFixed(0)} MB`).join(" and "),
      reached: memory.every((bytes) => bytes <= 150 * megabyte),
    },
    {
      what: "nothing acknowledged is lost, nothing is told twice",
      measured: `${sum(({ lost }) => lost)} lost and ${sum(({ handledAgain }) => handledAgain)} twice, of ${sum(({ acknowledged }) => acknowledged)}`,
      reached: sum(({ lost, handledAgain }) => lost + handledAgain) === 0,
    },
  ];
}
