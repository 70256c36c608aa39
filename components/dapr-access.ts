/**
 * What each sidecar lets its service, and other services, do. Plain data, so that tests give it to a sidecar without a cluster.
 * Who may do what stands in `apps/events/src/access.ts`.
 */
import { permittedCalls, permittedTopics, type ServiceKey, serviceKeys, services, topicsOf } from "@event-flow/events";

/** Metadata of `pubsub.kafka` that says who may publish and subscribe to what (https://docs.dapr.io/developing-applications/building-blocks/pubsub/pubsub-scopes/). */
export const topicScopes = [
  { name: "publishingScopes", value: scopesOf((service) => topicsOf(service).publishes) },
  { name: "subscriptionScopes", value: scopesOf((service) => topicsOf(service).subscribes) },
  { name: "allowedTopics", value: permittedTopics.join(",") },
  // Dapr lets an app that the scopes don't name do everything with a topic that isn't one of these.
  { name: "protectedTopics", value: permittedTopics.join(",") },
] as const;

/** A service without a topic is named, too. */
function scopesOf(topics: (service: ServiceKey) => readonly string[]): string {
  return serviceKeys.map((service) => `${services[service].appId}=${topics(service).join(",")}`).join(";");
}

/** Dapr's name for those that nobody gave another; whose namespace it is and which app is told besides. */
const trustDomain = "public";

/** The `accessControl` of a service's Configuration: who may call it (https://docs.dapr.io/operations/configuration/invoke-allowlist/). */
export function accessControlOf(callee: ServiceKey, namespace: string) {
  const callers = serviceKeys.filter((caller) => callsOf({ caller, callee }).length > 0);
  return {
    defaultAction: "deny",
    trustDomain,
    policies: callers.map((caller) => ({
      appId: services[caller].appId,
      defaultAction: "deny",
      trustDomain,
      namespace,
      operations: callsOf({ caller, callee }).map(({ path, methods }) => ({
        name: path,
        httpVerb: methods,
        action: "allow",
      })),
    })),
  };
}

function callsOf(by: { caller: ServiceKey; callee?: ServiceKey }) {
  return permittedCalls.filter(
    ({ caller, callee }) => caller === by.caller && (by.callee === undefined || callee === by.callee),
  );
}

/**
 * The `api` of a service's Configuration: what of Dapr's API its sidecar has at all. Besides it always has its health.
 * (https://docs.dapr.io/operations/configuration/api-allowlist/)
 */
export function apisOf(service: ServiceKey) {
  const isSubscriber = topicsOf(service).subscribes.length > 0;
  const names = [
    "publish",
    // For its notifications, figures or dead letters.
    ...(isSubscriber ? ["state"] : []),
    ...(service === "notificationService" ? ["bindings"] : []),
    ...(callsOf({ caller: service }).length > 0 ? ["invoke"] : []),
    // For the doctor.
    "metadata",
  ];
  return {
    allowed: [
      ...names.map((name) => ({ name, version: "v1", protocol: "http" })),
      // Nobody here speaks gRPC with a sidecar, which, without any rule of its own, would have all of it.
      { name: "metadata", version: "v1", protocol: "grpc" },
    ],
  };
}
