import * as digitalocean from "@pulumi/digitalocean";
import * as pulumi from "@pulumi/pulumi";
import type { Cluster, Site } from "./cluster.ts";
import type { DaprService, LoadBalancer } from "./dapr-service.ts";

export interface FrontDoorArgs {
  /** What it is made of. */
  readonly site: Site;
}

/** How the world reaches the backend: by `kubectl port-forward` only, or through a cloud's load balancer. */
export class FrontDoor extends pulumi.ComponentResource {
  /** The load balancer that the backend's Service must have; `undefined` for none. */
  readonly loadBalancer: LoadBalancer | undefined;

  readonly #site: Site;

  constructor(name: string, args: FrontDoorArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:cluster:FrontDoor", name, {}, opts);

    this.#site = args.site;
    switch (args.site.environment) {
      case "dev":
        this.loadBalancer = undefined;
        break;
      case "prod": {
        const { name: cloudName, domain } = args.site.settings;
        const common = {
          [`${annotation}-name`]: cloudName,
          [`${annotation}-protocol`]: "http",
        };
        if (domain === undefined) {
          this.loadBalancer = { ports: [80], annotations: common };
          break;
        }
        // DigitalOcean renews it, and leads the domain to the load balancer that has it.
        const certificate = new digitalocean.Certificate(
          `${name}-certificate`,
          { name: cloudName, type: "lets_encrypt", domains: [domain] },
          { parent: this },
        );
        this.loadBalancer = {
          ports: [80, 443],
          annotations: {
            ...common,
            [`${annotation}-tls-ports`]: "443",
            // By its uuid: the certificate's own id is its name.
            [`${annotation}-certificate-id`]: certificate.uuid,
            [`${annotation}-redirect-http-to-https`]: "true",
          },
        };
        break;
      }
    }

    this.registerOutputs({ loadBalancer: this.loadBalancer });
  }

  /** The command, or the URL, that leads to the backend. */
  directions(cluster: Cluster, backend: DaprService): pulumi.Output<string> {
    switch (this.#site.environment) {
      case "dev":
        return pulumi.interpolate`kubectl --context ${cluster.kubeContext} --namespace ${cluster.namespace} port-forward service/${backend.serviceName} 8000:80`;
      case "prod": {
        const { domain } = this.#site.settings;
        return domain === undefined
          ? pulumi.interpolate`http://${backend.address}`
          : pulumi.output(`https://${domain}`);
      }
    }
  }
}

const annotation = "service.beta.kubernetes.io/do-loadbalancer";
