import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type OtlpSink, startOtlpSink } from "../../../test/servers/otlp-sink.ts";
import { users } from "../../../test/servers/token.ts";
import { ConfigError, createApp, inSpan, openTracing, readEnvironment, type TracingConfig } from "../src/index.ts";
import { tracingEnvironment } from "../src/tracing.ts";

const secret = "a-password-of-the-database";

describe("the environment", () => {
  const read = (environment: NodeJS.ProcessEnv) => readEnvironment(tracingEnvironment(), environment);

  test("need say nothing", () => {
    expect(read({})).toEqual({});
  });

  test("is read as OpenTelemetry does", () => {
    expect(
      read({
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318",
        OTEL_SERVICE_NAME: "tasks",
        OTEL_TRACES_SAMPLER: "traceidratio",
        OTEL_TRACES_SAMPLER_ARG: ".5",
      }),
    ).toMatchObject({ OTEL_SERVICE_NAME: "tasks", OTEL_TRACES_SAMPLER_ARG: 0.5 });
  });

  test("is refused where it's wrong", () => {
    const wrong = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4318",
      OTEL_SERVICE_NAME: "",
      OTEL_TRACES_SAMPLER: "sometimes",
      OTEL_TRACES_SAMPLER_ARG: "1.1",
    };
    expect(() => read(wrong)).toThrow(
      new ConfigError(`The environment is not valid:
  OTEL_EXPORTER_OTLP_ENDPOINT is "collector:4318"; it must be a URL like http://collector:4318
  OTEL_SERVICE_NAME is ""; it must not be empty
  OTEL_TRACES_SAMPLER is "sometimes"; it must be one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio
  OTEL_TRACES_SAMPLER_ARG is "1.1"; it must be a number from 0 to 1`),
    );
  });
});

test("without a collector nothing is traced", async () => {
  expect(await openTracing("tasks", {})).toBeUndefined();
});

describe("an app", () => {
  let sink: OtlpSink;
  beforeEach(async () => {
    sink = await startOtlpSink();
  });
  afterEach(() => {
    sink.stop();
  });

  const start = async (config: TracingConfig = {}) => {
    const tracing = await openTracing("tasks", { OTEL_EXPORTER_OTLP_ENDPOINT: sink.url, ...config });
    const app = await createApp({
      title: "Tasks",
      description: "",
      logLevel: "silent",
      users,
      appApiToken: "fedcba9876543210fedcba9876543210",
      secrets: [secret],
      readiness: {},
      tracing,
    });
    app.post("/tasks/:id", ({ id }) =>
      inSpan(
        tracing,
        () => ({ name: "save", kind: "client", parent: id }),
        () => Promise.resolve({}),
      ),
    );
    app.get("/broken", () =>
      inSpan(
        tracing,
        () => ({ name: "break", kind: "client" }),
        () => Promise.reject(new Error(`no ${secret} for you`)),
      ),
    );
    return app;
  };
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const from = (flags: string) => ({ traceparent: `00-${traceId}-b7ad6b7169203331-${flags}` });

  test("tells of each request, by its route, when it closes at the latest", async () => {
    const app = await start();
    await app.inject({ method: "POST", url: "/tasks/5?x=1", headers: from("01"), payload: {} });
    await app.close();
    const [save, request] = sink.spans;
    expect(request).toMatchObject({ traceId, parentSpanId: "b7ad6b7169203331", name: "POST /tasks/:id" });
    expect(save).toMatchObject({ traceId, parentSpanId: request?.spanId, name: "save" });
    expect(sink.spans).toHaveLength(2);
  });

  test("shows what failed, without a secret", async () => {
    const app = await start();
    await app.inject({ method: "GET", url: "/broken" });
    await app.close();
    expect(sink.spans.map(({ name, status }) => [name, status])).toEqual([
      ["break", { code: 2, message: "no [redacted] for you" }],
      ["GET /broken", { code: 2, message: "HTTP 500" }],
    ]);
  });

  test("tells nothing of probes", async () => {
    const app = await start();
    for (const url of ["/health", "/ready?", "/metrics", "/dapr/config"]) await app.inject({ method: "GET", url });
    await app.close();
    expect(sink.spans).toEqual([]);
  });

  test.each<[expected: number, sampler: TracingConfig, flags: string]>([
    [0, {}, "00"],
    [2, { OTEL_TRACES_SAMPLER: "always_on" }, "00"],
    [0, { OTEL_TRACES_SAMPLER: "always_off" }, "01"],
    [0, { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: 0 }, "01"],
    [2, { OTEL_TRACES_SAMPLER: "parentbased_always_off" }, "01"],
    [2, { OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: 0 }, "01"],
  ])("tells of %i spans with %j for a caller's flags %s", async (expected, sampler, flags) => {
    const app = await start(sampler);
    await app.inject({ method: "POST", url: "/tasks/5", headers: from(flags), payload: {} });
    await app.close();
    expect(sink.spans).toHaveLength(expected);
  });

  test("closes in time when the collector never answers", async () => {
    sink.freeze();
    const app = await start();
    await app.inject({ method: "POST", url: "/tasks/5", payload: {} });
    const begun = performance.now();
    await app.close();
    expect(performance.now() - begun).toBeLessThan(4_500);
  });
});
