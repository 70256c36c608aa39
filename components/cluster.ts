import * as digitalocean from "@pulumi/digitalocean";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { ImageSource } from "./images.ts";
import { restrictedNamespace } from "./pod-security.ts";
import type { DevSettings, ProdSettings, Settings } from "./settings.ts";

export interface ClusterArgs {
  /** The stack's settings. */
  readonly settings: Settings;
}

/**
 * Where a stack lives, and so what its backing services are made of: servers in the cluster itself, or a cloud's.
 */
export type Site =
  | { readonly environment: "dev"; readonly settings: DevSettings }
  | {
      readonly environment: "prod";
      readonly settings: ProdSettings;
      /** The private network that everything is in. */
      readonly vpcId: pulumi.Output<string>;
      /** That network's addresses. */
      readonly vpcRange: pulumi.Output<string>;
      /** The cluster's id at DigitalOcean. */
      readonly clusterId: pulumi.Output<string>;
    };

/** The Kubernetes cluster that everything runs in, and how it is reached. */
export class Cluster extends pulumi.ComponentResource {
  /** The provider that deploys to the cluster. */
  readonly provider: k8s.Provider;

  /** The namespace of the services and of what they need. */
  readonly namespace: pulumi.Output<string>;

  /** Where the cluster gets the services' images from. */
  readonly images: ImageSource;

  /** What the backing services are made of. */
  readonly site: Site;

  /** The context of the kubeconfig by which people reach the cluster. */
  readonly kubeContext: pulumi.Output<string>;

  constructor(name: string, args: ClusterArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:cluster:Cluster", name, {}, opts);

    switch (args.settings.environment) {
      case "dev": {
        const { settings } = args;
        this.site = { environment: "dev", settings };
        this.provider = new k8s.Provider(
          `${name}-provider`,
          {
            context: settings.kubeContext,
            ...(settings.kubeconfig === undefined ? {} : { kubeconfig: settings.kubeconfig }),
            ...secretsInPlace,
            // Minikube's API server moves to another port with each start; what it runs does not.
            clusterIdentifier: settings.kubeContext,
          },
          { parent: this },
        );
        this.images =
          settings.images.from === "minikube" ? { from: "minikube", profile: settings.kubeContext } : settings.images;
        this.kubeContext = pulumi.output(settings.kubeContext);
        break;
      }
      case "prod": {
        const { settings } = args;
        const { name: cloudName, region } = settings;

        const vpc = new digitalocean.Vpc(`${name}-vpc`, { name: cloudName, region }, { parent: this });
        const registry = this.#registry(name, settings);
        this.images = registry.images;
        const cluster = this.#kubernetes(name, settings, vpc.id, registry.made);
        this.provider = new k8s.Provider(
          `${name}-provider`,
          {
            kubeconfig: freshKubeconfig(cluster, this),
            ...secretsInPlace,
            // A kubeconfig with another token in it is the same cluster's.
            clusterIdentifier: cluster.id,
          },
          { parent: this },
        );
        this.site = { environment: "prod", settings, vpcId: vpc.id, vpcRange: vpc.ipRange, clusterId: cluster.id };
        // As `doctl kubernetes cluster kubeconfig save` calls it.
        this.kubeContext = pulumi.interpolate`do-${region}-${cluster.name}`;
        break;
      }
    }

    this.namespace = this.#namespaceCalled(name, args.settings.namespace);

    this.registerOutputs({ namespace: this.namespace, kubeContext: this.kubeContext });
  }

  #kubernetes(
    name: string,
    settings: ProdSettings,
    vpcUuid: pulumi.Input<string>,
    registry: pulumi.Resource[],
  ): digitalocean.KubernetesCluster {
    const { name: cloudName, region, nodes } = settings;
    return new digitalocean.KubernetesCluster(
      `${name}-kubernetes`,
      {
        name: cloudName,
        region,
        vpcUuid,
        version: digitalocean.getKubernetesVersionsOutput({}, { parent: this }).latestVersion,
        // Can't be undone.
        ha: true,
        // Patches only; a node more while a node is replaced.
        autoUpgrade: true,
        surgeUpgrade: true,
        maintenancePolicy: { day: "sunday", startTime: "04:00" },
        // Lets every node pull from the account's registry, which must be there by then.
        registryIntegration: registry.length > 0,
        nodePool: {
          name: "services",
          size: nodes.size,
          autoScale: true,
          minNodes: nodes.min,
          maxNodes: nodes.max,
        },
        // The load balancer and volumes that Kubernetes asked for would else be left behind, and cost.
        destroyAllAssociatedResources: true,
      },
      {
        parent: this,
        dependsOn: registry,
        protect: true,
        // DigitalOcean upgrades the one by itself and the autoscaler changes the other.
        ignoreChanges: ["version", "nodePool.nodeCount"],
      },
    );
  }

  #registry(name: string, settings: ProdSettings): { images: ImageSource; made: pulumi.Resource[] } {
    switch (settings.images.from) {
      case "registry": {
        const registry = new digitalocean.ContainerRegistry(
          `${name}-registry`,
          // The smallest tier that has a repository for each service.
          { name: settings.images.name ?? settings.name, subscriptionTierSlug: "basic" },
          { parent: this },
        );
        const images: ImageSource = {
          from: "registry",
          repository: registry.endpoint,
          credentials: { address: registry.serverUrl, username: settings.token, password: settings.token },
          platform: "linux/amd64",
        };
        return { images, made: [registry] };
      }
      case "prebuilt":
        return { images: settings.images, made: [] };
    }
  }

  #namespaceCalled(name: string, namespace: string): pulumi.Output<string> {
    const metadata = { name: namespace, labels: restrictedNamespace };
    const opts = { parent: this, provider: this.provider };
    // Every cluster has this one, which gets the labels, and keeps none of them when the stack goes.
    return namespace === "default"
      ? new k8s.core.v1.NamespacePatch(`${name}-namespace`, { metadata }, opts).metadata.name
      : new k8s.core.v1.Namespace(`${name}-namespace`, { metadata }, opts).metadata.name;
  }
}

/**
 * A secret whose values change is updated. Else the provider would replace it, and with it every Deployment that has
 * anything of it: all the pods of a service would be gone before there are new ones.
 */
const secretsInPlace = { enableSecretMutable: true };

/** The kubeconfig with a token of today: the one in the cluster's own outputs is as old as they are, and lives a week. */
function freshKubeconfig(cluster: digitalocean.KubernetesCluster, parent: pulumi.Resource): pulumi.Output<string> {
  // By the id too, so that a first preview doesn't ask for a cluster that is not there yet.
  const name = pulumi.all([cluster.id, cluster.name]).apply(([, clusterName]) => clusterName);
  return digitalocean.getKubernetesClusterOutput({ name }, { parent }).apply(({ kubeConfigs: [kubeconfig] }) => {
    if (kubeconfig === undefined) throw new pulumi.RunError("DigitalOcean has no kubeconfig for the cluster.");
    return pulumi.secret(kubeconfig.rawConfig);
  });
}
