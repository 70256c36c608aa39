import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { restrictedNamespace } from "./pod-security.ts";
import type { DaprChart } from "./settings.ts";
import { makeTrustBundle, type TrustBundle } from "./trust-bundle.ts";
import { daprChartRepository, daprNamespace, daprVersion } from "./versions.ts";

/** The files in the chart's `crds/`, which nothing on the network lists. */
const crdFiles = [
  "components",
  "configuration",
  "httpendpoints",
  "mcpservers",
  "resiliency",
  "subscription",
  "workflowaccesspolicy",
].map((file) => `${file}.yaml`);

const crdSchema = z.looseObject({
  apiVersion: z.literal("apiextensions.k8s.io/v1"),
  kind: z.literal("CustomResourceDefinition"),
  metadata: z.looseObject({ name: z.string() }),
  spec: z.looseObject({}),
});

/** A CustomResourceDefinition as the chart has it. */
export type Crd = z.infer<typeof crdSchema>;

/** Reads the CRDs that belong to a chart. Throws when one can't be had. */
export async function readCrds(chart: DaprChart): Promise<Crd[]> {
  const files = await readCrdFiles(chart);
  return files.map(({ origin, text }) => {
    // Dapr's operator writes its namespace over this word. Written right from the start, the CRD has one owner only.
    const result = crdSchema.safeParse(
      fromYaml(text.replaceAll("namespace: replaceme", `namespace: ${daprNamespace}`)),
    );
    if (!result.success) throw new pulumi.RunError(`${origin} is not a CustomResourceDefinition.`);
    return result.data;
  });
}

/** The first document; `undefined` where it isn't YAML. */
function fromYaml(text: string): unknown {
  try {
    const [document] = parseAllDocuments(text, { logLevel: "error" });
    return document?.errors.length === 0 ? document.toJS() : undefined;
  } catch {
    // An alias of nothing, or too many of them.
    return undefined;
  }
}

async function readCrdFiles(chart: DaprChart): Promise<{ origin: string; text: string }[]> {
  switch (chart.from) {
    case "directory": {
      const folder = path.join(chart.path, "crds");
      const names = (await readdir(folder)).filter((file) => /\.ya?ml$/.test(file)).sort();
      const files = names.map((file) => path.join(folder, file));
      return Promise.all(files.map(async (origin) => ({ origin, text: await readFile(origin, "utf8") })));
    }
    case "official": {
      const folder = `https://raw.githubusercontent.com/dapr/dapr/v${daprVersion}/charts/dapr/crds`;
      const files = crdFiles.map((file) => `${folder}/${file}`);
      return Promise.all(files.map(async (origin) => ({ origin, text: await download(origin) })));
    }
  }
}

async function download(url: string): Promise<string> {
  const reason = await fetch(url, { signal: AbortSignal.timeout(30_000) }).then(
    async (response) => (response.ok ? { text: await response.text() } : `HTTP ${response.status}`),
    (error: unknown) => (error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)),
  );
  if (typeof reason !== "string") return reason.text;
  throw new pulumi.RunError(
    `Dapr's CRDs could not be read: ${url} answered ${reason}.\n` +
      "Where there is no way to it, name a directory with Dapr's Helm chart: pulumi config set event-flow:daprChart <directory>",
  );
}

export interface DaprControlPlaneArgs {
  /** Where the Helm chart comes from. */
  readonly chart: DaprChart;

  /** The chart's CRDs, read by `readCrds`. */
  readonly crds: readonly Crd[];

  /** Whether it survives the loss of a node: three of each, with their state on volumes. @default false */
  readonly highlyAvailable?: boolean;
}

/**
 * Dapr's control plane: operator, sidecar injector, sentry, placement and scheduler. What has a sidecar must depend on
 * it: a pod that starts before the injector is ready gets none, and nothing says so.
 */
export class DaprControlPlane extends pulumi.ComponentResource {
  /** The version of what is installed. */
  readonly version: pulumi.Output<string>;

  constructor(name: string, args: DaprControlPlaneArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:dapr:ControlPlane", name, {}, opts);

    const { chart, highlyAvailable = false } = args;

    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      // The chart's pods keep to it, too.
      { metadata: { name: daprNamespace, labels: restrictedNamespace } },
      { parent: this },
    );

    // Helm installs a chart's CRDs once and never upgrades them. As resources they keep in step with the chart.
    const crds = args.crds.map(
      (crd) => new k8s.apiextensions.CustomResource(`${name}-crd-${crd.metadata.name}`, crd, { parent: this }),
    );

    const values = chartValues(highlyAvailable);
    const release = new k8s.helm.v3.Release(
      `${name}-release`,
      {
        name: "dapr",
        namespace: namespace.metadata.name,
        ...(chart.from === "directory"
          ? { chart: chart.path }
          : { chart: "dapr", version: daprVersion, repositoryOpts: { repo: daprChartRepository } }),
        skipCrds: true,
        // Seven images are pulled first, on a cluster that is new.
        timeout: 600,
        values: {
          ...values,
          dapr_sentry: { ...values.dapr_sentry, tls: pulumi.secret(makeTrustBundle().then(tlsValues)) },
        },
      },
      {
        parent: this,
        dependsOn: crds,
        // A trust bundle is made in each run, and used in the first. By this path, as a stack whose sentry has made its own keeps it; but
        // what else is said to sentry is for new stacks only, too.
        ignoreChanges: ["values.dapr_sentry"],
      },
    );

    this.version = release.status.apply(() => daprVersion);
    this.registerOutputs({ version: this.version });
  }
}

/**
 * What sentry would make itself at its first start. But where there are three, each may make its own and write it over another's, and
 * who was given a certificate meanwhile is trusted by nobody until it is renewed, half a day later.
 */
function tlsValues({ root, issuer, issuerKey }: TrustBundle) {
  return { root: { certPEM: root }, issuer: { certPEM: issuer, keyPEM: issuerKey } };
}

/** The chart's values that differ from its own. */
function chartValues(highlyAvailable: boolean) {
  const resources = {
    requests: { cpu: "20m", memory: "48Mi" },
    limits: { memory: highlyAvailable ? "1Gi" : "256Mi" },
  };
  return {
    global: {
      tag: daprVersion,
      ha: { enabled: highlyAvailable, topologyKey: "kubernetes.io/hostname" },
      mtls: { enabled: true },
      seccompProfile: "RuntimeDefault",
    },
    // The injector's webhook lets a pod start without a sidecar when it can't be asked. The watchdog restarts such pods.
    dapr_operator: { watchInterval: "10s", resources },
    // What the chart has by default stands here, too, where losing it would be worse than it shows. Sidecars run as their pod's user.
    dapr_sidecar_injector: {
      sidecarDropALLCapabilities: true,
      sidecarReadOnlyRootFilesystem: true,
      sidecarRunAsNonRoot: true,
      resources,
    },
    dapr_sentry: { resources },
    dapr_placement: { resources },
    // There are always three schedulers. On one machine their jobs need not outlive them.
    dapr_scheduler: { cluster: highlyAvailable ? { storageSize: "4Gi" } : { inMemoryStorage: true }, resources },
    // The chart would let the namespace default's own service account read every secret in it. Components need no such
    // right: the operator resolves their secrets.
    dapr_rbac: { secretReader: { enabled: false } },
  };
}
