import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { resiliencySpec } from "./delivery.ts";
import { manifestRevision } from "./manifest-revision.ts";

export interface DaprResiliencyArgs {
  /** The namespace whose sidecars load it. */
  readonly namespace: pulumi.Input<string>;

  /** The app ids that it is for. */
  readonly scopes: readonly string[];
}

/** How long and how often sidecars try to reach Components and their app (https://docs.dapr.io/operations/resiliency/). */
export class DaprResiliency extends pulumi.ComponentResource {
  /** The same exactly as long as its policies are. Sidecars read them only when they start. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: DaprResiliencyArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:dapr:Resiliency", name, {}, opts);

    const manifest = new k8s.apiextensions.CustomResource(
      `${name}-manifest`,
      {
        apiVersion: "dapr.io/v1alpha1",
        kind: "Resiliency",
        metadata: { name: "delivery", namespace: args.namespace },
        spec: resiliencySpec,
        scopes: args.scopes,
      },
      { parent: this },
    );

    this.revision = manifestRevision(resiliencySpec, manifest);
    this.registerOutputs({ revision: this.revision });
  }
}
