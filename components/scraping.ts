/** What Prometheus scrapes, and how it finds it. Plain data, so that a Prometheus of the tests gets it without a cluster. */

/** The jobs of Prometheus. Alerts ask for them by these names. */
export const jobs = { apps: "event-flow-apps", sidecars: "event-flow-sidecars", broker: "event-flow-broker" } as const;

/** The ConfigMap with Prometheus' files. */
export const prometheusConfigName = "event-flow-prometheus";

/** Its key for what Prometheus gets as `--config.file`, and the one for the alerts, which that file names. */
export const prometheusFile = "prometheus.yaml";
export const alertsFile = "alerts.yaml";

/** The name of a container's port that shows metrics and nothing else. */
export const metricsPortName = "metrics";

/** The port of a sidecar's own metrics (Dapr's default). */
export const daprMetricsPort = 9090;

/** What a namespace is labelled by whose Prometheus may scrape: nobody else gets to the metrics. */
export const monitoringLabel = { "event-flow/monitoring": "true" } as const;

/** What a pod tells whichever Prometheus finds its targets by these annotations, as those of most Helm charts do. */
export function scrapeAnnotations(port: number, path: string): Record<string, string> {
  return { "prometheus.io/scrape": "true", "prometheus.io/port": String(port), "prometheus.io/path": path };
}

/** A file for Prometheus (https://prometheus.io/docs/prometheus/latest/configuration/configuration/). */
export function scrapeConfig(namespace: string) {
  return {
    global: { scrape_interval: "15s", scrape_timeout: "10s", evaluation_interval: "15s" },
    rule_files: [alertsFile],
    scrape_configs: [
      job(jobs.apps, namespace, "prometheus_io_scrape", "http"),
      // One annotation has one port, and that is the app's: the sidecar's is found by what the injector names it.
      job(jobs.sidecars, namespace, "dapr_io_enable_metrics", "dapr-metrics"),
      job(jobs.broker, namespace, "prometheus_io_scrape", metricsPortName),
    ],
  };
}

/** The containers' ports of one name, in the pods that have an annotation set to true. */
function job(name: string, namespace: string, annotation: string, portName: string) {
  const meta = (label: string) => `__meta_kubernetes_${label}`;
  const take = (label: string, as: string) => ({ source_labels: [meta(label)], target_label: as });
  return {
    job_name: name,
    kubernetes_sd_configs: [{ role: "pod", namespaces: { names: [namespace] } }],
    relabel_configs: [
      { source_labels: [meta(`pod_annotation_${annotation}`)], regex: "true", action: "keep" },
      { source_labels: [meta("pod_container_port_name")], regex: portName, action: "keep" },
      // Pods that have ended are listed yet.
      { source_labels: [meta("pod_phase")], regex: "Succeeded|Failed", action: "drop" },
      take("namespace", "namespace"),
      take("pod_name", "pod"),
      take("pod_label_app", "service"),
    ],
  };
}
