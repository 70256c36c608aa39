/** Where a service shows its metrics, on the port of its API. */
export const metricsPath = "/metrics";

/** The names of the metrics that alerts and dashboards ask for; what each one says is written where it is measured. */
export const metrics = {
  requestDuration: "http_request_duration_seconds",
  published: "event_flow_events_published_total",
  refused: "event_flow_events_refused_total",
  outboxEvents: "event_flow_outbox_events",
  outboxAge: "event_flow_outbox_oldest_age_seconds",
  outboxSize: "event_flow_outbox_size_bytes",
  handled: "event_flow_events_handled_total",
  retried: "event_flow_events_retried_total",
  deadLettered: "event_flow_events_dead_lettered_total",
  channelDelivered: "event_flow_channel_delivered_total",
  channelRetried: "event_flow_channel_retried_total",
  channelFailed: "event_flow_channel_failed_total",
  channelWaiting: "event_flow_channel_waiting",
  endToEnd: "event_flow_event_end_to_end_seconds",
  /** These three by the names that the usual exporter has for them (https://github.com/danielqsj/kafka_exporter). */
  brokers: "kafka_brokers",
  consumerLag: "kafka_consumergroup_lag",
  consumerOffset: "kafka_consumergroup_current_offset",
} as const;
