import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Artifact, folderContents } from "./cache.ts";
import { capture, run } from "./run.ts";

/** The versions that the tools are built at. The Kubernetes provider's is the npm package's whose release followed its commit. */
export const versions = {
  coredns: "1.14.0",
  dapr: "1.18.0",
  etcd: "3.6.16",
  kubernetes: "1.34.4",
  pulumi: "3.252.0",
  pulumiKubernetes: "4.25.0",
  minikube: "1.38.1",
  vegeta: "12.13.0",
  toxiproxy: "2.5.0",
  otelCollector: "0.165.0",
  kubeNetworkPolicies: "0.8.0",
  kubeconform: "0.8.0",
  kubeScore: "1.20.0",
} as const;

const sources = join(import.meta.dirname, "go");

/** Without optimization a cold build takes 40 % less; used where a tool's own speed isn't measured. */
const quick = "-gcflags=all=-N -l";

interface GoBuild {
  readonly packages: readonly string[];
  /** Go variables set at link time, as `import/path.Name=value`. */
  readonly set?: readonly string[];
  readonly flags?: readonly string[];
}

async function goBuild(cwd: string, out: string, log: string, build: GoBuild): Promise<void> {
  const ldflags = ["-s", "-w", ...(build.set ?? []).flatMap((variable) => ["-X", variable])].join(" ");
  mkdirSync(out, { recursive: true });
  await run(
    "go",
    ["build", "-mod=mod", `-ldflags=${ldflags}`, ...(build.flags ?? []), "-o", `${out}/`, ...build.packages],
    // Static binaries: they also go into images that hold nothing else.
    { cwd, log, env: { CGO_ENABLED: "0", GOWORK: "off" } },
  );
}

export async function moduleDir(cwd: string, module: string, version: string): Promise<string> {
  const download = await capture("go", ["mod", "download", "-json", `${module}@${version}`], {
    cwd,
    env: { GOFLAGS: "-mod=mod" },
  });
  return (JSON.parse(download) as { Dir: string }).Dir;
}

/** A tool whose go.mod (and main.go, where it needs one) is in `test/tools/go/<name>`. */
function goTool(
  name: string,
  version: string,
  coldSeconds: number,
  build: GoBuild,
  around: {
    readonly before?: (source: string) => Promise<void>;
    readonly after?: (source: string, dir: string) => void;
  } = {},
): Artifact {
  return {
    name,
    version,
    coldSeconds,
    recipe: [JSON.stringify(build), ...folderContents(join(sources, name))],
    build: async (dir, log) => {
      const source = join(dir, "source");
      cpSync(join(sources, name), source, { recursive: true });
      await around.before?.(source);
      await goBuild(source, dir, log, build);
      around.after?.(source, dir);
      rmSync(source, { recursive: true, force: true });
    },
  };
}

const kubernetesParts = [
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kube-proxy",
  "kubelet",
  "kubectl",
] as const;

export const etcd = goTool("etcd", versions.etcd, 50, {
  packages: ["go.etcd.io/etcd/server/v3"],
  flags: [quick],
});

export const kubernetes = goTool(
  "kubernetes",
  versions.kubernetes,
  375,
  {
    packages: ["event-flow/kubernetes"],
    set: [
      `k8s.io/component-base/version.gitVersion=v${versions.kubernetes}`,
      `k8s.io/client-go/pkg/version.gitVersion=v${versions.kubernetes}`,
    ],
  },
  {
    after: (_source, dir) => {
      for (const part of kubernetesParts) symlinkSync("kubernetes", join(dir, part));
    },
  },
);

export const coredns = goTool("coredns", versions.coredns, 60, {
  packages: ["event-flow/coredns"],
  flags: [quick],
});

export const storageProvisioner = goTool("storage-provisioner", versions.minikube, 40, {
  packages: ["event-flow/storage-provisioner"],
  flags: [quick],
});

/** What enforces NetworkPolicies. */
export const kubeNetworkPolicies = goTool("kube-network-policies", versions.kubeNetworkPolicies, 75, {
  packages: ["event-flow/kube-network-policies"],
  flags: [quick],
});

export const pause = goTool("pause", "1", 2, { packages: ["event-flow/pause"] });

export const pulumi = goTool("pulumi", versions.pulumi, 130, {
  packages: ["github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"],
  set: [`github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${versions.pulumi}`],
  flags: [quick],
});

const providerModule = "github.com/pulumi/pulumi-kubernetes/provider/v4";

export const pulumiKubernetes = goTool(
  "pulumi-resource-kubernetes",
  versions.pulumiKubernetes,
  550,
  {
    packages: ["event-flow/pulumi-resource-kubernetes"],
    set: [`${providerModule}/pkg/version.Version=${versions.pulumiKubernetes}`],
    flags: [quick],
  },
  {
    before: async (source) => {
      const version = /provider\/v4 (v\S+)/.exec(readFileSync(join(source, "go.mod"), "utf8"))?.[1];
      if (version === undefined) throw new Error(`${source}/go.mod doesn't require ${providerModule}`);
      const command = join(await moduleDir(source, providerModule, version), "cmd", "pulumi-resource-kubernetes");
      for (const file of ["schema.json", "terraform-mapping.json"]) {
        writeFileSync(join(source, file), readFileSync(join(command, file)));
      }
    },
  },
);

/** Some of Dapr's programs; `after` may take more from its source. */
function daprTool(
  name: string,
  coldSeconds: number,
  parts: readonly string[],
  after: (source: string, dir: string) => void = () => undefined,
): Artifact {
  const daprBuild: GoBuild = {
    packages: parts.map((part) => `./cmd/${part}`),
    set: [
      `github.com/dapr/dapr/pkg/buildinfo.version=${versions.dapr}`,
      `github.com/dapr/kit/logger.DaprVersion=${versions.dapr}`,
    ],
  };
  return {
    name,
    version: versions.dapr,
    coldSeconds,
    recipe: [JSON.stringify(daprBuild), ...folderContents(join(sources, "dapr"))],
    build: async (dir, log) => {
      // The module's own folder is read-only and can't be overlaid: build in a copy of it.
      const source = join(dir, "source");
      cpSync(await moduleDir(dir, "github.com/dapr/dapr", `v${versions.dapr}`), source, { recursive: true });
      await run("chmod", ["-R", "u+w", source], { log });
      // daprd's full set of components needs modules that no registry serves; these few are the ones the stacks use.
      cpSync(join(sources, "dapr", "components.go"), join(source, "cmd", "daprd", "components", "zz_notag.go"));
      // The version of this one that Dapr requires isn't served, and the checksum database doesn't know the next one: its
      // checksums are pinned here.
      await run("go", ["mod", "edit", "-require=github.com/diagridio/go-etcd-cron@v0.12.7"], { cwd: source, log });
      appendFileSync(join(source, "go.sum"), readFileSync(join(sources, "dapr", "go.sum")));
      await goBuild(source, dir, log, daprBuild);
      after(source, dir);
      rmSync(source, { recursive: true, force: true });
    },
  };
}

/** Dapr's sidecar. */
export const daprd = daprTool("daprd", 315, ["daprd"]);

export const daprControlPlaneParts = ["operator", "injector", "sentry", "placement", "scheduler"] as const;

/** The programs of Dapr's control plane, and its Helm chart with the CRDs in `charts/dapr`. */
export const daprControlPlane = daprTool("dapr-control-plane", 285, daprControlPlaneParts, (source, dir) => {
  cpSync(join(source, "charts"), join(dir, "charts"), { recursive: true });
});

/** The load generator of the bench, which builds it when it's needed. */
export const vegeta = goTool("vegeta", versions.vegeta, 20, { packages: ["github.com/tsenart/vegeta/v12"] });

/** The proxy that breaks connections, for `make chaos`, which builds it when it's needed: its program is called `server`. */
export const toxiproxy = goTool("toxiproxy", versions.toxiproxy, 15, {
  packages: ["github.com/Shopify/toxiproxy/v2/cmd/server"],
});

/** What takes traces in the test that follows one; built when that needs it. */
export const otelCollector = goTool("otel-collector", versions.otelCollector, 40, {
  packages: ["event-flow/otel-collector"],
  flags: [quick],
});

/** What checks manifests by the schemas of their kinds, and what by the rules of running things well; built before the tests. */
export const kubeconform = goTool("kubeconform", versions.kubeconform, 15, {
  packages: ["github.com/yannh/kubeconform/cmd/kubeconform"],
  flags: [quick],
});
export const kubeScore = goTool("kube-score", versions.kubeScore, 60, {
  packages: ["github.com/zegl/kube-score/cmd/kube-score"],
  flags: [quick],
});

/** In the order of their need: what a cluster's first steps wait for comes first. */
export const goTools: readonly Artifact[] = [
  pause,
  etcd,
  coredns,
  storageProvisioner,
  kubeNetworkPolicies,
  kubernetes,
  daprd,
  daprControlPlane,
  pulumi,
  pulumiKubernetes,
];
