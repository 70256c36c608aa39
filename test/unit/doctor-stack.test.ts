/** What the doctor reads of a stack's state, as the program makes it. */
import { components, services } from "@event-flow/events";
import { describe, expect, test } from "vitest";
import { readStack } from "../../commands/doctor/stack.ts";
import { devConfig, prodConfig, prodSecrets } from "./support/config.ts";
import { runProgram } from "./support/program.ts";
import { Secret } from "./support/pulumi.ts";

/** As `pulumi stack export` has values that are encrypted. */
function encrypt(value: unknown): unknown {
  if (value instanceof Secret) return { "4dabf18193072939515e22adb298388d": "1b47", ciphertext: "v1:abc" };
  if (Array.isArray(value)) return value.map(encrypt);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, encrypt(each)]));
}

describe.each([
  ["dev", devConfig, [] as string[], "default"],
  ["prod", prodConfig, prodSecrets, "event-flow"],
])("stack %s", (name, config, secretKeys, namespace) => {
  test("has workloads with what the injector is told, Components with their scopes, secrets and CRDs", async () => {
    const { resources } = await runProgram(config, name, secretKeys);
    const stack = readStack(
      { deployment: { resources: resources.map(({ type, inputs }) => ({ type, inputs: encrypt(inputs) })) } },
      namespace,
    );
    for (const service of Object.values(services)) {
      const made = stack.workloads.find((workload) => workload.name === service.name);
      expect(made).toMatchObject({
        kind: "deployment",
        replicas: name === "dev" ? 1 : 2,
        annotations: { "dapr.io/app-id": service.appId, "dapr.io/app-port": String(service.port) },
      });
    }
    expect(stack.workloads.map((workload) => workload.name)).toContain("lag-exporter");
    expect(stack.components).toContainEqual(
      expect.objectContaining({ name: components.pubsub, scopes: Object.values(services).map(({ appId }) => appId) }),
    );
    const pubsub = stack.components.find((component) => component.name === components.pubsub);
    expect(pubsub?.metadata.map((item) => item.name)).toContain("brokers");
    expect(stack.secrets).toEqual(expect.arrayContaining(["todo-secrets", "redis-credentials"]));
    expect(stack.crds.length).toBeGreaterThan(0);
    expect(JSON.stringify(stack)).not.toContain("ciphertext");
  });
});

test("a stack without resources is told as such", () => {
  expect(() => readStack({ deployment: {} }, "default")).toThrow("the stack has no resources");
});
