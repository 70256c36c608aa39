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

const seriesSchema = z.array(z.object({ metric: z.record(z.string(), z.string()) }));
const answerSchema = z.object({
  data: z.object({ result: seriesSchema }),
});
const alertsSchema = z.object({
  data: z.object({ alerts: z.array(z.object({ labels: z.record(z.string(), z.string()), state: z.string() })) }),
});

export interface Prometheus extends Server {
  /** The labels of what an expression comes to now. */
  query(expr: string): Promise<z.infer<typeof seriesSchema>>;
  /** The labels of each alert that fires. */
  firing(): Promise<Record<string, string>[]>;
}

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
  const get = async <T>(path: string, schema: z.ZodType<T>) => {
    const response = await fetch(`${url}/api/v1/${path}`);
    if (!response.ok) throw new Error(`Prometheus answered HTTP ${response.status}: ${await response.text()}`);
    return schema.parse(await response.json());
  };
  return {
    ...server,
    query: async (expr) =>
      (await get(`query?${new URLSearchParams({ query: expr }).toString()}`, answerSchema)).data.result,
    firing: async () =>
      (await get("alerts", alertsSchema)).data.alerts
        .filter(({ state }) => state === "firing")
        .map(({ labels }) => labels),
  };
}
