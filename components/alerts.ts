/**
 * What is worth waking somebody for, as rules of Prometheus. Plain data, so that promtool and a Prometheus of the tests get it
 * without a cluster.
 */
import { metrics, services } from "@event-flow/events";
import { jobs } from "./scraping.ts";

/** An alerting rule (https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/). */
export interface Alert {
  readonly alert: string;
  readonly expr: string;
  /** How long it has to be so. @default it is told at once */
  readonly for?: string;
  readonly labels: { readonly severity: "critical" | "warning" };
  readonly annotations: {
    readonly summary: string;
    /** What it means. */
    readonly description: string;
    /** What to do. */
    readonly action: string;
  };
}

/** Everything that can be told apart by these labels, as one. */
const sum = (by: string, expr: string) => `sum by (${by}) (${expr})`;

const apps = `up{job="${jobs.apps}"}`;
const sidecars = `up{job="${jobs.sidecars}"}`;
const missing = Object.values(services).map(({ name }) => `absent(up{job="${jobs.apps}", service="${name}"})`);
const lag = sum("consumergroup, topic", metrics.consumerLag);

export const alerts: readonly Alert[] = [
  {
    alert: "EventFlowEventsWait",
    // Milliseconds while all is well. What follows a restart of the broker is over before.
    expr: `max(${metrics.outboxAge}) > 30`,
    for: "1m",
    labels: { severity: "critical" },
    annotations: {
      summary: "Events wait to be published",
      description:
        "Changes are saved, and none is lost, but for {{ $value | humanizeDuration }} nobody has heard of the first of them.",
      action:
        "If EventFlowPublishingRefused or EventFlowBrokerUnreachable is there, too, begin with that. Else see whether a backend " +
        'runs and what its relay says: kubectl logs deployment/backend -c backend | grep -i "relay\\|outbox".',
    },
  },
  {
    alert: "EventFlowPublishingRefused",
    expr: `${sum("type", `increase(${metrics.refused}[2m])`)} > 0`,
    for: "2m",
    labels: { severity: "warning" },
    annotations: {
      summary: "Events of type {{ $labels.type }} are refused by the sidecar or the broker",
      description: "They stay in the outbox and are tried again, so far without success.",
      action:
        "The reason is in the log: kubectl logs deployment/backend -c backend | grep outbox. It is the broker that is away or full, a " +
        "topic that is missing, a right that the user lacks, or a sidecar without the pub/sub: kubectl logs deployment/backend -c daprd.",
    },
  },
  {
    alert: "EventFlowEventsDeadLettered",
    expr: `${sum("service, type", `increase(${metrics.deadLettered}[15m])`)} > 0`,
    labels: { severity: "warning" },
    annotations: {
      summary: "{{ $labels.service }} gave up on events of type {{ $labels.type }}",
      description:
        "They follow no schema, or failed again and again, and were set aside. Others are handled as before.",
      action:
        "See the cause of each with node commands/dead-letters.ts list. Mend it, then replay them with node commands/dead-letters.ts " +
        "replay --all; they are kept until then.",
    },
  },
  {
    alert: "EventFlowRetriesPersist",
    expr: `${sum("service, type", `increase(${metrics.retried}[2m])`)} > 0`,
    for: "10m",
    labels: { severity: "warning" },
    annotations: {
      summary: "{{ $labels.service }} can't handle events of type {{ $labels.type }}",
      description:
        "What it needs for that has been away for 10 minutes. The events wait at their place, and none is lost.",
      action:
        "The log says what failed: kubectl logs deployment/{{ $labels.service }} -c {{ $labels.service }} | grep retried. Bring that " +
        "back (its state store, its database); the events follow by themselves.",
    },
  },
  {
    alert: "EventFlowChannelDown",
    // One mail server that wants a mail later, or one browser's push service, keeps no other from being delivered.
    expr:
      `${sum("channel", `increase(${metrics.channelRetried}[10m])`)} > 0 ` +
      `unless ${sum("channel", `increase(${metrics.channelDelivered}[10m])`)} > 0`,
    for: "10m",
    labels: { severity: "warning" },
    annotations: {
      summary: "Nothing is delivered by {{ $labels.channel }}",
      description:
        "Every attempt of the last 10 minutes failed. Users are notified, but this channel doesn't reach them. What waits in it " +
        "is delivered when it is back, unless that takes a day.",
      action:
        "The log has the cause: kubectl logs deployment/notification-service -c notification-service | grep Delivery. For email see " +
        "to the mail server and to the settings event-flow:smtp*.",
    },
  },
  {
    alert: "EventFlowConsumerLagGrows",
    expr: `${lag} > 100 and ${sum("consumergroup, topic", `deriv(${metrics.consumerLag}[10m])`)} > 0`,
    for: "10m",
    labels: { severity: "warning" },
    annotations: {
      summary: "{{ $labels.consumergroup }} falls behind on {{ $labels.topic }}",
      description: "{{ $value | humanize }} events wait for it, and more come than it handles.",
      action:
        "See in the dashboard whether its events take longer than usual. If not, add replicas, at most as many as the topic has " +
        "partitions: kubectl scale deployment/{{ $labels.consumergroup }} --replicas=3.",
    },
  },
  {
    alert: "EventFlowConsumerStalled",
    expr: `${lag} > 0 and ${sum("consumergroup, topic", `delta(${metrics.consumerOffset}[5m])`)} == 0`,
    for: "10m",
    labels: { severity: "critical" },
    annotations: {
      summary: "{{ $labels.consumergroup }} handles nothing of {{ $labels.topic }}",
      description: "{{ $value | humanize }} events have waited for it for 10 minutes, and it took none of them.",
      action:
        "If EventFlowAppDown, EventFlowSidecarDown or EventFlowRetriesPersist is there, too, begin with that. Else its sidecar isn't " +
        "subscribed: kubectl logs deployment/{{ $labels.consumergroup }} -c daprd, and restart it with kubectl rollout restart.",
    },
  },
  {
    alert: "EventFlowEndToEndLatencyHigh",
    expr: `histogram_quantile(0.99, ${sum("service, le", `rate(${metrics.endToEnd}_bucket[5m])`)}) > 5`,
    for: "5m",
    labels: { severity: "warning" },
    annotations: {
      summary: "Events reach {{ $labels.service }} late",
      description:
        "Of the events of the last 5 minutes, one in a hundred was handled {{ $value | humanizeDuration }} after it happened, or later.",
      action:
        "The dashboard shows where they waited: in the outbox (its oldest event), in the broker (lag), or at the handler (retries, and " +
        "how long requests take). After an outage this is the backlog, and passes.",
    },
  },
  {
    alert: "EventFlowAppDown",
    expr: [`${apps} == 0`, ...missing].join(" or "),
    for: "2m",
    labels: { severity: "critical" },
    annotations: {
      summary: "{{ $labels.service }} is down",
      description: "It doesn't answer Prometheus, or there is no pod of it.",
      action:
        "kubectl get pods -l app={{ $labels.service }} shows its pods, kubectl describe what keeps them from starting, and " +
        "kubectl logs --previous why one ended.",
    },
  },
  {
    alert: "EventFlowSidecarDown",
    // Also where there is no sidecar at all: Dapr's injector lets a pod start without one when it can't be asked.
    expr: `${apps} == 1 unless on (namespace, pod) ${sidecars} == 1`,
    for: "2m",
    labels: { severity: "critical" },
    annotations: {
      summary: "The sidecar of {{ $labels.service }} is down or missing",
      description: "The pod {{ $labels.pod }} runs, but can neither publish nor be told of events.",
      action:
        "kubectl get pod {{ $labels.pod }} should show two containers. With one, see that Dapr's injector runs (kubectl get pods -n " +
        "dapr-system) and delete the pod; with two, see kubectl logs {{ $labels.pod }} -c daprd.",
    },
  },
  {
    alert: "EventFlowBrokerUnreachable",
    expr: `absent(max(${metrics.brokers}) > 0)`,
    for: "2m",
    labels: { severity: "critical" },
    annotations: {
      summary: "The broker doesn't answer",
      description:
        "It is away, or what watches it is. Until it's back, events wait in the outbox, and no lag is known.",
      action:
        "kubectl logs deployment/lag-exporter says why. In stack dev look at the broker's pod, in stack prod at Redpanda Cloud's status, " +
        "and whether the user's password was changed there.",
    },
  },
];

/** The file that Prometheus loads. */
export const alertRules = { groups: [{ name: "event-flow", rules: alerts }] };
