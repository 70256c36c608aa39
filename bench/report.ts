import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format, resolveConfig } from "prettier";
import { drawPlots } from "./plots.ts";
import { type PeerName, peerNames } from "./peers.ts";
import { openRates } from "./plan.ts";
import type { Results } from "./results.ts";
import { bulkOf, costliest, drainOf, endToEndOf, postsOf, readyMsOf, targetsOf, titles } from "./summary.ts";

const ms = (value: number | null | undefined) =>
  value == null || Number.isNaN(value) ? "–" : value < 10 ? value.toFixed(1) : value.toFixed(0);
const whole = (value: number) => (Number.isNaN(value) ? "–" : Math.round(value).toLocaleString("en"));
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map((_, column) => (column === 0 ? "---" : "--:")), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}

function plot(name: string, what: string): string {
  return `![${what}](${name}.svg)`;
}

function targets(results: Results): string {
  const rows = targetsOf(results).map(({ what, measured, reached }) => [what, measured, reached ? "yes" : "**no**"]);
  return table(["to reach", "measured", "reached"], rows);
}

const withBackend = ["event-flow", "in-request", "recipe"] as const satisfies readonly PeerName[];

function posts(results: Results, subscribed: boolean): string {
  const peers: readonly PeerName[] = subscribed ? withBackend : peerNames;
  const rows = peers.flatMap((peer) =>
    results.plan.connections.flatMap((connections) => {
      const measured = postsOf(results, peer, connections, subscribed);
      if (measured === undefined) return [];
      const { perSecond, slowest, fastest, latency, failed } = measured;
      const rate = perSecond === 0 ? `none answered` : `${whole(perSecond)} (${whole(slowest)} to ${whole(fastest)})`;
      return [
        [titles[peer], String(connections), rate, ms(latency.p50), ms(latency.p99), ms(latency.p999), whole(failed)],
      ];
    }),
  );
  return table(
    ["", "connections", "requests/s (slowest to fastest turn)", "p50 ms", "p99 ms", "p99.9 ms", "not answered"],
    rows,
  );
}

function endToEnd(results: Results): string {
  const rows = openRates.flatMap((rate) =>
    peerNames.flatMap((peer) => {
      const measured = endToEndOf(results, peer, rate);
      if (measured === undefined) return [];
      const { toHandled, latency, sent } = measured;
      return [
        [
          titles[peer],
          `${rate}/s`,
          ms(toHandled.p50),
          ms(toHandled.p99),
          ms(toHandled.p999),
          ms(latency.p50),
          ms(latency.p99),
          `${whole(toHandled.count)} of ${whole(sent)}`,
        ],
      ];
    }),
  );
  return table(["", "requests", "handled p50 ms", "p99 ms", "p99.9 ms", "answered p50 ms", "p99 ms", "handled"], rows);
}

function costs(results: Results): string {
  const measured = peerNames.flatMap((peer) => costliest(results, peer) ?? []);
  const parts = [...new Set(measured.flatMap(({ costs: own }) => own.map(({ part }) => part)))];
  const rows = parts.map((part) => [
    part,
    ...measured.map(({ costs: own }) => {
      const cost = own.find((each) => each.part === part);
      return cost === undefined ? "–" : `${cost.cpuSeconds.toFixed(1)} s, ${megabytes(cost.peakBytes)}`;
    }),
  ]);
  const sums = measured.map(
    ({ costs: own }) => `${own.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0).toFixed(1)} s`,
  );
  return table(
    ["", ...measured.map(({ peer, rate, sent }) => `${titles[peer]}, at ${rate}/s (of ${whole(sent)})`)],
    [...rows, ["together", ...sums]],
  );
}

function relay(results: Results): string {
  const best = Math.max(bulkOf(results, 1), bulkOf(results, 16));
  const share = (eventsPerSecond: number) => `${((100 * eventsPerSecond) / best).toFixed(0)} %`;
  const rows = [
    ...results.plan.backlogs.map((backlog) => {
      const { eventsPerSecond, costs } = drainOf(results, backlog);
      const cost = (part: string) => costs.find((each) => each.part === part);
      const cpu = (part: string) => `${cost(part)?.cpuSeconds.toFixed(1) ?? "–"} s`;
      return [
        `relay, ${whole(backlog)} events in the outbox`,
        whole(eventsPerSecond),
        share(eventsPerSecond),
        ...["backend", "backend's sidecar", "PostgreSQL", "Kafka"].map(cpu),
        megabytes(cost("backend")?.peakBytes ?? 0),
      ];
    }),
    ...[1, 16].map((connections) => [
      `bare sidecar, bulk publish of 100 events, ${connections} ${connections === 1 ? "connection" : "connections"}`,
      whole(bulkOf(results, connections)),
      share(bulkOf(results, connections)),
      ...Array.from({ length: 5 }, () => ""),
    ]),
  ];
  return table(
    ["", "events/s", "of the limit", "backend", "backend's sidecar", "PostgreSQL", "Kafka", "backend's peak memory"],
    rows,
  );
}

function kafka({ kafka: limit }: Results): string {
  return (
    `Kafka's own producer, acks=all, ${limit.recordBytes} bytes: ${whole(limit.perSecond)}/s. ` +
    `Its own round trip, one message at a time: p50 ${limit.roundTripP50} ms, p99 ${limit.roundTripP99} ms, told in whole milliseconds.`
  );
}

function starts(results: Results): string {
  const rows = withBackend.map((peer) => [
    titles[peer],
    ...(["backend", "subscriber"] as const).map((app) => whole(readyMsOf(results, peer, app))),
  ]);
  return table(["start to ready, ms", "backend", "subscriber"], rows);
}

function profiles(results: Results): string {
  return results.profiles
    .map(({ app, busy, modules, functions }) => {
      const rows = functions.map(({ what, share }, index) => {
        const module = modules[index];
        const of = (each: { share: number } | undefined) =>
          each === undefined ? "" : `${(100 * each.share).toFixed(1)} %`;
        return [module?.what ?? "", of(module), what, of({ share })];
      });
      return `### ${app}, at work ${(100 * busy).toFixed(0)} % of the time\n\n${table(["package or file", "share", "function itself", "share"], rows)}`;
    })
    .join("\n\n");
}

export function describe(results: Results): string {
  const { machine, versions, plan, date, seed, quick } = results;
  const facts = Object.entries(versions).map(([what, version]) => `${what} ${version}`);
  return `# What is measured, side by side

${quick ? "**A quick try: these figures say little.**\n" : ""}
Written by \`make bench\` on ${date.slice(0, 10)}, seed ${seed}. ${machine.cores} cores (${machine.cpu}), ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB,
${machine.system}; load before: ${machine.loadBefore}. ${facts.join(", ")}.

Everything runs on this one machine, the load generator too. Each peer has ${plan.rounds} turns, one after the other, on the same broker,
database and state store; a figure is the median over the turns. The first ${plan.warmUpSeconds} s of a turn's load aren't measured. The database waits
for its disk. Every request has a title of its own and one of 1,000 users' tokens.

${targets(results)}

## Requests

With the subscribers stopped: what a backend takes with its sidecar, database and broker.

${plot("requests", "Requests a second by connections")}

${posts(results, false)}

By more than 15 connections the recipe answers nothing: a request holds one of the 15 connections of its pool while it publishes, and the one
thread that all requests share waits for the sixteenth.

${plot("latency", "Time to the answer by connections")}

With the subscriber at work on the same cores:

${posts(results, true)}

## From request to handled

At a constant rate, whatever the answers do; from when a request was sent to when its event was handled, by the subscriber's clock, which counts
whole milliseconds. The recipe's subscriber, and the bare one, only note that an event came; this system's writes the notification
to the state store first.

${plot("end-to-end", "Time from request to handled at 200 a second")}

${endToEnd(results)}

## CPU and memory

For 10,000 events, from the open loop; peak memory.

${plot("cpu", "CPU seconds for 10,000 events")}

${costs(results)}

## Backlog

Events in the outbox, committed at once; CPU time for 10,000 of them.

${plot("drain", "Events a second by the backlog's size")}

${relay(results)}

${kafka(results)}

## Replicas

Events of all types, with more of them in the broker than are handled meanwhile.

${plot("replicas", "Events handled a second by replicas")}

${table(
  ["replicas of the notification service", "events handled/s"],
  results.replicas.map(({ replicas, perSecond }) => [String(replicas), whole(perSecond)]),
)}

## Start and size

${starts(results)}

${table(
  ["", "size"],
  results.sizes.map(({ what, bytes }) => [what, megabytes(bytes)]),
)}
${results.profiles.length === 0 ? "" : `\n## Where the time goes\n\nV8's profile of both services under load by 16 connections, without what they wait.\n\n${profiles(results)}\n`}`;
}

/** Writes the results to a folder and returns the text of the report. */
export async function writeReport(results: Results, dir: string): Promise<string> {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, "results.md");
  const text = await format(describe(results), { ...(await resolveConfig(file)), parser: "markdown" });
  writeFileSync(file, text);
  writeFileSync(join(dir, "results.json"), `${JSON.stringify(results)}\n`);
  for (const [name, svg] of Object.entries(await drawPlots(results))) writeFileSync(join(dir, name), `${svg}\n`);
  return text;
}
