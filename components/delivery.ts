/**
 * How hard sidecars try, with the reason for each figure. Plain data, so that tests give it to a sidecar without a cluster.
 */
import { components, services } from "@event-flow/events";

/**
 * How long a service still runs when its pod begins to end. Requests still come for a moment; and its sidecar, which is told at the
 * same time and takes no more events, gives it those that it has: without the service it would try them until it is killed.
 */
export const preStopSeconds = 5;

/** What Dapr's Kafka client itself tells in headers of where a message is, and passes on with a dead letter. */
const placeHeaders = ["__topic", "__partition", "__offset", "__key"];

/**
 * A regular expression that matches the beginning of each text but of these words, none of which begins another. Those of Go have
 * no way to say "not".
 */
function anyBut(words: readonly string[]): string {
  const tails = Map.groupBy(words, (word) => word.slice(0, 1));
  if (tails.has("")) return String.raw`[\s\S]`;
  const alternatives = [...tails].map(
    ([letter, found]) => `${letter}(?:${anyBut(found.map((word) => word.slice(1)))})`,
  );
  return [String.raw`\z`, `[^${[...tails.keys()].join("")}]`, ...alternatives].join("|");
}

/** Metadata of `pubsub.kafka` that decides when and how often an event is delivered. */
export const kafkaDelivery = [
  // The default, `newest`, misses what was published before a service first subscribed.
  { name: "initialOffset", value: "oldest" },
  // The partitions of a sidecar that was killed are given to another one after this, instead of after 10 s. Brokers allow no
  // less than 6 s. A third of it between heartbeats, so that two may be lost.
  { name: "sessionTimeout", value: "6s" },
  { name: "heartbeatInterval", value: "2s" },
  // What can be given neither to the service nor to the dead letter topic, as the broker fails at that moment, stays where it
  // is and is tried again, without end: each second instead of each five.
  { name: "consumeRetryEnabled", value: "true" },
  { name: "backOffDuration", value: "1s" },
  // A message's own headers would be headers of the sidecar's call: one whose name is none of HTTP's could never be delivered, and
  // hold its partition up for ever, and others would take the place of the call's. The key, which may be anything, is escaped.
  { name: "excludeHeaderMetaRegex", value: `^(?:${anyBut(placeHeaders)})` },
  { name: "escapeHeaders", value: "true" },
  // No bulk subscription: a batch that isn't full waits for its time to be up, which costs more than it saves here, where each
  // event changes a document of its own.
] as const;

/** The spec of a Dapr Resiliency (https://docs.dapr.io/operations/resiliency/resiliency-overview/). */
export const resiliencySpec = {
  policies: {
    retries: {
      // For an event whose handler answers RETRY, which it does only while a backing service fails, or that is itself away. A
      // bound would send every event of a long outage to the dead letters. An event that is at fault itself is bounded by the
      // handler. Constant, as Dapr ends any exponential policy after 15 minutes; a call a second for each of a few
      // partitions hurts nobody.
      untilHandled: { policy: "constant", duration: "1s", maxRetries: -1 },
    },
    timeouts: {
      // Below the 5 s after which the services stop waiting for their sidecar: they are told which events were refused.
      publish: "4s",
      // A handler answers in milliseconds. The longest that it may take is a few calls to a state store that fails slowly.
      handle: "15s",
      // Two of these fit into the 5 s.
      state: "2s",
      // Below the 5 s after which the caller stops waiting: it is told that it was this call. The backend makes the next task in
      // milliseconds; what it has done when a call is given up, it answers with when the event comes again.
      invoke: "4s",
    },
    circuitBreakers: {
      // Dapr's Kafka client doesn't stop trying when the caller's time is up. Each attempt at a broker that hangs would pile
      // its events up in the sidecar, to be published once more later on. With this it is one attempt in three seconds.
      broker: { maxRequests: 1, timeout: "3s", trip: "consecutiveFailures >= 3" },
      // None for the state store: Dapr counts each lost race for a document (ETag) as a failure. None for deliveries: while
      // it is open Dapr would send every event to the dead letters.
    },
  },
  targets: {
    components: {
      [components.pubsub]: {
        // No retry: the relay does that, in order; Dapr's would only hold its answer back.
        outbound: { timeout: "publish", circuitBreaker: "broker" },
        inbound: { timeout: "handle", retry: "untilHandled" },
      },
      // No retry: the event is delivered again as a whole, and a user who lists notifications is told to try again.
      [components.stateStore]: { outbound: { timeout: "state" } },
    },
    apps: {
      // No retry here either, as the event is delivered again a second later. Without a policy of the app's own there would be
      // Dapr's, of three more calls a second apart. No circuit breaker: it would count each 409 as a failure.
      [services.backend.appId]: { timeout: "invoke" },
    },
  },
} as const;
