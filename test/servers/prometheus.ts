import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { toolDir } from "../tools/index.ts";
import { prometheus } from "../tools/root-filesystems.ts";
import { capture } from "../tools/run.ts";
import { freePort } from "./ports.ts";
import { insideRoot, type Server, serverDir, startServer } from "./process.ts";

const inside = () => ({ root: join(toolDir(prometheus), "root") });

/** Runs promtool on these files, each a document by its name, and returns what it printed; rejects if it finds a fault. */
export async function promtool(files: Readonly<Record<string, object>>, args: string): Promise<string> {
  const dir = serverDir("promtool");
  try {
    writeFiles(dir, files);
    const [program = "", ...rest] = insideRoot(dir, `cd /mnt; exec promtool ${args} 2>&1`, inside());
    return await capture(program, rest);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function writeFiles(dir: string, files: Readonly<Record<string, object>>): void {
  for (const [name, document] of Object.entries(files)) {
    writeFileSync(join(dir, name), stringify(document, { aliasDuplicateObjects: false }));
  }
}

const labelsSchema = z.record(z.string(), z.string());
const seriesSchema = z.array(z.object({ metric: labelsSchema }));
const answerSchema = z.object({
  data: z.object({ result: seriesSchema }),
});
const alertsSchema = z.object({
  data: z.object({
    alerts: z.array(z.object({ labels: labelsSchema, state: z.enum(["pending", "firing"]), activeAt: z.string() })),
  }),
});
const targetsSchema = z.object({
  data: z.object({
    activeTargets: z.array(z.object({ labels: labelsSchema, health: z.string(), lastError: z.string() })),
  }),
});

/** What a Prometheus tells of what it sees. */
export interface PrometheusApi {
  /** The labels of what an expression comes to now. */
  query(expr: string): Promise<z.infer<typeof seriesSchema>>;
  /** The labels of each alert that fires. */
  firing(): Promise<Record<string, string>[]>;
  /** The labels of each alert that has fired since then, in milliseconds since 1970. */
  firedSince(time: number): Promise<Record<string, string>[]>;
  /** The labels of each alert whose condition has held since then or later, whether or not for long enough to fire. */
  raisedSince(time: number): Promise<Record<string, string>[]>;
  /** What it scrapes, and whether that answered. */
  targets(): Promise<z.infer<typeof targetsSchema>["data"]["activeTargets"]>;
}

/** The Prometheus at an address. */
export function prometheusAt(url: string): PrometheusApi {
  const get = async <T>(path: string, schema: z.ZodType<T>) => {
    const response = await fetch(`${url}/api/v1/${path}`);
    if (!response.ok) throw new Error(`Prometheus answered HTTP ${response.status}: ${await response.text()}`);
    return schema.parse(await response.json());
  };
  const alerts = async () => (await get("alerts", alertsSchema)).data.alerts;
  const query = async (expr: string) =>
    (await get(`query?${new URLSearchParams({ query: expr }).toString()}`, answerSchema)).data.result;
  return {
    query,
    firedSince: async (time) =>
      (await query(`last_over_time(ALERTS{alertstate="firing"}[${Date.now() - time + 1}ms])`)).map(
        ({ metric }) => metric,
      ),
    firing: async () => (await alerts()).filter(({ state }) => state === "firing").map(({ labels }) => labels),
    raisedSince: async (time) =>
      (await alerts()).filter(({ activeAt }) => Date.parse(activeAt) >= time).map(({ labels }) => labels),
    targets: async () => (await get("targets?state=active", targetsSchema)).data.activeTargets,
  };
}

export type Prometheus = Server & PrometheusApi;

/** A Prometheus with its configuration, `prometheus.yaml`, and the files that this names. */
export async function startPrometheus(files: Readonly<Record<string, object>>): Promise<Prometheus> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const dir = serverDir("prometheus");
  writeFiles(dir, files);
  const flags = `--config.file=/mnt/prometheus.yaml --storage.tsdb.path=/mnt/tsdb --web.listen-address=127.0.0.1:${port}`;
  const server = await startServer({
    name: "Prometheus",
    dir,
    command: insideRoot(dir, `exec prometheus ${flags}`, inside()),
    timeoutSeconds: 60,
    ready: async () => ((await fetch(`${url}/-/ready`)).ok ? true : undefined),
  });
  return { ...server, ...prometheusAt(url) };
}

/** Every so often, where a Prometheus is to tell within seconds. */
export const hurriedIntervals = { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" } as const;

const rulesSchema = z.looseObject({
  groups: z.array(z.looseObject({ rules: z.array(z.looseObject({ expr: z.string(), for: z.string().optional() })) })),
});

/** Alerts with their time shortened: two seconds for a minute, and four for a minute that a rate looks back. */
export function hurried(alertRules: unknown): object {
  const shorter = (each: number) => (_match: string, minutes: string) => `${Number(minutes) * each}s`;
  return {
    groups: rulesSchema.parse(alertRules).groups.map(({ rules, ...group }) => ({
      ...group,
      rules: rules.map((rule) => ({
        ...rule,
        expr: rule.expr.replaceAll(/(?<=\[)(\d+)m(?=\])/g, shorter(4)),
        ...(rule.for !== undefined && { for: rule.for.replace(/^(\d+)m$/, shorter(2)) }),
      })),
    })),
  };
}

/** Those of a dashboard's expressions that find nothing, with a rate's window of so many seconds. */
export async function findNothing(
  prometheus: PrometheusApi,
  expressions: readonly string[],
  window: string,
): Promise<string[]> {
  const found = await Promise.all(
    expressions.map(async (expr) => (await prometheus.query(expr.replaceAll("$__rate_interval", window))).length),
  );
  return expressions.filter((_expr, nth) => found[nth] === 0);
}

/** An alert as these tests speak of it: its name, and what it is about. */
export function alertName(labels: Readonly<Record<string, string>>): string {
  const about = ["service", "consumergroup", "channel", "type"].map((label) => labels[label]);
  return [labels["alertname"], about.find(Boolean)].filter(Boolean).join(" ");
}
