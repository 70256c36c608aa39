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

/**
 * Images of what runs in the cluster of stack dev beside Dapr and the services: each by its tag, for people, and by the digest of its
 * list of platforms, by which it is pulled. Three are by the tag alone, as their digests aren't published where they could be looked up.
 */
export const images = {
  redpanda: "docker.redpanda.com/redpandadata/redpanda:v25.3.9",
  kafka: "apache/kafka:4.3.1@sha256:77e3df9054047a88b520d0cc46e16696d3b22022e1d580aeccd2632df6532837",
  valkey: "valkey/valkey:8.1.4",
  postgres: "postgres:17.6-trixie@sha256:00bc86618629af00d2937fdc5a5d63db3ff8450acf52f0636ec813c7f4902929",
  maildev: "maildev/maildev:3.0.0",
} as const;
