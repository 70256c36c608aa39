/**
 * Everything that is pinned and is not an npm package. Nothing here needs Pulumi, so that whoever prepares a cluster's
 * images can import it.
 */

/** Dapr: its Helm chart, its CRDs and the images of its control plane and sidecar. */
export const daprVersion = "1.18.0";

/** The namespace of Dapr's control plane. */
export const daprNamespace = "dapr-system";

/** The official Helm repository of Dapr's chart. */
export const daprChartRepository = "https://dapr.github.io/helm-charts/";

/** Images of what runs in the cluster of stack dev beside Dapr and the services. */
export const images = {
  redpanda: "docker.redpanda.com/redpandadata/redpanda:v25.3.9",
  kafka: "apache/kafka:4.3.1",
  valkey: "valkey/valkey:8.1.4",
  postgres: "postgres:17.6-trixie",
  maildev: "maildev/maildev:3.0.0",
} as const;
