import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Cloud } from "./cloud.ts";
import type { Hardware } from "./hardware.ts";
import { HalfMade, resources } from "./resources.ts";
import { changes, check, UNKNOWN } from "./rules.ts";

const { fields } = resources["digitalocean:index/kubernetesCluster:KubernetesCluster"] ?? { fields: {} };
const nodePool = { name: "services", size: "s-2vcpu-4gb", autoScale: true, minNodes: 3, maxNodes: 5 };
const inputs = { name: "a", region: "fra1", version: "1.34.1-do.0", vpcUuid: UNKNOWN, nodePool };

describe("a cluster's inputs", () => {
  test("may be unknown yet", () => {
    expect(check(fields, inputs)).toEqual([]);
  });

  test("are refused when they are missing, of another type, or none of its inputs", () => {
    expect(
      check(fields, { ...inputs, region: undefined, ha: "yes", nodes: 3, maintenancePolicy: { day: "someday" } }),
    ).toEqual([
      { property: "nodes", reason: expect.stringContaining("unexpected argument") as string },
      { property: "region", reason: 'Missing required argument. The argument "region" is required' },
      { property: "ha", reason: "expected a boolean, got a string" },
      { property: "maintenancePolicy.day", reason: expect.stringContaining('got "someday"') as string },
    ]);
  });

  test.each([
    ["the most nodes", { nodePool: { ...nodePool, maxNodes: 8 } }, "nodePool.maxNodes", false],
    ["the nodes' size", { nodePool: { ...nodePool, size: "s-4vcpu-8gb" } }, "nodePool.size", true],
    ["the region", { region: "ams3" }, "region", true],
    ["the version", { version: "1.34.2-do.0" }, "version", false],
    ["the name", { name: "b" }, "name", false],
  ])("%s changed: is it another cluster?", (_what, changed, property, replaces) => {
    expect(changes(fields, inputs, { ...inputs, ...changed })).toEqual([{ property, kind: "update", replaces }]);
  });
});

describe("a call", () => {
  let cloud: Cloud;
  beforeEach(() => {
    cloud = new Cloud(mkdtempSync(join(tmpdir(), "event-flow-cloud-")));
    cloud.steer({ token: "right", kubernetesVersions: [], secondsToReady: 0, faults: [] });
  });
  afterEach(() => {
    rmSync(cloud.directory, { recursive: true });
  });

  test("with another token is refused", async () => {
    await expect(cloud.call("wrong", "GET", "/v2/vpcs")).rejects.toThrow(/401 .*Unable to authenticate you/);
  });

  test("too many is repeated, any other failure is not", async () => {
    const posts = { method: "POST", path: "^/v2/vpcs$" } as const;
    cloud.steer({ faults: [{ id: "rate", ...posts, status: 429, message: "API Rate limit exceeded.", times: 2 }] });
    await cloud.call("right", "POST", "/v2/vpcs");
    expect(cloud.calls).toEqual(["POST /v2/vpcs 429", "POST /v2/vpcs 429", "POST /v2/vpcs"]);
    cloud.steer({ faults: [{ id: "broken", ...posts, status: 500, message: "Server Error" }] });
    await expect(cloud.call("right", "POST", "/v2/vpcs")).rejects.toThrow("500");
    await cloud.call("right", "POST", "/v2/vpcs");
  });

  test("that fails once the cluster is there leaves it half made, by its id", async () => {
    const kubeconfig = { server: "https://127.0.0.1:6443", raw: "", ca: "", token: "" };
    const hardware = { kubeconfig: () => Promise.resolve(kubeconfig) } as Partial<Hardware> as Hardware;
    cloud.steer({ kubernetesVersions: ["1.34.1-do.0"] });
    const vpc = { id: "vpc", kind: "Vpc", inputs: { region: "fra1" }, made: {}, readyAt: 0 };
    cloud.put(vpc);
    const wanted = { ...inputs, name: "half-made", vpcUuid: vpc.id, registryIntegration: true };
    const { create } = resources["digitalocean:index/kubernetesCluster:KubernetesCluster"] ?? {};
    const error: unknown = await create?.({ cloud, token: "right", hardware }, wanted).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HalfMade);
    const { message, made } = error as HalfMade;
    expect(message).toMatch(/^Error enabling registry integration: POST .*: 412 .*no registry was found$/);
    expect(cloud.objects("KubernetesCluster").map(({ id }) => id)).toEqual([made.id]);
    expect(made.outputs).toMatchObject({ name: "half-made", status: "running" });
  });
});
