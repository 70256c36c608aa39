/** A real Prometheus beside the whole event flow as processes: what is killed makes its alert fire, and no other's. */
import { randomUUID } from "node:crypto";
import { metricsPath, services, subscribers, type ServiceKey } from "@event-flow/events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { alertRules } from "../../components/alerts.ts";
import { dashboardQueries } from "../../components/dashboard.ts";
import { jobs } from "../../components/scraping.ts";
import { waitFor } from "../tools/progress.ts";
import { call } from "./client.ts";
import { freePort } from "./ports.ts";
import { type Prometheus, startPrometheus } from "./prometheus.ts";
import { type Server } from "./process.ts";
import { type Service, startService } from "./service.ts";
import { startSystem, type System } from "./system.ts";

let system: System;
let exporter: Service;
let prometheus: Prometheus;

/** The alerts with their time shortened: two seconds for a minute, and four for a minute that a rate looks back. */
function hurried({ groups }: typeof alertRules): object {
  const shorter = (each: number) => (_match: string, minutes: string) => `${Number(minutes) * each}s`;
  return {
    groups: groups.map(({ rules, ...group }) => ({
      ...group,
      rules: rules.map((rule) => ({
        ...rule,
        expr: rule.expr.replaceAll(/(?<=\[)(\d+)m(?=\])/g, shorter(4)),
        ...(rule.for !== undefined && { for: rule.for.replace(/^(\d+)m$/, shorter(2)) }),
      })),
    })),
  };
}

const address = (url: string) => new URL(url).host;

/** What the program's configuration finds in a cluster, at the addresses that it has here. */
function scrapeConfigHere() {
  const targets = Object.entries(system.pods).flatMap(([service, pods]) =>
    pods.map(({ app, daprd }, nth) => {
      const { name } = services[service as ServiceKey];
      const labels = { namespace: "default", service: name, pod: `${name}-${nth}` };
      return { labels, app: address(app.url), sidecar: `127.0.0.1:${daprd.metricsPort ?? 0}` };
    }),
  );
  const job = (job_name: string, static_configs: object[]) => ({ job_name, metrics_path: metricsPath, static_configs });
  return {
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: ["alerts.yaml"],
    scrape_configs: [
      job(
        jobs.apps,
        targets.map(({ labels, app }) => ({ targets: [app], labels })),
      ),
      job(
        jobs.sidecars,
        targets.map(({ labels, sidecar }) => ({ targets: [sidecar], labels })),
      ),
      job(jobs.broker, [{ targets: [address(exporter.url)] }]),
    ],
  };
}

beforeAll(async () => {
  system = await startSystem({ metrics: true, mail: true });
  const GROUPS = subscribers.map(({ appId }) => appId).join(",");
  exporter = await startService(
    "service",
    await freePort(),
    { BROKERS: system.kafka.brokers, GROUPS },
    { entry: "src/lag-exporter.ts" },
  );
  prometheus = await startPrometheus({ "prometheus.yaml": scrapeConfigHere(), "alerts.yaml": hurried(alertRules) });
});

afterAll(async () => {
  await Promise.all([prometheus.stop(), exporter.stop()]);
  await system.stop();
});

async function createTask(): Promise<void> {
  const user = randomUUID();
  const url = `${system.pods.backend[0]?.app.url ?? ""}/api/${user}/tasks`;
  expect((await call("POST", url, { user, body: { title: "Watch" } })).status).toBe(201);
}

/** What fires, each with its service or type. */
async function firing(): Promise<string[]> {
  const alerts = await prometheus.firing();
  return alerts
    .map(({ alertname = "", service, type }) => [alertname, service ?? type].filter(Boolean).join(" "))
    .sort();
}

const calm = (what: string) => {
  let seen: string[] = [];
  return waitFor(
    `no alert to fire ${what}`,
    120,
    async () => {
      seen = await firing();
      return seen.length === 0 ? true : undefined;
    },
    () => seen.join("\n"),
  );
};

test("every figure of the dashboard is there once events went through, and no alert is", async () => {
  await createTask();
  const missing = async () => {
    const found = await Promise.all(
      dashboardQueries.map(async (expr) => (await prometheus.query(expr.replaceAll("$__rate_interval", "30s"))).length),
    );
    return dashboardQueries.filter((_expr, nth) => found[nth] === 0);
  };
  let left: string[] = [];
  await waitFor(
    "all figures",
    60,
    async () => {
      left = await missing();
      return left.length === 0 ? true : undefined;
    },
    () => left.join("\n"),
  );
  await calm("in a healthy system");
});

interface Kill {
  readonly what: string;
  readonly victim: () => Server | undefined;
  /** What fires. */
  readonly right: readonly string[];
  /** What may fire besides, sooner or later. */
  readonly besides?: readonly string[];
}

const kills: readonly Kill[] = [
  {
    what: "a sidecar",
    victim: () => system.pods.notificationService[0]?.daprd,
    right: ["EventFlowSidecarDown notification-service"],
    besides: ["EventFlowConsumerStalled"],
  },
  {
    what: "a service",
    victim: () => system.pods.notificationService[0]?.app,
    right: ["EventFlowAppDown notification-service"],
    besides: ["EventFlowConsumerStalled"],
  },
  {
    what: "the state store",
    victim: () => system.valkey,
    right: ["EventFlowRetriesPersist notification-service"],
    besides: ["EventFlowConsumerStalled"],
  },
  {
    what: "the broker",
    victim: () => system.kafka,
    right: ["EventFlowBrokerUnreachable", "EventFlowEventsWait", "EventFlowPublishingRefused task_created"],
  },
];

test.each(kills)("the death of $what makes the right alert fire", async ({ victim, right, besides = [] }) => {
  await victim()?.kill();
  await createTask();
  let seen: string[] = [];
  await waitFor(
    right.join(", "),
    90,
    async () => {
      seen = await firing();
      const wrong = seen.filter((each) => !right.includes(each) && !besides.includes(each));
      // Late deliveries of the kill before end within moments.
      return right.every((each) => seen.includes(each)) && wrong.length === 0 ? true : undefined;
    },
    () => `firing: ${seen.join(", ")}`,
  );
  await victim()?.start();
  await calm("any more");
});
