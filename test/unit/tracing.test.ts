import { serviceKeys, services } from "@event-flow/events";
import { beforeAll, describe, expect, test } from "vitest";
import { devConfig, prodConfig, prodSecrets } from "./support/config.ts";
import { runProgram } from "./support/program.ts";
import type { Run } from "./support/pulumi.ts";

const stacks = [
  ["dev", "http://collector.observability:4318", devConfig, []],
  ["prod", "https://otlp.example.com", prodConfig, prodSecrets],
] as const;

describe.each(stacks)("stack %s that is told of a collector", (stack, endpoint, config, secretKeys) => {
  let plain: Run;
  let traced: Run;
  beforeAll(async () => {
    plain = await runProgram({ ...config }, stack, [...secretKeys]);
    traced = await runProgram(
      { ...config, "event-flow:otlpEndpoint": endpoint, "event-flow:traceRatio": "0.25" },
      stack,
      [...secretKeys],
    );
  }, 60_000);

  const tracingOf = (run: Run, name: string) =>
    (run.resource(`${name}-configuration-manifest`).inputs as { spec: { tracing?: unknown } }).spec.tracing;

  interface Deployment {
    spec: { template: { spec: { containers: { env: { name: string; value?: string }[] }[] } } };
  }
  const variables = (run: Run, name: string) => {
    const { spec } = run.resource(`${name}-deployment`).inputs as unknown as Deployment;
    return spec.template.spec.containers.flatMap(({ env }) => env).filter(({ name: each }) => each.startsWith("OTEL_"));
  };

  test.each(Object.values(services))("tells the sidecars of $name, who keep what their callers keep", ({ name }) => {
    const { host, protocol } = new URL(endpoint);
    expect(tracingOf(traced, name)).toEqual({
      samplingRate: "0.25",
      otel: { endpointAddress: host, isSecure: protocol === "https:", protocol: "http" },
    });
    expect(tracingOf(plain, name)).toBeUndefined();
  });

  test.each(serviceKeys.map((key) => services[key].name))("tells %s, by OpenTelemetry's own variables", (name) => {
    expect(variables(traced, name)).toEqual([
      { name: "OTEL_EXPORTER_OTLP_ENDPOINT", value: endpoint },
      { name: "OTEL_TRACES_SAMPLER", value: "parentbased_traceidratio" },
      { name: "OTEL_TRACES_SAMPLER_ARG", value: "0.25" },
    ]);
    expect(variables(plain, name)).toEqual([]);
  });
});
