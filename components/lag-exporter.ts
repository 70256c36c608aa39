import { metricsPath } from "@event-flow/events";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { containerResources } from "./container-resources.ts";
import type { BrokerConnection } from "./dapr-component.ts";
import { restrictedContainer, restrictedPod, serviceUser } from "./pod-security.ts";
import { saslVariables } from "./sasl-variables.ts";
import { metricsPortName, scrapeAnnotations } from "./scraping.ts";

export interface LagExporterArgs {
  /** The namespace it runs in. */
  readonly namespace: pulumi.Input<string>;

  /** The image that it runs: a service's, all of which have it. */
  readonly image: pulumi.Input<string>;

  /** How to reach the broker. */
  readonly connection: BrokerConnection;

  /** The consumer groups that it tells of. */
  readonly groups: readonly string[];

  /** The revision of the broker's credentials: another one makes a new pod. @default there are none */
  readonly revision?: pulumi.Input<string> | undefined;
}

/** Its Deployment's name, and its port: kafka_exporter's. */
export const lagExporter = { name: "lag-exporter", port: 9308 } as const;

/** Shows Prometheus how far the subscribers are behind the broker. */
export class LagExporter extends pulumi.ComponentResource {
  /** The name of its Deployment. */
  readonly deploymentName: pulumi.Output<string>;

  constructor(name: string, args: LagExporterArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:monitoring:LagExporter", name, {}, opts);

    const { namespace, revision } = args;
    const { name: serverName, port } = lagExporter;
    const labels = { app: serverName };
    const deployment = new k8s.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata: { name: serverName, namespace, labels },
        spec: {
          replicas: 1,
          revisionHistoryLimit: 3,
          selector: { matchLabels: labels },
          template: {
            metadata: {
              labels,
              annotations: {
                ...scrapeAnnotations(port, metricsPath),
                ...(revision === undefined ? {} : { "event-flow/revision": revision }),
              },
            },
            spec: {
              automountServiceAccountToken: false,
              enableServiceLinks: false,
              securityContext: restrictedPod(serviceUser),
              containers: [
                {
                  name: serverName,
                  image: args.image,
                  imagePullPolicy: "IfNotPresent",
                  command: ["node", "/app/apps/service/src/lag-exporter.ts"],
                  env: [
                    { name: "BROKERS", value: pulumi.output(args.connection.brokers).apply((each) => each.join(",")) },
                    { name: "GROUPS", value: args.groups.join(",") },
                    { name: "PORT", value: String(port) },
                    ...saslVariables(args.connection.auth),
                  ],
                  ports: [{ name: metricsPortName, containerPort: port }],
                  // No Service leads to it, but a rollout waits for it to listen.
                  startupProbe: { tcpSocket: { port: metricsPortName }, periodSeconds: 2, failureThreshold: 30 },
                  livenessProbe: { tcpSocket: { port: metricsPortName }, periodSeconds: 10 },
                  resources: containerResources({
                    requests: { cpu: "10m", memory: "64Mi" },
                    limits: { cpu: "500m", memory: "192Mi" },
                  }),
                  securityContext: restrictedContainer,
                },
              ],
            },
          },
        },
      },
      { parent: this },
    );

    this.deploymentName = deployment.metadata.name;
    this.registerOutputs({ deploymentName: this.deploymentName });
  }
}
