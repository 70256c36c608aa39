import { type ServiceKey, services } from "@event-flow/events";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { accessControlOf, apisOf } from "./dapr-access.ts";
import { manifestRevision } from "./manifest-revision.ts";
import type { Tracing } from "./settings.ts";

export interface DaprConfigurationArgs {
  /** The namespace of the service whose sidecars it is for, and of those that may call it. */
  readonly namespace: pulumi.Input<string>;

  /** The service. */
  readonly service: ServiceKey;

  /** Where they send traces. @default they trace nothing */
  readonly tracing?: Tracing | undefined;
}

/** How the sidecars of one service behave (https://docs.dapr.io/operations/configuration/configuration-overview/). */
export class DaprConfiguration extends pulumi.ComponentResource {
  /** The name by which pods ask for it. */
  readonly configurationName: pulumi.Output<string>;

  /** The same exactly as long as it is. Sidecars read it only when they start. */
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: DaprConfigurationArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:dapr:Configuration", name, {}, opts);

    const spec = pulumi.output(args.namespace).apply((namespace) => ({
      features: [
        // With it, a sidecar takes changed secrets and Components within a minute, and ends when it can't: a wrong password
        // would take all the pods of a service down. New pods take them instead, while the old ones go on until those are ready.
        { name: "HotReload", enabled: false },
      ],
      // By default each path is a label's value, and there is one for each user.
      metrics: { enabled: true, http: { increasedCardinality: false } },
      accessControl: accessControlOf(args.service, namespace),
      api: apisOf(args.service),
      // There is no secret store. Should there ever be Dapr's own, nobody reads anything of it.
      secrets: { scopes: [{ storeName: "kubernetes", defaultAccess: "deny" }] },
      ...(args.tracing === undefined ? {} : { tracing: tracingOf(args.tracing) }),
    }));
    const manifest = new k8s.apiextensions.CustomResource(
      `${name}-manifest`,
      {
        apiVersion: "dapr.io/v1alpha1",
        kind: "Configuration",
        metadata: { name: services[args.service].name, namespace: args.namespace },
        spec,
      },
      { parent: this },
    );

    this.configurationName = manifest.metadata.name;
    this.revision = manifestRevision(spec, manifest);
    this.registerOutputs({ configurationName: this.configurationName, revision: this.revision });
  }
}

/** A sidecar decides only of what is no part of a trace yet; in a trace it follows its caller, and in an event its publisher. */
function tracingOf({ endpoint, ratio }: Tracing) {
  const { protocol, host } = new URL(endpoint);
  return {
    samplingRate: String(ratio),
    otel: { endpointAddress: host, isSecure: protocol === "https:", protocol: "http" },
  };
}

/** The environment variables that make a service tell of the same traces (https://opentelemetry.io/docs/specs/otel/configuration/). */
export function tracingVariables(tracing: Tracing | undefined): Record<string, string> {
  return tracing === undefined
    ? {}
    : {
        OTEL_EXPORTER_OTLP_ENDPOINT: tracing.endpoint,
        OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG: String(tracing.ratio),
      };
}
