/**
 * The names that the services and the infrastructure must agree on. Each is written here once and imported by both.
 */

/** Dapr Component names (https://docs.dapr.io/operations/components/). */
export const components = { pubsub: "kafka-pubsub", stateStore: "statestore", email: "email" } as const;

/** A service: its Dapr app id, its Kubernetes name (Deployment, Service, container, `app` label) and its HTTP port. */
export interface ServiceIdentity {
  readonly appId: string;
  readonly name: string;
  readonly port: number;
}

export const services = {
  backend: { appId: "todo-backend", name: "backend", port: 8000 },
  notificationService: { appId: "notification-service", name: "notification-service", port: 8001 },
  recurringTaskService: { appId: "recurring-task-service", name: "recurring-task-service", port: 8002 },
  analyticsService: { appId: "analytics-service", name: "analytics-service", port: 8003 },
} as const satisfies Record<string, ServiceIdentity>;

/** One of the services, by its name here. */
export type ServiceKey = keyof typeof services;

export const serviceKeys = Object.keys(services) as ServiceKey[];

/** Something for each service. */
export function perService<T>(make: (service: ServiceKey) => T): Record<ServiceKey, T> {
  return Object.fromEntries(serviceKeys.map((service) => [service, make(service)])) as Record<ServiceKey, T>;
}

/** Makes something for each service, one after the other. */
export async function eachService<T>(make: (service: ServiceKey) => Promise<T>): Promise<Record<ServiceKey, T>> {
  const made: [ServiceKey, T][] = [];
  for (const service of serviceKeys) made.push([service, await make(service)]);
  return Object.fromEntries(made) as Record<ServiceKey, T>;
}

/** The services that events are delivered to: all but the one that publishes them. */
export const subscribers: readonly ServiceIdentity[] = Object.values(services).filter(
  (service) => service !== services.backend,
);

/** What users' bearer tokens have as `iss` and `aud`, so that one that the same key signed for something else isn't taken. */
export const tokens = { issuer: "event-flow", audience: "event-flow" } as const;

/** Kubernetes secrets and the keys inside them. */
export const secrets = {
  /**
   * What the services themselves need: where the database is, the key that signs users' bearer tokens, and what the keys for web
   * push are made of.
   */
  todo: {
    name: "todo-secrets",
    keys: {
      databaseUrl: "DATABASE_URL",
      jwtSecret: "JWT_SECRET",
      /** The key before, if it was ever changed. */
      jwtSecretPrevious: "JWT_SECRET_PREVIOUS",
      vapidSecret: "VAPID_SECRET",
    },
  },
  /** Where the analytics service's database is; nobody else has it. */
  analytics: { name: "analytics-secrets", keys: { databaseUrl: "DATABASE_URL" } },
  /** What the recurring-task service shows to the backend; nobody else has it. */
  nextTask: { name: "next-task-token", keys: { token: "NEXT_TASK_TOKEN" } },
  /** The state store's address as `host:port`, and its password. */
  redis: { name: "redis-credentials", keys: { host: "host", password: "password" } },
  /** The SASL user of Redpanda Cloud. */
  redpanda: { name: "redpanda-credentials", keys: { username: "username", password: "password" } },
  /** The user of the mail server. */
  smtp: { name: "smtp-credentials", keys: { user: "user", password: "password" } },
} as const;

/**
 * The secrets by which a service and its sidecar know each other: what the service shows when it calls (`api`), and what the
 * sidecar shows when it does (`app`). Each service has its own, so that a stolen one opens nothing else.
 */
export function daprTokenSecrets({ name }: ServiceIdentity): { readonly api: string; readonly app: string } {
  return { api: `${name}-dapr-api-token`, app: `${name}-dapr-app-token` };
}

/** The key in such a secret. Dapr's injector asks for this one. */
export const daprTokenKey = "token";

/** The header that such a token is shown in. */
export const daprTokenHeader = "dapr-api-token";

/** HTTP paths that the kubelet probes. */
export const probes = { liveness: "/health", readiness: "/ready" } as const;

/** The port on which a sidecar serves Dapr's HTTP API to its app (Dapr's default). */
export const daprHttpPort = 3500;

/** The port on which a sidecar takes calls of other sidecars (Dapr's default). */
export const daprInternalPort = 50_002;

/** The topic of the doctor's probe, which nobody subscribes to. Under the prefix that the backend may write to. */
export const probeTopic = "task-events.probe";
