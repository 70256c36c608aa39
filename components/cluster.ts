import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { ImageSource } from "./images.ts";
import type { DevSettings, Settings } from "./settings.ts";

export interface ClusterArgs {
  /** The stack's settings. */
  readonly settings: Settings;
}

/**
 * Where a stack lives, and so what its backing services are made of: servers in the cluster itself, or a cloud's.
 */
export type Site = { readonly environment: "dev"; readonly settings: DevSettings };

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
      case "prod":
        throw new pulumi.RunError("Stack prod cannot be deployed yet.");
    }

    this.namespace = this.#namespaceCalled(name, args.settings.namespace);

    this.registerOutputs({ namespace: this.namespace, kubeContext: this.kubeContext });
  }

  #namespaceCalled(name: string, namespace: string): pulumi.Output<string> {
    // Every cluster has this one.
    if (namespace === "default") return pulumi.output(namespace);
    return new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: namespace,
          labels: { "pod-security.kubernetes.io/enforce": "restricted" },
        },
      },
      { parent: this, provider: this.provider },
    ).metadata.name;
  }
}
