import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { eachService, services, type ServiceKey } from "@event-flow/events";
import { z } from "zod";
import { contentTag, dockerfile, repositoryRoot } from "../components/content-tag.ts";
import { loadServices, up } from "../test/cluster/cluster.ts";
import { type ClusterName, type Layout, layout } from "../test/cluster/layout.ts";
import { type Access } from "../test/flow/access.ts";
import { createStack, installPulumi, type Pulumi } from "../test/pulumi/plugins.ts";
import * as tools from "../test/tools/go-tools.ts";
import { buildTools, toolDir } from "../test/tools/index.ts";
import { isOnPath } from "../test/tools/needs.ts";
import { say } from "../test/tools/progress.ts";
import { capture } from "../test/tools/run.ts";
import { runShown } from "./process.ts";

/** Where stack dev runs and how it is reached. */
export interface Workspace extends Access {
  /** The `pulumi` to run in the repository's root, in the whole environment `env`. */
  readonly pulumi: string;
}

/** What `Pulumi.dev.yaml` leaves at its default. */
const namespace = "default";
const minikubeProfile = "minikube";

/** The cluster of one's own that `make up` uses. */
export const ownCluster: ClusterName = "dev";

export const usesMinikube = (): boolean => isOnPath("minikube");

/** A random passphrase, made once: what it protects never leaves the folder that it is in. */
function passphrase(directory: string): string {
  const file = join(directory, "passphrase");
  mkdirSync(directory, { recursive: true });
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString("base64url"), { mode: 0o600 });
  return readFileSync(file, "utf8");
}

/** The Pulumi on PATH, or our own, with the stacks' state in a folder. */
async function pulumiIn(directory: string): Promise<Pulumi> {
  const secret = passphrase(directory);
  if (isOnPath("pulumi")) {
    mkdirSync(join(directory, "state"), { recursive: true });
    return {
      cli: "pulumi",
      directory,
      env: {
        ...inherited(),
        PULUMI_BACKEND_URL: pathToFileURL(join(directory, "state")).href,
        PULUMI_CONFIG_PASSPHRASE: secret,
      },
    };
  }
  await buildTools([tools.pulumi, tools.pulumiKubernetes]);
  return installPulumi({
    directory,
    cli: join(toolDir(tools.pulumi), "pulumi"),
    kubernetesProvider: join(toolDir(tools.pulumiKubernetes), "pulumi-resource-kubernetes"),
    passphrase: secret,
  });
}

/** This process's environment, with the Node of this repository first on PATH: Pulumi's program needs its version. */
export function inherited(): Record<string, string> {
  const own = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const path = [join(repositoryRoot, "node_modules", ".bin"), process.env["PATH"] ?? ""].join(delimiter);
  return { ...Object.fromEntries(own), PATH: path };
}

/**
 * Stack dev on a running cluster of one's own. Its state, config and plugins are kept beside the cluster's, so that the
 * checked-in Pulumi.dev.yaml stays as it is.
 */
export async function ownWorkspace(cluster: Layout): Promise<Workspace> {
  const images = await loadServices(cluster);
  return ownStack(cluster, {
    "event-flow:environment": "dev",
    "event-flow:kubeContext": cluster.id,
    "event-flow:kubeconfig": cluster.kubeconfig,
    // Redpanda is in no package registry; Apache Kafka is.
    "event-flow:broker": "kafka",
    "event-flow:images": { from: "prebuilt", ...images },
    "event-flow:daprChart": join(toolDir(tools.daprControlPlane), "charts", "dapr"),
  });
}

/** Stack dev on a cluster of one's own, with its config changed or left as it is. */
async function ownStack(cluster: Layout, config?: Readonly<Record<string, unknown>>): Promise<Workspace> {
  const pulumi = await pulumiIn(join(cluster.dir, "pulumi"));
  const stack = await createStack(pulumi, {
    project: repositoryRoot,
    stack: "dev",
    ...(config !== undefined && { config }),
  });
  return {
    pulumi: pulumi.cli,
    kubectl: join(toolDir(tools.kubernetes), "kubectl"),
    context: cluster.id,
    namespace,
    env: { ...stack.env, KUBECONFIG: cluster.kubeconfig },
  };
}

/** Stack dev on Minikube: with Pulumi as the user has set it up, or else with our own and its state in `.state`. */
async function minikubeWorkspace(): Promise<Workspace> {
  if (!isOnPath("kubectl")) {
    throw new Error("There is no `kubectl` on PATH. Install it: https://kubernetes.io/docs/tasks/tools");
  }
  const facts = { kubectl: "kubectl", context: minikubeProfile, namespace };
  if (isOnPath("pulumi") && (await isLoggedIn())) {
    const env = inherited();
    await runShown("pulumi", ["stack", "select", "--create", "dev"], { cwd: repositoryRoot, env });
    return { ...facts, pulumi: "pulumi", env: { ...env, PULUMI_STACK: "dev" } };
  }
  const state = join(repositoryRoot, ".state");
  const pulumi = await pulumiIn(state);
  const stack = await createStack(pulumi, {
    project: repositoryRoot,
    stack: "dev",
    config: {
      "event-flow:environment": "dev",
      ...(pulumi.cli === "pulumi"
        ? {}
        : // Our own Pulumi has no plugin that runs commands.
          { "event-flow:images": { from: "prebuilt", ...(await eachService(buildInMinikube)) } }),
    },
  });
  return { ...facts, pulumi: pulumi.cli, env: stack.env };
}

async function isLoggedIn(): Promise<boolean> {
  try {
    await capture("pulumi", ["--non-interactive", "whoami"]);
    return true;
  } catch {
    return false;
  }
}

async function buildInMinikube(service: ServiceKey): Promise<string> {
  const { name } = services[service];
  const image = `event-flow/${name}:${contentTag(service)}`;
  await runShown("minikube", [
    ...[`--profile=${minikubeProfile}`, "image", "build", `--tag=${image}`, `--file=${dockerfile}`],
    ...[`--build-opt=build-arg=SERVICE=${name}`, repositoryRoot],
  ]);
  return image;
}

async function isMinikubeRunning(): Promise<boolean> {
  try {
    await capture("minikube", [`--profile=${minikubeProfile}`, "status"]);
    return true;
  } catch {
    return false;
  }
}

const profiles = z.array(z.object({ Name: z.string() })).nullable();
const profilesSchema = z.object({ valid: profiles, invalid: profiles });

/**
 * What starts Minikube, by what its `profile list --output=json` prints. A new one gets a network that enforces NetworkPolicies,
 * as its default one doesn't; one that is there keeps its own.
 */
export function minikubeStart(listed: string): string[] {
  const { valid, invalid } = profilesSchema.parse(JSON.parse(listed));
  const isThere = [...(valid ?? []), ...(invalid ?? [])].some(({ Name }) => Name === minikubeProfile);
  return [`--profile=${minikubeProfile}`, "start", ...(isThere ? [] : ["--cni=calico"])];
}

/** Starts the cluster that this machine has, Minikube or our own, and readies stack dev for it. */
export async function startWorkspace(): Promise<Workspace> {
  if (!usesMinikube()) {
    say("There is no Minikube on PATH: a single-node Kubernetes of our own serves.");
    return ownWorkspace(await up(ownCluster));
  }
  if (!(await isMinikubeRunning())) {
    await runShown("minikube", minikubeStart(await capture("minikube", ["profile", "list", "--output=json"])));
  }
  return minikubeWorkspace();
}

/** The workspace of a cluster that runs already, with the services' images as they are now. */
export async function openWorkspace(): Promise<Workspace> {
  return usesMinikube() ? minikubeWorkspace() : ownWorkspace(existing());
}

/** The same as it was left: for a look at it no image is built, except into a Minikube that is used without Pulumi of the user's. */
export async function visitWorkspace(): Promise<Workspace> {
  return usesMinikube() ? minikubeWorkspace() : ownStack(existing());
}

function existing(): Layout {
  const cluster = layout(ownCluster);
  if (!existsSync(cluster.kubeconfig)) throw new Error("There is no cluster yet: `make up` makes it.");
  return cluster;
}
