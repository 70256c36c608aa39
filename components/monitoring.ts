import { subscribers } from "@event-flow/events";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { stringify } from "yaml";
import { alertRules } from "./alerts.ts";
import type { BrokerConnection } from "./dapr-component.ts";
import { deliveryDashboard } from "./dashboard.ts";
import { LagExporter } from "./lag-exporter.ts";
import { alertsFile, prometheusConfigName, prometheusFile, scrapeConfig } from "./scraping.ts";

export interface MonitoringArgs {
  /** The namespace of the services. */
  readonly namespace: pulumi.Input<string>;

  /** A service's image, which has what asks the broker. */
  readonly image: pulumi.Input<string>;

  /** How to reach the broker. */
  readonly connection: BrokerConnection;

  /** The revision of the broker's credentials. @default there are none */
  readonly revision?: pulumi.Input<string> | undefined;
}

/** What a Prometheus and a Grafana need to watch the event flow: what to scrape, when to tell somebody, and what to show. */
export class Monitoring extends pulumi.ComponentResource {
  /** The name of the ConfigMap with Prometheus' files. */
  readonly prometheusConfig: pulumi.Output<string>;

  constructor(name: string, args: MonitoringArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:monitoring:Monitoring", name, {}, opts);

    const { namespace, image, connection, revision } = args;

    new LagExporter(
      `${name}-lag`,
      { namespace, image, connection, revision, groups: subscribers.map(({ appId }) => appId) },
      { parent: this },
    );

    const prometheus = new k8s.core.v1.ConfigMap(
      `${name}-prometheus`,
      {
        metadata: { name: prometheusConfigName, namespace },
        data: {
          [prometheusFile]: pulumi.output(namespace).apply((each) => yaml(scrapeConfig(each))),
          [alertsFile]: yaml(alertRules),
        },
      },
      { parent: this },
    );

    new k8s.core.v1.ConfigMap(
      `${name}-dashboards`,
      {
        // The label by which the sidecar of Grafana's Helm chart finds dashboards.
        metadata: { name: "event-flow-dashboards", namespace, labels: { grafana_dashboard: "1" } },
        data: { "event-flow-delivery.json": JSON.stringify(deliveryDashboard) },
      },
      { parent: this },
    );

    this.prometheusConfig = prometheus.metadata.name;
    this.registerOutputs({ prometheusConfig: this.prometheusConfig });
  }
}

/** As people write it: no line is folded, and nothing is an alias. */
function yaml(document: object): string {
  return stringify(document, { lineWidth: 0, aliasDuplicateObjects: false });
}
