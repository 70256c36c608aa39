import { secrets, services } from "@event-flow/events";
import { expect, test } from "vitest";
import { devConfig } from "./support/config.ts";
import { runProgram } from "./support/program.ts";

/** What a stack has of keys that sign users' tokens, and whether its services' pods are others. */
async function keysOf(generation?: number) {
  const config = generation === undefined ? {} : { "event-flow:jwtKeyGeneration": String(generation) };
  const { resources, resource } = await runProgram({ ...devConfig, ...config });
  const { stringData } = resource("secrets-todo-secret").inputs as { stringData: { value: Record<string, string> } };
  const { jwtSecret, jwtSecretPrevious } = secrets.todo.keys;
  return {
    made: resources.map(({ name }) => name).filter((name) => name.startsWith("secrets-jwt")),
    current: stringData.value[jwtSecret],
    previous: stringData.value[jwtSecretPrevious],
    pods: Object.values(services).map(({ name }) => {
      const { spec } = resource(`${name}-deployment`).inputs as {
        spec: { template: { metadata: unknown; spec: { containers: { env: { name: string }[] }[] } } };
      };
      const [container] = spec.template.spec.containers;
      return {
        variables: container?.env.map((variable) => variable.name).filter((variable) => variable.startsWith("JWT_")),
        metadata: JSON.stringify(spec.template.metadata),
      };
    }),
  };
}

test("a new key signs tokens, and the one before stays for those that it signed", { timeout: 120_000 }, async () => {
  const [byDefault, first, second, third] = [await keysOf(), await keysOf(1), await keysOf(2), await keysOf(3)];
  expect(first).toEqual(byDefault);
  expect(first).toMatchObject({ made: ["secrets-jwt"], current: "<secrets-jwt>", previous: undefined });
  expect(second).toMatchObject({
    made: ["secrets-jwt-2", "secrets-jwt"],
    current: "<secrets-jwt-2>",
    previous: "<secrets-jwt>",
  });
  expect(third).toMatchObject({
    made: ["secrets-jwt-3", "secrets-jwt-2"],
    current: "<secrets-jwt-3>",
    previous: "<secrets-jwt-2>",
  });
  for (const { variables } of first.pods) expect(variables).toEqual(["JWT_SECRET"]);
  for (const { variables } of second.pods) expect(variables).toEqual(["JWT_SECRET", "JWT_SECRET_PREVIOUS"]);
  // Each service reads its keys only at its start.
  for (const [nth, { metadata }] of second.pods.entries()) expect(metadata).not.toBe(first.pods[nth]?.metadata);
});

test("how much a user may ask for is the stack's to say", async () => {
  const { resource } = await runProgram({ ...devConfig, "event-flow:requestsPerMinute": "60" });
  expect(JSON.stringify(resource("backend-deployment").inputs)).toContain(
    '{"name":"RATE_LIMIT_PER_MINUTE","value":"60"}',
  );
});
