import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { peerNames, type PeerName } from "./peers.ts";
import type { Results } from "./results.ts";
import { bulkOf, costliest, drainOf, endToEndOf, postsOf, titles } from "./summary.ts";

/** Of a palette that is told apart with any eyes (https://jfly.uni-koeln.de/color/). */
const colours: Readonly<Record<PeerName, string>> = {
  "event-flow": "#0072b2",
  "in-request": "#e69f00",
  recipe: "#d55e00",
  limit: "#999999",
};

const peerColour = (peers: readonly PeerName[]) => ({
  field: "peer",
  type: "nominal" as const,
  title: null,
  sort: peers.map((peer) => titles[peer]),
  scale: { domain: peers.map((peer) => titles[peer]), range: peers.map((peer) => colours[peer]) },
});

async function draw(spec: TopLevelSpec): Promise<string> {
  const whole: TopLevelSpec = {
    ...spec,
    // A reader's page may be dark.
    background: "white",
    padding: 12,
    config: {
      font: "sans-serif",
      axis: { labelLimit: 500 },
      legend: { orient: "bottom", labelLimit: 500 },
      view: { stroke: null },
    },
  };
  return new View(parse(compile(whole).spec), { renderer: "none" }).toSVG();
}

const connectionsTitle = (count: number) => (count === 1 ? "1 connection" : `${count} connections`);

const apps = ["event-flow", "in-request", "recipe"] as const satisfies readonly PeerName[];

function requests(results: Results): Promise<string> {
  const values = apps.flatMap((peer) =>
    results.plan.connections.flatMap((connections) => {
      const posts = postsOf(results, peer, connections, false);
      return posts === undefined
        ? []
        : [{ peer: titles[peer], connections, perSecond: posts.perSecond, text: posts.perSecond.toFixed(0) }];
    }),
  );
  const bars = {
    x: { field: "connections", type: "ordinal" as const, title: "connections", axis: { labelAngle: 0 } },
    xOffset: { field: "peer", sort: apps.map((peer) => titles[peer]) },
    y: { field: "perSecond", type: "quantitative" as const, title: "requests a second" },
  };
  return draw({
    title: "POST /api/{user_id}/tasks: requests a second",
    width: 420,
    height: 260,
    data: { values },
    layer: [
      { mark: "bar", encoding: { ...bars, color: peerColour(apps) } },
      { mark: { type: "text", dy: -6, fontSize: 10 }, encoding: { ...bars, text: { field: "text" } } },
    ],
  });
}

function latency(results: Results): Promise<string> {
  const values = apps.flatMap((peer) =>
    results.plan.connections.flatMap((connections) => {
      const { p50, p99, p999 } = postsOf(results, peer, connections, false)?.latency ?? {};
      return Object.entries({ p50: p50, p99: p99, "p99.9": p999 }).flatMap(([share, ms]) =>
        ms == null || Number.isNaN(ms)
          ? []
          : [{ peer: titles[peer], connections: connectionsTitle(connections), share, ms }],
      );
    }),
  );
  return draw({
    title: "POST /api/{user_id}/tasks: time to the answer",
    data: { values },
    facet: {
      column: {
        field: "connections",
        title: null,
        sort: results.plan.connections.map(connectionsTitle),
      },
    },
    spec: {
      width: 170,
      height: 260,
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "share", type: "ordinal", title: "share of the requests", axis: { labelAngle: 0 } },
        y: { field: "ms", type: "quantitative", title: "milliseconds", scale: { type: "log" } },
        color: peerColour(apps),
      },
    },
  });
}

function endToEnd(results: Results): Promise<string> {
  const peers = ["event-flow", "in-request", "limit"] as const;
  const values = peers.flatMap((peer) =>
    (endToEndOf(results, peer, 200)?.toHandled.curve ?? []).map((ms, index) => ({
      peer: titles[peer],
      // What was handled in the millisecond in which it was sent has no place on the axis.
      ms: Math.max(ms, 0.1),
      share: index / 2,
    })),
  );
  return draw({
    title: "From request to handled, at a constant 200 requests a second",
    width: 480,
    height: 260,
    data: { values },
    mark: { type: "line", interpolate: "step-after" },
    encoding: {
      x: { field: "ms", type: "quantitative", title: "milliseconds", scale: { type: "log" } },
      y: { field: "share", type: "quantitative", title: "handled within (% of the events)" },
      color: peerColour(peers),
      order: { field: "share" },
    },
  });
}

function drain(results: Results): Promise<string> {
  const values = results.plan.backlogs.map((backlog) => ({
    backlog,
    perSecond: drainOf(results, backlog).eventsPerSecond,
  }));
  const half = Math.max(bulkOf(results, 1), bulkOf(results, 16)) / 2;
  return draw({
    title: "Relay: how fast a backlog is published",
    width: 420,
    height: 260,
    layer: [
      {
        data: { values },
        mark: { type: "line", point: { color: colours["event-flow"] }, color: colours["event-flow"] },
        encoding: {
          x: {
            field: "backlog",
            type: "quantitative",
            title: "events in the outbox",
            scale: { type: "log" },
            axis: { values: [...results.plan.backlogs], format: "," },
          },
          y: { field: "perSecond", type: "quantitative", title: "events a second", scale: { domainMin: 0 } },
        },
      },
      {
        data: { values: [{ half, text: "half of the sidecar's bulk limit" }] },
        encoding: { y: { field: "half", type: "quantitative" } },
        layer: [
          { mark: { type: "rule", color: colours.limit, strokeDash: [4, 4] } },
          {
            mark: { type: "text", align: "right", x: "width", dy: -6, color: "#666666" },
            encoding: { text: { field: "text" } },
          },
        ],
      },
    ],
  });
}

function cpu(results: Results): Promise<string> {
  const values = peerNames.flatMap((peer) => {
    const measured = costliest(results, peer);
    const name = `${titles[peer]}, at ${measured?.rate ?? 0}/s`;
    return (measured?.costs ?? []).map(({ part, cpuSeconds }, index) => ({ peer: name, part, cpuSeconds, index }));
  });
  return draw({
    title: "CPU for 10,000 events, from request to handled",
    width: 480,
    height: 200,
    data: { values },
    mark: "bar",
    encoding: {
      x: { field: "cpuSeconds", type: "quantitative", title: "CPU seconds" },
      y: { field: "peer", type: "nominal", title: null, sort: null },
      color: { field: "part", type: "nominal", title: null, sort: null, scale: { scheme: "tableau10" } },
      order: { field: "index" },
    },
  });
}

function replicas(results: Results): Promise<string> {
  return draw({
    title: "Notification service: events handled a second, all on one machine",
    width: 420,
    height: 260,
    data: { values: [...results.replicas] },
    mark: { type: "line", point: { color: colours["event-flow"] }, color: colours["event-flow"] },
    encoding: {
      x: { field: "replicas", type: "ordinal", title: "replicas", axis: { labelAngle: 0 } },
      y: { field: "perSecond", type: "quantitative", title: "events a second", scale: { domainMin: 0 } },
    },
  });
}

/** All plots, by the names of their files. */
export async function drawPlots(results: Results): Promise<Readonly<Record<string, string>>> {
  return {
    "requests.svg": await requests(results),
    "latency.svg": await latency(results),
    "end-to-end.svg": await endToEnd(results),
    "drain.svg": await drain(results),
    "cpu.svg": await cpu(results),
    "replicas.svg": await replicas(results),
  };
}
