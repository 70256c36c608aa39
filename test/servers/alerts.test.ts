/** When each alert fires and when it stays silent, as promtool works it out; each sample is 15 s after the one before. */
import { metrics, services } from "@event-flow/events";
import { describe, expect, test } from "vitest";
import { alertRules, alerts } from "../../components/alerts.ts";
import { jobs, scrapeConfig } from "../../components/scraping.ts";
import { promtool } from "./prometheus.ts";

interface Case {
  readonly when: string;
  /** Each metric with its samples, in promtool's shorthand: `0x8 1+5x20` is nine times 0, then 1, 6, 11 and so on. */
  readonly series: Readonly<Record<string, string>>;
  /** The times at which nothing fires. */
  readonly silentAt: readonly string[];
  /** @default it never fires */
  readonly fires?: {
    readonly at: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly summary: string;
  };
}

const own = { service: "notification-service", type: "task_created" };
const labelled = (metric: string, labels: Readonly<Record<string, string>>) =>
  `${metric}{${Object.entries(labels)
    .map(([key, value]) => `${key}="${value}"`)
    .join(",")}}`;

const partition = (metric: string) =>
  labelled(metric, { consumergroup: "notification-service", topic: "task-events.task_created", partition: "0" });
const group = { consumergroup: "notification-service", topic: "task-events.task_created" };

const target = (job: string, service: string) => ({ job, service, namespace: "default", pod: `${service}-1` });
const app = (service: string) => labelled("up", target(jobs.apps, service));
const sidecar = (service: string) => labelled("up", target(jobs.sidecars, service));
const allUp = Object.fromEntries(
  Object.values(services).flatMap(({ name }) => [
    [app(name), "1x60"],
    [sidecar(name), "1x60"],
  ]),
);
const without = (gone: string) => Object.fromEntries(Object.entries(allUp).filter(([series]) => series !== gone));

const latency = (le: string) => labelled(`${metrics.endToEnd}_bucket`, { ...own, le });

const cases: Readonly<Record<string, readonly Case[]>> = {
  EventFlowEventsWait: [
    {
      when: "the oldest grows old at one replica's scrape",
      series: {
        [labelled(metrics.outboxAge, { pod: "backend-1" })]: "0x8 31+15x20",
        [labelled(metrics.outboxAge, { pod: "backend-2" })]: "0x28",
      },
      silentAt: ["2m", "3m"],
      fires: { at: "3m30s", labels: { severity: "critical" }, summary: "Events wait to be published" },
    },
    {
      when: "a restart of the broker is over soon",
      series: { [metrics.outboxAge]: "0x8 20 35 0x40" },
      silentAt: ["4m"],
    },
  ],
  EventFlowPublishingRefused: [
    {
      when: "one attempt after the other fails",
      series: {
        [labelled(metrics.refused, { type: "task_created" })]: "0x8 1+1x40",
        [labelled(metrics.refused, { type: "task_deleted" })]: "0x50",
      },
      silentAt: ["4m"],
      fires: {
        at: "5m",
        labels: { severity: "warning", type: "task_created" },
        summary: "Events of type task_created are refused by the sidecar or the broker",
      },
    },
    {
      when: "a single one failed",
      series: { [labelled(metrics.refused, { type: "task_created" })]: "0x8 1x40" },
      silentAt: ["3m", "4m30s", "6m"],
    },
  ],
  EventFlowEventsDeadLettered: [
    {
      when: "one event is given up",
      series: { [labelled(metrics.deadLettered, { ...own, reason: "failed" })]: "0x8 1x100" },
      silentAt: ["2m", "20m"],
      fires: {
        at: "3m",
        labels: { severity: "warning", ...own },
        summary: "notification-service gave up on events of type task_created",
      },
    },
  ],
  EventFlowRetriesPersist: [
    {
      when: "an event is tried again and again",
      series: { [labelled(metrics.retried, own)]: "0x8 1+5x60" },
      silentAt: ["2m", "12m"],
      fires: {
        at: "12m30s",
        labels: { severity: "warning", ...own },
        summary: "notification-service can't handle events of type task_created",
      },
    },
    {
      when: "a backing service was away for a minute",
      series: { [labelled(metrics.retried, own)]: "0x8 1+5x4 25x80" },
      silentAt: ["3m", "12m30s", "15m"],
    },
  ],
  EventFlowChannelDown: [
    {
      when: "every attempt fails",
      series: {
        [labelled(metrics.channelRetried, { channel: "email", pod: "a" })]: "0x8 1+1x120",
        [labelled(metrics.channelDelivered, { channel: "email", pod: "a" })]: "0x128",
      },
      silentAt: ["2m", "11m"],
      fires: {
        at: "13m",
        labels: { severity: "warning", channel: "email" },
        summary: "Nothing is delivered by email",
      },
    },
    {
      when: "some fail, and others are delivered by another replica",
      series: {
        [labelled(metrics.channelRetried, { channel: "email", pod: "a" })]: "0x8 1+1x120",
        [labelled(metrics.channelDelivered, { channel: "email", pod: "b" })]: "0+1x128",
      },
      silentAt: ["13m", "25m"],
    },
    {
      when: "nothing is to be delivered",
      series: {
        [labelled(metrics.channelRetried, { channel: "email" })]: "0x128",
        [labelled(metrics.channelDelivered, { channel: "email" })]: "0x128",
      },
      silentAt: ["13m", "25m"],
    },
  ],
  EventFlowConsumerLagGrows: [
    {
      when: "more events come than are handled",
      series: { [partition(metrics.consumerLag)]: "0+20x100" },
      silentAt: ["1m", "11m"],
      fires: {
        at: "12m",
        labels: { severity: "warning", ...group },
        summary: "notification-service falls behind on task-events.task_created",
      },
    },
    {
      when: "a backlog is worked off",
      series: { [partition(metrics.consumerLag)]: "5000-20x100" },
      silentAt: ["5m", "12m", "20m"],
    },
  ],
  EventFlowConsumerStalled: [
    {
      when: "events wait and none is taken",
      series: { [partition(metrics.consumerLag)]: "5x100", [partition(metrics.consumerOffset)]: "7x100" },
      silentAt: ["9m"],
      fires: {
        at: "11m",
        labels: { severity: "critical", ...group },
        summary: "notification-service handles nothing of task-events.task_created",
      },
    },
    {
      when: "events wait, but others are taken",
      series: { [partition(metrics.consumerLag)]: "5x100", [partition(metrics.consumerOffset)]: "7+1x100" },
      silentAt: ["11m", "20m"],
    },
    {
      when: "nothing happens at all",
      series: { [partition(metrics.consumerLag)]: "0x100", [partition(metrics.consumerOffset)]: "7x100" },
      silentAt: ["11m", "20m"],
    },
  ],
  EventFlowEndToEndLatencyHigh: [
    {
      when: "events take up to ten seconds",
      series: { [latency("1")]: "0x60", [latency("10")]: "0+10x60", [latency("+Inf")]: "0+10x60" },
      silentAt: ["4m"],
      fires: {
        at: "6m",
        labels: { severity: "warning", service: own.service },
        summary: "Events reach notification-service late",
      },
    },
    {
      when: "events take up to a second",
      series: { [latency("1")]: "0+10x60", [latency("10")]: "0+10x60", [latency("+Inf")]: "0+10x60" },
      silentAt: ["6m", "10m"],
    },
  ],
  EventFlowAppDown: [
    {
      when: "one doesn't answer",
      series: { ...allUp, [app("backend")]: "1x8 0x50" },
      silentAt: ["2m", "4m"],
      fires: {
        at: "5m",
        labels: { severity: "critical", ...target(jobs.apps, "backend") },
        summary: "backend is down",
      },
    },
    {
      when: "there is no pod",
      series: without(app("notification-service")),
      silentAt: ["1m"],
      fires: {
        at: "3m",
        labels: { severity: "critical", job: jobs.apps, service: "notification-service" },
        summary: "notification-service is down",
      },
    },
    { when: "all answer", series: allUp, silentAt: ["5m", "10m"] },
  ],
  EventFlowSidecarDown: [
    {
      when: "it doesn't answer",
      series: { ...allUp, [sidecar("backend")]: "1x8 0x50" },
      silentAt: ["2m", "4m"],
      fires: {
        at: "5m",
        labels: { severity: "critical", ...target(jobs.apps, "backend") },
        summary: "The sidecar of backend is down or missing",
      },
    },
    {
      when: "the injector let the pod start without one",
      series: without(sidecar("notification-service")),
      silentAt: ["1m"],
      fires: {
        at: "3m",
        labels: { severity: "critical", ...target(jobs.apps, "notification-service") },
        summary: "The sidecar of notification-service is down or missing",
      },
    },
    {
      when: "its app doesn't answer either",
      series: { ...allUp, [app("backend")]: "1x8 0x50", [sidecar("backend")]: "1x8 0x50" },
      silentAt: ["5m", "10m"],
    },
  ],
  EventFlowBrokerUnreachable: [
    {
      when: "there are no brokers",
      series: { [metrics.brokers]: "1x8 0x50" },
      silentAt: ["2m", "4m"],
      fires: { at: "5m", labels: { severity: "critical" }, summary: "The broker doesn't answer" },
    },
    {
      when: "nobody says whether there are any",
      series: {},
      silentAt: ["1m"],
      fires: { at: "3m", labels: { severity: "critical" }, summary: "The broker doesn't answer" },
    },
    { when: "there is one", series: { [metrics.brokers]: "1x60" }, silentAt: ["5m", "10m"] },
  ],
};

/** Of the annotations, the summary is what is compared; that the others are sound is looked at below. */
const rules = {
  groups: [
    {
      name: "event-flow",
      rules: alerts.map(({ annotations: { summary }, ...rule }) => ({ ...rule, annotations: { summary } })),
    },
  ],
};

test("each alert is proven to fire", () => {
  const proven = Object.entries(cases).filter(([, each]) => each.some(({ fires }) => fires !== undefined));
  expect(proven.map(([alert]) => alert).sort()).toEqual(alerts.map(({ alert }) => alert).sort());
});

describe.each(Object.entries(cases))("%s", (alertname, each) => {
  test.each(each)("$when", async ({ series, silentAt, fires }) => {
    const silent = silentAt.map((eval_time) => ({ eval_time, alertname, exp_alerts: [] as object[] }));
    const fired =
      fires === undefined
        ? []
        : [
            {
              eval_time: fires.at,
              alertname,
              exp_alerts: [{ exp_labels: fires.labels, exp_annotations: { summary: fires.summary } }],
            },
          ];
    const input_series = Object.entries(series).map(([name, values]) => ({ series: name, values }));
    const tests = [{ interval: "15s", input_series, alert_rule_test: [...silent, ...fired] }];
    const files = {
      "alerts.yaml": rules,
      "tests.yaml": { rule_files: ["alerts.yaml"], evaluation_interval: "15s", tests },
    };
    expect(await promtool(files, "test rules tests.yaml")).toContain("SUCCESS");
  });
});

test("what the program emits is sound to promtool, in the file's syntax and in the text of each alert", async () => {
  const printed = await promtool(
    { "prometheus.yaml": scrapeConfig("default"), "alerts.yaml": alertRules },
    "check config prometheus.yaml",
  );
  expect(printed).toContain(`SUCCESS: ${alerts.length} rules found`);
});
