/** What Grafana shows. Plain data, so that a Prometheus of the tests can be asked for each figure. */
import { metrics } from "@event-flow/events";
import { jobs } from "./scraping.ts";

interface Query {
  readonly expr: string;
  /** What a line is called, by its labels. */
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  /** As Grafana calls it. */
  readonly unit: "s" | "short" | "ops" | "reqps" | "bytes" | "percentunit";
  readonly queries: readonly Query[];
  readonly description?: string;
}

/** Grafana's own: long enough for a rate, whatever the zoom and the interval between scrapes are. */
const window = "$__rate_interval";

const perSecond = (by: string, counter: string) => `sum by (${by}) (rate(${counter}[${window}]))`;
const quantile = (q: number, by: string, histogram: string) =>
  `histogram_quantile(${q}, sum by (${by}, le) (rate(${histogram}_bucket[${window}])))`;
const quantiles = (by: string, legend: string, histogram: string): Query[] =>
  [0.5, 0.99].map((q) => ({ expr: quantile(q, by, histogram), legend: `${legend} p${q * 100}` }));
/** Only of the services: others in the cluster have metrics of these names, too. */
const ofApps = (metric: string) => `${metric}{job="${jobs.apps}"}`;

const rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[] = [
  {
    title: "Events",
    panels: [
      {
        title: "Published and handled",
        unit: "ops",
        queries: [
          { expr: perSecond("type", metrics.published), legend: "{{type}} published" },
          { expr: perSecond("service, type", metrics.handled), legend: "{{type}} handled by {{service}}" },
        ],
      },
      {
        title: "From the change to its being handled",
        unit: "s",
        queries: quantiles("service", "{{service}}", metrics.endToEnd),
      },
      {
        title: "What handling came to",
        unit: "ops",
        description: "An event that comes again, or that is older than what was seen, changes nothing.",
        queries: [{ expr: perSecond("service, outcome", metrics.handled), legend: "{{service}} {{outcome}}" }],
      },
    ],
  },
  {
    title: "What waits",
    panels: [
      {
        title: "Age of the oldest event in the outbox",
        unit: "s",
        queries: [{ expr: `max(${metrics.outboxAge})`, legend: "oldest" }],
      },
      {
        title: "Events in the outbox",
        unit: "short",
        description: "Counted up to 10,000.",
        queries: [{ expr: `max(${metrics.outboxEvents})`, legend: "events" }],
      },
      {
        title: "Events in the broker that a subscriber has yet to take",
        unit: "short",
        queries: [
          { expr: `sum by (consumergroup, topic) (${metrics.consumerLag})`, legend: "{{consumergroup}} {{topic}}" },
        ],
      },
    ],
  },
  {
    title: "What goes wrong",
    panels: [
      {
        title: "Refused by the sidecar or the broker",
        unit: "ops",
        queries: [{ expr: perSecond("type", metrics.refused), legend: "{{type}}" }],
      },
      {
        title: "To be delivered again",
        unit: "ops",
        queries: [{ expr: perSecond("service, type", metrics.retried), legend: "{{service}} {{type}}" }],
      },
      {
        title: "Given up, as dead letters",
        unit: "ops",
        queries: [
          { expr: perSecond("service, type, reason", metrics.deadLettered), legend: "{{service}} {{type}} {{reason}}" },
        ],
      },
    ],
  },
  {
    title: "Reaching users",
    panels: [
      {
        title: "Delivered",
        unit: "ops",
        queries: [{ expr: perSecond("channel", metrics.channelDelivered), legend: "{{channel}}" }],
      },
      {
        title: "Waiting to be delivered",
        unit: "short",
        queries: [{ expr: `sum by (channel) (${metrics.channelWaiting})`, legend: "{{channel}}" }],
      },
      {
        title: "Attempts that failed",
        unit: "ops",
        queries: [
          { expr: perSecond("channel", metrics.channelRetried), legend: "{{channel}}, made again" },
          { expr: perSecond("channel", metrics.channelFailed), legend: "{{channel}}, given up" },
        ],
      },
    ],
  },
  {
    title: "Services",
    panels: [
      {
        title: "Requests by status",
        unit: "reqps",
        queries: [
          {
            expr: perSecond("service, status_code", ofApps(`${metrics.requestDuration}_count`)),
            legend: "{{service}} {{status_code}}",
          },
        ],
      },
      {
        title: "How long requests take, 99 in a hundred",
        unit: "s",
        queries: [
          {
            expr: `histogram_quantile(0.99, sum by (service, method, route, le) (rate(${ofApps(`${metrics.requestDuration}_bucket`)}[${window}])))`,
            legend: "{{service}} {{method}} {{route}}",
          },
        ],
      },
      {
        title: "Delay of the event loop, 99 in a hundred turns",
        unit: "s",
        queries: [{ expr: ofApps("nodejs_eventloop_lag_p99_seconds"), legend: "{{pod}}" }],
      },
      {
        title: "CPU",
        unit: "percentunit",
        queries: [
          { expr: `rate(process_cpu_seconds_total{job="${jobs.apps}"}[${window}])`, legend: "{{pod}}" },
          { expr: `rate(process_cpu_seconds_total{job="${jobs.sidecars}"}[${window}])`, legend: "{{pod}} sidecar" },
        ],
      },
      {
        title: "Memory",
        unit: "bytes",
        queries: [
          { expr: ofApps("process_resident_memory_bytes"), legend: "{{pod}}" },
          { expr: `process_resident_memory_bytes{job="${jobs.sidecars}"}`, legend: "{{pod}} sidecar" },
        ],
      },
      {
        title: "Sidecars: calls to publish, and deliveries",
        unit: "ops",
        description: "One call publishes many events.",
        queries: [
          {
            expr: perSecond("app_id, success", "dapr_component_pubsub_egress_bulk_count"),
            legend: "{{app_id}} published, success {{success}}",
          },
          {
            expr: perSecond("app_id, process_status", "dapr_component_pubsub_ingress_count"),
            legend: "{{app_id}} delivered, {{process_status}}",
          },
        ],
      },
    ],
  },
];

/** Grafana's grid has 24 columns: three panels beside each other. */
const size = { w: 8, h: 8 } as const;
const datasource = { type: "prometheus", uid: "${datasource}" };

function panels(): object[] {
  const made: object[] = [];
  let y = 0;
  for (const { title, panels: ofRow } of rows) {
    made.push({ id: made.length + 1, type: "row", title, collapsed: false, gridPos: { x: 0, y, w: 24, h: 1 } });
    ofRow.forEach((panel, index) => {
      const gridPos = { ...size, x: (index % 3) * size.w, y: y + 1 + Math.floor(index / 3) * size.h };
      made.push({
        id: made.length + 1,
        type: "timeseries",
        title: panel.title,
        ...(panel.description === undefined ? {} : { description: panel.description }),
        datasource,
        gridPos,
        fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
        options: { legend: { displayMode: "list", placement: "bottom" }, tooltip: { mode: "multi", sort: "desc" } },
        targets: panel.queries.map(({ expr, legend }, nth) => ({
          refId: String.fromCharCode("A".charCodeAt(0) + nth),
          datasource,
          expr,
          legendFormat: legend,
        })),
      });
    });
    y += 1 + Math.ceil(ofRow.length / 3) * size.h;
  }
  return made;
}

/** Every expression that the dashboard asks for. */
export const dashboardQueries: readonly string[] = rows.flatMap(({ panels: ofRow }) =>
  ofRow.flatMap(({ queries }) => queries.map(({ expr }) => expr)),
);

/** A dashboard as Grafana imports it (https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/). */
export const deliveryDashboard = {
  uid: "event-flow-delivery",
  title: "Event Flow: delivery",
  tags: ["event-flow"],
  schemaVersion: 39,
  editable: true,
  refresh: "30s",
  time: { from: "now-1h", to: "now" },
  templating: { list: [{ name: "datasource", label: "Data source", type: "datasource", query: "prometheus" }] },
  panels: panels(),
};
