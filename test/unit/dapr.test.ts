import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { DaprControlPlane, readCrds } from "../../components/dapr.ts";
import { fixture } from "./support/config.ts";
import { run, Secret } from "./support/pulumi.ts";
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

test("sentry is given what it issues certificates by, once for all of its replicas", async () => {
  const { resource } = await run(() => new DaprControlPlane("dapr", { chart: { from: "official" }, crds: [] }));
  const { values } = resource("dapr-release").inputs as { values: { dapr_sentry: { tls: unknown } } };
  const secret = values.dapr_sentry.tls;
  if (!(secret instanceof Secret)) throw new Error("it is no secret");
  const tls = secret.value as { root: { certPEM: string }; issuer: { certPEM: string; keyPEM: string } };
  const root = new X509Certificate(tls.root.certPEM);
  const issuer = new X509Certificate(tls.issuer.certPEM);
  expect(root.verify(root.publicKey)).toBe(true);
  expect(issuer.verify(root.publicKey)).toBe(true);
  expect(issuer.checkIssued(root)).toBe(true);
  expect([root.ca, issuer.ca]).toEqual([true, true]);
  expect(issuer.checkPrivateKey(createPrivateKey(tls.issuer.keyPEM))).toBe(true);
  for (const { validFromDate, validToDate } of [root, issuer]) {
    expect(validFromDate.getTime()).toBeLessThan(Date.now());
    expect(validToDate.getTime()).toBeGreaterThan(Date.now() + 9 * 365 * 24 * 3_600_000);
  }
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
