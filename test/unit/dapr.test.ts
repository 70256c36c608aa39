import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { DaprControlPlane, readCrds } from "../../components/dapr.ts";
import { fixture } from "./support/config.ts";
import { run } from "./support/pulumi.ts";
import { temporaryFolder } from "./support/folder.ts";

const chart = temporaryFolder();

afterEach(() => {
  vi.unstubAllGlobals();
});

const crd = (name: string) =>
  `apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: { name: ${name} }\nspec: { group: dapr.io }`;

test("the official chart is taken from Dapr's repository at the pinned version", async () => {
  const { resource } = await run(() => new DaprControlPlane("dapr", { chart: { from: "official" }, crds: [] }));
  expect(resource("dapr-release").inputs).toMatchObject({
    chart: "dapr",
    version: "1.18.0",
    repositoryOpts: { repo: "https://dapr.github.io/helm-charts/" },
    skipCrds: true,
  });
});

describe("CRDs", () => {
  test("come with the official chart, from the release's tag", async () => {
    const asked: string[] = [];
    vi.stubGlobal("fetch", (url: string) => {
      asked.push(url);
      return Promise.resolve(new Response(crd(path.basename(url, ".yaml"))));
    });
    const names = (await readCrds({ from: "official" })).map(({ metadata }) => metadata.name);
    const kinds = ["components", "configuration", "httpendpoints", "mcpservers", "resiliency", "subscription"];
    expect(names).toEqual([...kinds, "workflowaccesspolicy"]);
    expect(asked[0]).toBe("https://raw.githubusercontent.com/dapr/dapr/v1.18.0/charts/dapr/crds/components.yaml");
  });

  test("come with a chart in a directory", async () => {
    const crds = await readCrds({ from: "directory", path: fixture("dapr-chart") });
    expect(crds.map(({ metadata }) => metadata.name)).toEqual(["components.dapr.io", "subscriptions.dapr.io"]);
  });

  test("that can't be downloaded are told with a way round", async () => {
    const url = "https://raw.githubusercontent.com/dapr/dapr/v1.18.0/charts/dapr/crds/components.yaml";
    const wayRound =
      "Where there is no way to it, name a directory with Dapr's Helm chart: " +
      "pulumi config set event-flow:daprChart <directory>";
    vi.stubGlobal("fetch", () => Promise.resolve(new Response("not here", { status: 404 })));
    await expect(readCrds({ from: "official" })).rejects.toThrow(
      `Dapr's CRDs could not be read: ${url} answered HTTP 404.\n${wayRound}`,
    );
    const cause = new Error("getaddrinfo ENOTFOUND raw.githubusercontent.com");
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("fetch failed", { cause })));
    await expect(readCrds({ from: "official" })).rejects.toThrow(
      `Dapr's CRDs could not be read: ${url} answered ${cause.message}.\n${wayRound}`,
    );
  });

  test("that are something else are refused", async () => {
    mkdirSync(path.join(chart, "crds"));
    writeFileSync(path.join(chart, "crds", "components.yaml"), "kind: ConfigMap");
    await expect(readCrds({ from: "directory", path: chart })).rejects.toThrow(
      `${chart}/crds/components.yaml is not a CustomResourceDefinition.`,
    );
  });
});
