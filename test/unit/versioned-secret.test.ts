import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { VersionedSecret } from "../../components/versioned-secret.ts";
import { run, Secret } from "./support/pulumi.ts";

const make = (data: Record<string, pulumi.Input<string>>, name = "credentials") =>
  run(() => {
    const { secretName, revision } = new VersionedSecret(name, { namespace: "default", secretName: "redis", data });
    return { secretName, revision };
  });
const revisionOf = async (...args: Parameters<typeof make>) => (await make(...args)).outputs["revision"];

test("is a Kubernetes secret", async () => {
  const { resource, outputs } = await make({ password: pulumi.secret("hunter2") });
  expect(resource("credentials-secret").inputs).toMatchObject({
    metadata: { name: "redis", namespace: "default" },
    stringData: new Secret({ password: "hunter2" }),
  });
  expect(outputs["secretName"]).toBe("redis");
});

test("has a revision, no secret, that changes exactly when a value does", async () => {
  const revision = await revisionOf({ host: "redis:6379", password: pulumi.secret("hunter2") });
  expect(revision).toMatch(/^[0-9a-f]{16}$/);
  expect(await revisionOf({ password: pulumi.secret("hunter2"), host: "redis:6379" })).toBe(revision);
  expect(await revisionOf({ host: "redis:6379", password: pulumi.secret("hunter3") })).not.toBe(revision);
  expect(await revisionOf({ host: "redis:6379", secret: pulumi.secret("hunter2") })).not.toBe(revision);
});

test("has a revision that can't be had from the values alone", async () => {
  // The key that it is made with is another for another name here, as it is for another stack.
  expect(await revisionOf({ password: "hunter2" }, "others")).not.toBe(await revisionOf({ password: "hunter2" }));
});
