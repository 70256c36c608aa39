import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { otelCollector } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { freePort } from "./ports.ts";
import { type Server, serverDir, startServer } from "./process.ts";

const attributesSchema = z
  .array(z.object({ key: z.string(), value: z.looseObject({ stringValue: z.string().optional() }) }))
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value.stringValue])));

/** A batch of spans, as a line of the collector's file has it (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). */
const batchSchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: attributesSchema }),
      scopeSpans: z.array(
        z.object({
          scope: z.object({ name: z.string() }),
          spans: z.array(
            z.object({
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().default(""),
              name: z.string(),
              kind: z.int(),
              attributes: attributesSchema,
              status: z.object({ code: z.int().default(0), message: z.string().default("") }),
              links: z.array(z.object({ traceId: z.string(), spanId: z.string() })).default([]),
            }),
          ),
        }),
      ),
    }),
  ),
});

type BatchedSpan = z.infer<typeof batchSchema>["resourceSpans"][number]["scopeSpans"][number]["spans"][number];

export interface CollectedSpan extends BatchedSpan {
  /** What made it: a service, or a sidecar by its app id. */
  readonly service: string | undefined;
  /** The library that made it. */
  readonly scope: string;
}

/** The numbers of OTLP's enums. */
export const kinds = { server: 2, client: 3, producer: 4, consumer: 5 } as const;
export const statusError = 2;

export interface OtelCollector extends Server {
  /** Where it takes OTLP over HTTP. */
  readonly url: string;
  /** All that it got so far. */
  spans(): CollectedSpan[];
}

/** https://opentelemetry.io/docs/collector/ */
export async function startOtelCollector(): Promise<OtelCollector> {
  const port = await freePort();
  const dir = serverDir("otel-collector");
  const [config, file] = [join(dir, "config.yaml"), join(dir, "spans.jsonl")];
  writeFileSync(
    config,
    stringify({
      receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}` } } } },
      exporters: { file: { path: file, append: true, flush_interval: "100ms" } },
      service: { pipelines: { traces: { receivers: ["otlp"], exporters: ["file"] } } },
    }),
  );
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer({
    name: "the OpenTelemetry Collector",
    dir,
    command: [join(toolDir(otelCollector), "otel-collector"), `--config=${config}`],
    timeoutSeconds: 30,
    ready: async () => {
      const headers = { "content-type": "application/json" };
      return (await fetch(`${url}/v1/traces`, { method: "POST", headers, body: "{}" })).ok ? true : undefined;
    },
  });
  return {
    ...server,
    url,
    spans: () => {
      // The last line may be half written.
      const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
      return lines.flatMap((line) =>
        batchSchema
          .parse(JSON.parse(line))
          .resourceSpans.flatMap(({ resource, scopeSpans }) =>
            scopeSpans.flatMap(({ scope, spans }) =>
              spans.map((span) => ({ ...span, scope: scope.name, service: resource.attributes["service.name"] })),
            ),
          ),
      );
    },
  };
}
