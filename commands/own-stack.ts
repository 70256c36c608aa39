import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../components/content-tag.ts";
import { loadServices, up } from "../test/cluster/cluster.ts";
import { serviceImage } from "../test/cluster/images.ts";
import { type ClusterName, layout, type Layout } from "../test/cluster/layout.ts";
import { createStack, installPulumi } from "../test/pulumi/plugins.ts";
import * as tools from "../test/tools/go-tools.ts";
import { toolDir } from "../test/tools/index.ts";

/** Where a stack runs and how it is reached. */
export interface Workspace {
  /** The `pulumi` to run in the repository's root. */
  readonly pulumi: string;
  readonly kubectl: string;
  /** The context, of the kubeconfig that the environment names, that everything is in. */
  readonly context: string;
  /** The whole environment for both. */
  readonly env: Readonly<Record<string, string>>;
}

function passphrase(dir: string): string {
  const file = join(dir, "passphrase");
  mkdirSync(dir, { recursive: true });
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString("base64url"), { mode: 0o600 });
  return readFileSync(file, "utf8");
}

/** Stack dev on a cluster of one's own, which must be up: its state, config and plugins are kept beside the cluster's. */
export async function ownWorkspace(cluster: Layout): Promise<Workspace> {
  const directory = join(cluster.dir, "pulumi");
  const pulumi = await installPulumi({
    directory,
    cli: join(toolDir(tools.pulumi), "pulumi"),
    kubernetesProvider: join(toolDir(tools.pulumiKubernetes), "pulumi-resource-kubernetes"),
    passphrase: passphrase(directory),
  });
  const stack = await createStack(pulumi, {
    project: repositoryRoot,
    stack: "dev",
    config: {
      "event-flow:environment": "dev",
      "event-flow:kubeContext": cluster.id,
      "event-flow:kubeconfig": cluster.kubeconfig,
      // Redpanda is in no package registry; Apache Kafka is.
      "event-flow:broker": "kafka",
      "event-flow:images": {
        from: "prebuilt",
        backend: serviceImage("backend"),
        notificationService: serviceImage("notificationService"),
      },
      "event-flow:daprChart": join(toolDir(tools.dapr), "charts", "dapr"),
    },
  });
  return {
    pulumi: pulumi.cli,
    kubectl: join(toolDir(tools.kubernetes), "kubectl"),
    context: cluster.id,
    env: { ...stack.env, KUBECONFIG: cluster.kubeconfig },
  };
}

/** Starts a cluster of one's own with the services' images in it. */
export async function startOwnCluster(name: ClusterName): Promise<Workspace> {
  await up(name);
  const cluster = layout(name);
  await loadServices(cluster);
  return ownWorkspace(cluster);
}
