import { components, perService, probes, secrets, services, subscribers } from "@event-flow/events";
import { beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { alertRules } from "../../components/alerts.ts";
import { scrapeConfig } from "../../components/scraping.ts";
import { devConfig, fixture } from "./support/config.ts";
import { runProgram } from "./support/program.ts";
import { resourcesSoFar, type Run, Secret } from "./support/pulumi.ts";

let dev: Run;
beforeAll(async () => {
  dev = await runProgram(devConfig);
}, 60_000);

/** Tells one content from another, and nothing of it. */
const revision: unknown = expect.stringMatching(/^[0-9a-f]{16}$/);

test("is made of exactly these resources", () => {
  const inventory = dev.resources.map(({ parent, name, type }) => `${parent} > ${name}: ${type}`);
  const tokens = Object.values(services).flatMap(({ name }) => [
    ` > ${name}-tokens: event-flow:dapr:Tokens`,
    ...["api", "app"].flatMap((use) => [
      `${name}-tokens > ${name}-tokens-${use}-token: random:index/randomPassword:RandomPassword`,
      `${name}-tokens > ${name}-tokens-${use}: event-flow:secrets:VersionedSecret`,
      `${name}-tokens-${use} > ${name}-tokens-${use}-key: random:index/randomPassword:RandomPassword`,
      `${name}-tokens-${use} > ${name}-tokens-${use}-secret: kubernetes:core/v1:Secret`,
    ]),
  ]);
  const configurations = Object.values(services).flatMap(({ name }) => [
    ` > ${name}-configuration: event-flow:dapr:Configuration`,
    `${name}-configuration > ${name}-configuration-manifest: kubernetes:dapr.io/v1alpha1:Configuration`,
  ]);
  expect(
    inventory
      .filter((each) => /-tokens|-configuration: event-flow:dapr|-configuration >.*Configuration$/.test(each))
      .sort(),
  ).toEqual([...tokens, ...configurations].sort());
  const others = inventory.filter((each) => !tokens.includes(each) && !configurations.includes(each)).sort();
  expect(others).toEqual([
    " > analytics-service: event-flow:dapr:Service",
    " > backend: event-flow:dapr:Service",
    " > broker: event-flow:broker:Broker",
    " > cluster: event-flow:cluster:Cluster",
    " > dapr: event-flow:dapr:ControlPlane",
    " > database: event-flow:database:Database",
    " > email: event-flow:dapr:Component",
    " > front-door: event-flow:cluster:FrontDoor",
    " > images: event-flow:images:Images",
    " > mail: event-flow:mail:Mail",
    " > monitoring: event-flow:monitoring:Monitoring",
    " > network: event-flow:network:NetworkPolicies",
    " > notification-service: event-flow:dapr:Service",
    " > pubsub: event-flow:dapr:Component",
    " > recurring-task-service: event-flow:dapr:Service",
    " > resiliency: event-flow:dapr:Resiliency",
    " > secrets: event-flow:secrets:AppSecrets",
    " > state-store: event-flow:state:StateStore",
    " > statestore: event-flow:dapr:Component",
    "analytics-service > analytics-service-account: kubernetes:core/v1:ServiceAccount",
    "analytics-service > analytics-service-deployment: kubernetes:apps/v1:Deployment",
    "analytics-service > analytics-service-service: kubernetes:core/v1:Service",
    "backend > backend-account: kubernetes:core/v1:ServiceAccount",
    "backend > backend-deployment: kubernetes:apps/v1:Deployment",
    "backend > backend-service: kubernetes:core/v1:Service",
    "broker > broker-server: event-flow:server:StatefulServer",
    "broker-server > broker-server-service: kubernetes:core/v1:Service",
    "broker-server > broker-server-set: kubernetes:apps/v1:StatefulSet",
    "cluster > cluster-namespace: kubernetes:core/v1:NamespacePatch",
    "cluster > cluster-provider: pulumi:providers:kubernetes",
    "dapr > dapr-crd-components.dapr.io: kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition",
    "dapr > dapr-crd-subscriptions.dapr.io: kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition",
    "dapr > dapr-namespace: kubernetes:core/v1:Namespace",
    "dapr > dapr-release: kubernetes:helm.sh/v3:Release",
    "database > database-analytics-credentials: event-flow:secrets:VersionedSecret",
    "database > database-analytics-password: random:index/randomPassword:RandomPassword",
    "database > database-credentials: kubernetes:core/v1:Secret",
    "database > database-make-analytics: kubernetes:batch/v1:Job",
    "database > database-password: random:index/randomPassword:RandomPassword",
    "database > database-server: event-flow:server:StatefulServer",
    "database-analytics-credentials > database-analytics-credentials-key: random:index/randomPassword:RandomPassword",
    "database-analytics-credentials > database-analytics-credentials-secret: kubernetes:core/v1:Secret",
    "database-server > database-server-service: kubernetes:core/v1:Service",
    "database-server > database-server-set: kubernetes:apps/v1:StatefulSet",
    "email > email-manifest: kubernetes:dapr.io/v1alpha1:Component",
    "mail > mail-server: event-flow:server:StatefulServer",
    "mail-server > mail-server-service: kubernetes:core/v1:Service",
    "mail-server > mail-server-set: kubernetes:apps/v1:StatefulSet",
    "monitoring > monitoring-dashboards: kubernetes:core/v1:ConfigMap",
    "monitoring > monitoring-lag: event-flow:monitoring:LagExporter",
    "monitoring > monitoring-prometheus: kubernetes:core/v1:ConfigMap",
    "monitoring-lag > monitoring-lag-deployment: kubernetes:apps/v1:Deployment",
    "network > network-deny-all: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-analytics-service-metrics: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-backend-by-dapr: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-backend-metrics: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-lag-exporter-metrics: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-maildev: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-notification-service-metrics: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-postgres: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-recurring-task-service-metrics: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-redis: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-into-redpanda: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-backend-by-dapr: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-dapr-operator: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-dapr-placement-server: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-dapr-scheduler-server: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-dapr-sentry: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-dns: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-maildev: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-postgres: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-push-services: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-redis: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "network > network-to-redpanda: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "notification-service > notification-service-account: kubernetes:core/v1:ServiceAccount",
    "notification-service > notification-service-deployment: kubernetes:apps/v1:Deployment",
    "notification-service > notification-service-service: kubernetes:core/v1:Service",
    "pubsub > pubsub-manifest: kubernetes:dapr.io/v1alpha1:Component",
    "recurring-task-service > recurring-task-service-account: kubernetes:core/v1:ServiceAccount",
    "recurring-task-service > recurring-task-service-deployment: kubernetes:apps/v1:Deployment",
    "recurring-task-service > recurring-task-service-service: kubernetes:core/v1:Service",
    "resiliency > resiliency-manifest: kubernetes:dapr.io/v1alpha1:Resiliency",
    "secrets > secrets-analytics: event-flow:secrets:VersionedSecret",
    "secrets > secrets-jwt: random:index/randomPassword:RandomPassword",
    "secrets > secrets-next-task-token: random:index/randomPassword:RandomPassword",
    "secrets > secrets-next-task: event-flow:secrets:VersionedSecret",
    "secrets > secrets-todo: event-flow:secrets:VersionedSecret",
    "secrets > secrets-vapid: random:index/randomPassword:RandomPassword",
    "secrets-analytics > secrets-analytics-key: random:index/randomPassword:RandomPassword",
    "secrets-analytics > secrets-analytics-secret: kubernetes:core/v1:Secret",
    "secrets-next-task > secrets-next-task-key: random:index/randomPassword:RandomPassword",
    "secrets-next-task > secrets-next-task-secret: kubernetes:core/v1:Secret",
    "secrets-todo > secrets-todo-key: random:index/randomPassword:RandomPassword",
    "secrets-todo > secrets-todo-secret: kubernetes:core/v1:Secret",
    "state-store > state-store-configuration: event-flow:secrets:VersionedSecret",
    "state-store > state-store-credentials: event-flow:secrets:VersionedSecret",
    "state-store > state-store-password: random:index/randomPassword:RandomPassword",
    "state-store > state-store-server: event-flow:server:StatefulServer",
    "state-store-configuration > state-store-configuration-key: random:index/randomPassword:RandomPassword",
    "state-store-configuration > state-store-configuration-secret: kubernetes:core/v1:Secret",
    "state-store-credentials > state-store-credentials-key: random:index/randomPassword:RandomPassword",
    "state-store-credentials > state-store-credentials-secret: kubernetes:core/v1:Secret",
    "state-store-server > state-store-server-service: kubernetes:core/v1:Service",
    "state-store-server > state-store-server-set: kubernetes:apps/v1:StatefulSet",
    "statestore > statestore-manifest: kubernetes:dapr.io/v1alpha1:Component",
  ]);
});

test("deploys everything by the cluster's own provider", () => {
  const { inputs } = dev.resource("cluster-provider");
  expect(inputs).toEqual({
    context: "minikube",
    kubeconfig: fixture("kubeconfig.yaml"),
    clusterIdentifier: "minikube",
    enableSecretMutable: "true",
  });
  const strays = dev.resources.filter(({ type, provider }) => type.startsWith("kubernetes:") && provider === "");
  expect(strays).toEqual([]);
});

test("every component says what it made", () => {
  const silent = dev.resources.filter(
    ({ type, outputs }) => type.startsWith("event-flow:") && Object.keys(outputs ?? {}).length === 0,
  );
  // Nothing stands before the backend on stack dev.
  expect(silent.map(({ name }) => name)).toEqual(["front-door"]);
});

test("tells how to reach it, and no secret", () => {
  expect(dev.outputs).toEqual({
    kubeContext: "minikube",
    namespace: "default",
    images: perService((service) => `${services[service].name}:test`),
    reachBackend: "kubectl --context minikube --namespace default port-forward service/backend 8000:80",
  });
});

describe("Dapr", () => {
  test("leaves running sidecars alone when a secret or a Component changes", () => {
    for (const { name } of Object.values(services)) {
      const manifest = dev.resource(`${name}-configuration-manifest`);
      expect(manifest.inputs).toMatchObject({
        apiVersion: "dapr.io/v1alpha1",
        kind: "Configuration",
        metadata: { name, namespace: "default" },
        spec: {
          features: [{ name: "HotReload", enabled: false }],
          metrics: { enabled: true, http: { increasedCardinality: false } },
        },
      });
      expect(dev.resource(`${name}-configuration`).dependsOn).toContain("dapr-release");
    }
  });

  const spec = (name: string) => dev.resource(`${name}-configuration-manifest`).inputs["spec"];

  test("lets nobody call a service but the recurring-task service the backend, to have next tasks made", () => {
    const denied = { defaultAction: "deny", trustDomain: "public", policies: [] };
    for (const { name } of subscribers) expect(spec(name)).toMatchObject({ accessControl: denied });
    expect(spec(services.backend.name)).toMatchObject({
      accessControl: {
        ...denied,
        policies: [
          {
            appId: services.recurringTaskService.appId,
            defaultAction: "deny",
            trustDomain: "public",
            namespace: "default",
            operations: [{ name: "/internal/**/tasks/**/next", httpVerb: ["GET", "PUT"], action: "allow" }],
          },
        ],
      },
    });
  });

  test.each([
    ["backend", ["publish", "metadata"]],
    ["notification-service", ["publish", "state", "bindings", "metadata"]],
    ["recurring-task-service", ["publish", "state", "invoke", "metadata"]],
    ["analytics-service", ["publish", "state", "metadata"]],
  ])("gives the sidecar of %s what the service uses of Dapr's API, and no secret", (name, apis) => {
    expect(spec(name)).toMatchObject({
      api: {
        allowed: [
          ...apis.map((api) => ({ name: api, version: "v1", protocol: "http" })),
          { name: "metadata", version: "v1", protocol: "grpc" },
        ],
      },
      secrets: { scopes: [{ storeName: "kubernetes", defaultAccess: "deny" }] },
    });
  });

  test("is a Helm release that waits, with its CRDs in step", () => {
    const release = dev.resource("dapr-release");
    expect(release.inputs).toEqual({
      name: "dapr",
      namespace: "dapr-system",
      chart: fixture("dapr-chart"),
      skipCrds: true,
      timeout: 600,
      compat: "true",
      values: {
        global: {
          tag: "1.18.0",
          ha: { enabled: false, topologyKey: "kubernetes.io/hostname" },
          mtls: { enabled: true },
          seccompProfile: "RuntimeDefault",
        },
        dapr_operator: { watchInterval: "10s", resources: smallResources },
        dapr_sidecar_injector: {
          sidecarDropALLCapabilities: true,
          sidecarReadOnlyRootFilesystem: true,
          sidecarRunAsNonRoot: true,
          resources: smallResources,
        },
        dapr_sentry: { resources: smallResources, tls: expect.any(Secret) as Secret },
        dapr_placement: { resources: smallResources },
        dapr_scheduler: { cluster: { inMemoryStorage: true }, resources: smallResources },
        dapr_rbac: { secretReader: { enabled: false } },
      },
    });
    expect(release.dependsOn).toEqual([
      "dapr-crd-components.dapr.io",
      "dapr-crd-subscriptions.dapr.io",
      "dapr-namespace",
    ]);
    expect(dev.resource("dapr-namespace").inputs["metadata"]).toMatchObject({ name: "dapr-system" });
  });

  test("has the conversion webhook of its CRDs where the control plane is", () => {
    expect(dev.resource("dapr-crd-subscriptions.dapr.io").inputs).toEqual({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: "subscriptions.dapr.io" },
      spec: {
        group: "dapr.io",
        conversion: { webhook: { clientConfig: { service: { namespace: "dapr-system" } } } },
      },
    });
  });

  test.each(["pubsub", "statestore", "resiliency", ...Object.values(services).map(({ name }) => name)])(
    "is there before %s",
    (name) => {
      expect(dev.resource(name).dependsOn).toContain("dapr-release");
    },
  );

  const smallResources = { requests: { cpu: "20m", memory: "48Mi" }, limits: { memory: "256Mi" } };
});

describe("Components", () => {
  const events = ["task_created", "task_updated", "task_completed", "task_deleted"].map(
    (type) => `task-events.${type}`,
  );
  const everyTopic = [
    ...events,
    "task-events.probe",
    ...subscribers.map(({ name }) => `task-events.dead-letter.${name}`),
  ].join(",");

  test("the services publish and subscribe through Redpanda", () => {
    expect(dev.resource("pubsub-manifest").inputs).toEqual({
      apiVersion: "dapr.io/v1alpha1",
      kind: "Component",
      metadata: { name: components.pubsub, namespace: "default" },
      spec: {
        type: "pubsub.kafka",
        version: "v1",
        metadata: [
          { name: "brokers", value: "redpanda:9092" },
          { name: "clientID", value: "{appID}" },
          { name: "initialOffset", value: "oldest" },
          { name: "sessionTimeout", value: "6s" },
          { name: "heartbeatInterval", value: "2s" },
          { name: "consumeRetryEnabled", value: "true" },
          { name: "backOffDuration", value: "1s" },
          { name: "excludeHeaderMetaRegex", value: expect.stringMatching(/^\^\(\?:/) as string },
          { name: "escapeHeaders", value: "true" },
          {
            name: "publishingScopes",
            value: [
              `todo-backend=${[...events, "task-events.probe"].join(",")}`,
              "notification-service=task-events.dead-letter.notification-service",
              "recurring-task-service=task-events.dead-letter.recurring-task-service",
              "analytics-service=task-events.dead-letter.analytics-service",
            ].join(";"),
          },
          {
            name: "subscriptionScopes",
            value: [
              "todo-backend=",
              `notification-service=${[...events, "task-events.dead-letter.notification-service"].join(",")}`,
              "recurring-task-service=task-events.task_updated,task-events.task_completed,task-events.dead-letter.recurring-task-service",
              `analytics-service=${[...events, "task-events.dead-letter.analytics-service"].join(",")}`,
            ].join(";"),
          },
          { name: "allowedTopics", value: everyTopic },
          { name: "protectedTopics", value: everyTopic },
          { name: "authType", value: "none" },
        ],
      },
      scopes: Object.values(services).map(({ appId }) => appId),
    });
  });

  test("subscribers keep state in Valkey", () => {
    expect(dev.resource("statestore-manifest").inputs).toEqual({
      apiVersion: "dapr.io/v1alpha1",
      kind: "Component",
      metadata: { name: components.stateStore, namespace: "default" },
      spec: {
        type: "state.redis",
        version: "v1",
        metadata: [
          { name: "redisHost", secretKeyRef: { name: secrets.redis.name, key: secrets.redis.keys.host } },
          { name: "redisPassword", secretKeyRef: { name: secrets.redis.name, key: secrets.redis.keys.password } },
          { name: "enableTLS", value: "false" },
          { name: "actorStateStore", value: "true" },
        ],
      },
      scopes: subscribers.map(({ appId }) => appId),
    });
  });

  test("the notification service mails to MailDev", () => {
    expect(dev.resource("email-manifest").inputs).toEqual({
      apiVersion: "dapr.io/v1alpha1",
      kind: "Component",
      metadata: { name: components.email, namespace: "default" },
      spec: {
        type: "bindings.smtp",
        version: "v1",
        metadata: [
          { name: "host", value: "maildev" },
          { name: "port", value: "1025" },
          { name: "emailFrom", value: "event-flow@example.com" },
        ],
      },
      scopes: [services.notificationService.appId],
    });
  });

  test("sidecars try again without end what a handler wants again, and bound all else", () => {
    expect(dev.resource("resiliency-manifest").inputs).toEqual({
      apiVersion: "dapr.io/v1alpha1",
      kind: "Resiliency",
      metadata: { name: "delivery", namespace: "default" },
      spec: {
        policies: {
          retries: { untilHandled: { policy: "constant", duration: "1s", maxRetries: -1 } },
          timeouts: { publish: "4s", handle: "15s", state: "2s", invoke: "4s" },
          circuitBreakers: { broker: { maxRequests: 1, timeout: "3s", trip: "consecutiveFailures >= 3" } },
        },
        targets: {
          components: {
            [components.pubsub]: {
              outbound: { timeout: "publish", circuitBreaker: "broker" },
              inbound: { timeout: "handle", retry: "untilHandled" },
            },
            [components.stateStore]: { outbound: { timeout: "state" } },
          },
          apps: { [services.backend.appId]: { timeout: "invoke" } },
        },
      },
      scopes: Object.values(services).map(({ appId }) => appId),
    });
  });

  test("wait for what they lead to", () => {
    expect(dev.resource("pubsub").dependsOn).toContain("broker-server-set");
    expect(dev.resource("statestore").dependsOn).toContain("state-store-server-set");
    expect(dev.resource("email").dependsOn).toContain("mail-server-set");
    expect(dev.resource("notification-service").dependsOn).toContain("email-manifest");
  });
});

describe("secrets", () => {
  const tokens = Object.values(services).flatMap(({ name }) => [`${name}-tokens-api`, `${name}-tokens-app`]);

  test("are random, and safe in a URL", () => {
    const passwords = dev.resources.filter(({ type }) => type === "random:index/randomPassword:RandomPassword");
    expect(Object.fromEntries(passwords.map(({ name, inputs }) => [name, inputs]))).toEqual({
      "database-analytics-credentials-key": { length: 32, special: false },
      "database-analytics-password": { length: 32, special: false },
      "database-password": { length: 32, special: false },
      "secrets-analytics-key": { length: 32, special: false },
      "secrets-jwt": { length: 64, special: false },
      "secrets-next-task-key": { length: 32, special: false },
      "secrets-next-task-token": { length: 64, special: false },
      "secrets-vapid": { length: 64, special: false },
      "secrets-todo-key": { length: 32, special: false },
      "state-store-configuration-key": { length: 32, special: false },
      "state-store-credentials-key": { length: 32, special: false },
      "state-store-password": { length: 32, special: false },
      ...Object.fromEntries(
        tokens.flatMap((name) => [
          [`${name}-token`, { length: 64, special: false }],
          [`${name}-key`, { length: 32, special: false }],
        ]),
      ),
    });
  });

  test("go into Kubernetes secrets as secrets", () => {
    const kubernetesSecrets = dev.resources.filter(({ type }) => type === "kubernetes:core/v1:Secret");
    const data = kubernetesSecrets.map(({ inputs }) => [
      (inputs["metadata"] as { name: string }).name,
      inputs["stringData"],
    ]);
    expect(Object.fromEntries(data)).toEqual({
      "postgres-analytics-credentials": new Secret({ password: "<database-analytics-password>" }),
      "postgres-credentials": new Secret({ password: "<database-password>" }),
      [secrets.analytics.name]: new Secret({
        DATABASE_URL: "postgresql://analytics:<database-analytics-password>@postgres:5432/analytics",
      }),
      [secrets.redis.name]: new Secret({ host: "redis:6379", password: "<state-store-password>" }),
      "redis-configuration": new Secret({
        "valkey.conf": [
          "bind * -::*",
          "port 6379",
          "requirepass <state-store-password>",
          "dir /data",
          "appendonly yes",
          'save ""',
          "maxmemory 128mb",
          "maxmemory-policy noeviction",
          "",
        ].join("\n"),
      }),
      [secrets.todo.name]: new Secret({
        DATABASE_URL: "postgresql://todo:<database-password>@postgres:5432/todo",
        JWT_SECRET: "<secrets-jwt>",
        VAPID_SECRET: "<secrets-vapid>",
      }),
      [secrets.nextTask.name]: new Secret({ NEXT_TASK_TOKEN: "<secrets-next-task-token>" }),
      // Each of its own.
      ...Object.fromEntries(
        Object.values(services).flatMap(({ name }) => [
          [`${name}-dapr-api-token`, new Secret({ token: `<${name}-tokens-api-token>` })],
          [`${name}-dapr-app-token`, new Secret({ token: `<${name}-tokens-app-token>` })],
        ]),
      ),
    });
  });

  test("are in plain nowhere", () => {
    // What is marked as a secret does not show in JSON.
    expect(JSON.stringify([dev.resources, dev.outputs])).not.toMatch(/<[\w-]+-(password|jwt|vapid|token|key)>/);
  });
});

/** The resources of a container, which all have the same of their node's disk. */
const withDisk = (requests: object, limits: object) => ({
  requests: { ...requests, "ephemeral-storage": "64Mi" },
  limits: { ...limits, "ephemeral-storage": "512Mi" },
});

const restricted = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true };

/** What a StatefulSet or Deployment runs. */
interface Workload {
  template: {
    metadata: { labels: object; annotations?: Record<string, string> };
    spec: Record<string, unknown> & { containers: [Record<string, unknown>]; securityContext: object };
  };
}
const workload = (name: string) => dev.resource(name).inputs["spec"] as Workload & Record<string, unknown>;

describe("servers in the cluster", () => {
  const server = (name: string) => {
    const { template, ...spec } = workload(`${name}-server-set`);
    return { spec, template, container: template.spec.containers[0] };
  };

  test("Redpanda, as the design's kubectl commands know it", () => {
    const { spec, template, container } = server("broker");
    expect(dev.resource("broker-server-set").inputs["metadata"]).toEqual({
      name: "redpanda",
      namespace: "default",
      labels: { app: "redpanda" },
    });
    expect(spec).toEqual({
      serviceName: "redpanda",
      replicas: 1,
      selector: { matchLabels: { app: "redpanda" } },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: "Delete", whenScaled: "Retain" },
      volumeClaimTemplates: [
        {
          metadata: { name: "data" },
          spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
        },
      ],
    });
    expect(template.metadata).toEqual({ labels: { app: "redpanda" } });
    expect(container).toEqual({
      name: "redpanda",
      image: "docker.redpanda.com/redpandadata/redpanda:v25.3.9",
      args: [
        "redpanda",
        "start",
        "--mode=dev-container",
        "--smp=1",
        "--memory=1G",
        "--kafka-addr=0.0.0.0:9092",
        "--advertise-kafka-addr=redpanda:9092",
        "--rpc-addr=127.0.0.1:33145",
        "--advertise-rpc-addr=127.0.0.1:33145",
      ],
      ports: [{ name: "server", containerPort: 9092 }],
      readinessProbe: { tcpSocket: { port: "server" }, periodSeconds: 2, timeoutSeconds: 5 },
      resources: withDisk({ cpu: "100m", memory: "512Mi" }, { cpu: "2", memory: "1536Mi" }),
      securityContext: restricted,
      volumeMounts: [
        { name: "data", mountPath: "/var/lib/redpanda/data" },
        { name: "etc-redpanda", mountPath: "/etc/redpanda" },
        { name: "tmp", mountPath: "/tmp" },
      ],
    });
    expect(dev.resource("broker-server-service").inputs).toMatchObject({
      metadata: { name: "redpanda", namespace: "default" },
      spec: {
        clusterIP: "None",
        publishNotReadyAddresses: true,
        selector: { app: "redpanda" },
        ports: [{ name: "server", port: 9092, targetPort: "server" }],
      },
    });
  });

  test("Valkey, with its password in files and variables from secrets only", () => {
    const { template, container } = server("state-store");
    expect(container).toEqual({
      name: "redis",
      image: "valkey/valkey:8.1.4",
      args: ["valkey-server", "/etc/valkey/valkey.conf"],
      env: [
        {
          name: "REDISCLI_AUTH",
          valueFrom: { secretKeyRef: { name: "redis-credentials", key: "password" } },
        },
      ],
      ports: [{ name: "server", containerPort: 6379 }],
      readinessProbe: {
        exec: { command: ["sh", "-c", "valkey-cli ping | grep -q PONG"] },
        periodSeconds: 2,
        timeoutSeconds: 5,
      },
      resources: withDisk({ cpu: "20m", memory: "32Mi" }, { cpu: "1", memory: "256Mi" }),
      securityContext: restricted,
      volumeMounts: [
        { name: "data", mountPath: "/data" },
        { name: "files", mountPath: "/etc/valkey", readOnly: true },
      ],
    });
    expect(template.spec["volumes"]).toEqual([{ name: "files", secret: { secretName: "redis-configuration" } }]);
    expect(template.metadata.annotations).toEqual({ "event-flow/made-of": revision });
  });

  test("MailDev, with its page beside the port that takes mail", () => {
    const { spec, container } = server("mail");
    expect(spec).toMatchObject({ serviceName: "maildev", replicas: 1 });
    expect(container).toMatchObject({
      name: "maildev",
      image: "maildev/maildev:3.0.0",
      env: [
        { name: "MAILDEV_SMTP_PORT", value: "1025" },
        { name: "MAILDEV_WEB_PORT", value: "1080" },
        { name: "MAILDEV_MAIL_DIRECTORY", value: "/var/lib/maildev" },
        { name: "MAILDEV_MAX_EMAILS", value: "1000" },
      ],
      ports: [
        { name: "server", containerPort: 1025 },
        { name: "web", containerPort: 1080 },
      ],
    });
    expect(dev.resource("mail-server-service").inputs["spec"]).toMatchObject({
      ports: [
        { name: "server", port: 1025, targetPort: "server" },
        { name: "web", port: 1080, targetPort: "web" },
      ],
    });
  });

  test("PostgreSQL, with a user and a database of the backend's own", () => {
    expect(server("database").container).toEqual({
      name: "postgres",
      image: expect.stringMatching(/^postgres:17\.6-trixie@sha256:[0-9a-f]{64}$/) as unknown,
      env: [
        { name: "POSTGRES_DB", value: "todo" },
        { name: "POSTGRES_USER", value: "todo" },
        {
          name: "POSTGRES_PASSWORD",
          valueFrom: { secretKeyRef: { name: "postgres-credentials", key: "password" } },
        },
        { name: "PGDATA", value: "/var/lib/postgresql/data/pgdata" },
      ],
      ports: [{ name: "server", containerPort: 5432 }],
      readinessProbe: {
        exec: { command: ["pg_isready", "--host=127.0.0.1", "--username=todo", "--dbname=todo"] },
        periodSeconds: 2,
        timeoutSeconds: 5,
      },
      resources: withDisk({ cpu: "50m", memory: "96Mi" }, { cpu: "2", memory: "512Mi" }),
      securityContext: restricted,
      volumeMounts: [
        { name: "data", mountPath: "/var/lib/postgresql/data" },
        { name: "tmp", mountPath: "/tmp" },
        { name: "var-run-postgresql", mountPath: "/var/run/postgresql" },
      ],
    });
  });

  test("have empty folders to write to, which can't fill up the node's disk", () => {
    const scratch = (name: string) => server(name).template.spec["volumes"];
    expect(scratch("broker")).toEqual([
      { name: "etc-redpanda", emptyDir: { sizeLimit: "64Mi" } },
      { name: "tmp", emptyDir: { sizeLimit: "64Mi" } },
    ]);
    expect(scratch("mail")).toEqual([{ name: "tmp", emptyDir: { sizeLimit: "64Mi" } }]);
  });

  test("PostgreSQL gets a user and a database of the analytics service's own, also where it has long been there", () => {
    const { inputs, dependsOn } = dev.resource("database-make-analytics");
    const { template } = inputs["spec"] as Workload;
    expect(template.metadata.annotations).toEqual({ "event-flow/revision": revision });
    expect(template.spec.containers[0]).toMatchObject({
      image: expect.stringMatching(/^postgres:17\.6-trixie@sha256:[0-9a-f]{64}$/) as unknown,
      env: [
        { name: "PGHOST", value: "postgres" },
        { name: "PGDATABASE", value: "todo" },
        { name: "PGUSER", value: "todo" },
        { name: "PGPASSWORD", valueFrom: { secretKeyRef: { name: "postgres-credentials", key: "password" } } },
        { name: "PASSWORD", valueFrom: { secretKeyRef: { name: "postgres-analytics-credentials", key: "password" } } },
        { name: "SQL" },
      ],
    });
    expect(dependsOn).toContain("database-server-set");
  });

  test.each([
    ["broker", 101],
    ["state-store", 999],
    ["database", 999],
  ])("%s runs as its image's user, with no right it does not need", (name, user) => {
    expect(server(name).template.spec).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 30,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: user,
        runAsGroup: user,
        fsGroup: user,
        seccompProfile: { type: "RuntimeDefault" },
      },
    });
  });
});

describe.each([
  {
    key: "backend",
    variables: {
      DATABASE_URL: secrets.todo.name,
      JWT_SECRET: secrets.todo.name,
      NEXT_TASK_TOKEN: secrets.nextTask.name,
    },
    revisions: { "event-flow/revision-of-next-task-token": revision },
  },
  {
    key: "notificationService",
    variables: { JWT_SECRET: secrets.todo.name, VAPID_SECRET: secrets.todo.name },
    revisions: { "event-flow/revision-of-email": revision },
  },
  {
    key: "recurringTaskService",
    variables: { JWT_SECRET: secrets.todo.name, NEXT_TASK_TOKEN: secrets.nextTask.name },
    revisions: { "event-flow/revision-of-next-task-token": revision },
  },
  {
    key: "analyticsService",
    // Not the backend's database.
    variables: { DATABASE_URL: secrets.analytics.name, JWT_SECRET: secrets.todo.name },
    revisions: { "event-flow/revision-of-analytics-secrets": revision },
  },
] as const)("the service $key", ({ key, variables, revisions }) => {
  const { name, appId, port } = services[key];

  test("runs its image beside a sidecar", () => {
    const deployment = dev.resource(`${name}-deployment`);
    expect(deployment.inputs["metadata"]).toEqual({ name, namespace: "default", labels: { app: name } });
    expect(deployment.inputs["spec"]).toEqual({
      replicas: 1,
      revisionHistoryLimit: 3,
      selector: { matchLabels: { app: name } },
      strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: {
        metadata: {
          labels: { app: name },
          annotations: {
            "dapr.io/enabled": "true",
            "dapr.io/config": name,
            "dapr.io/app-id": appId,
            "dapr.io/app-port": String(port),
            "dapr.io/app-protocol": "http",
            "dapr.io/log-level": "info",
            "dapr.io/enable-metrics": "true",
            "dapr.io/metrics-port": "9090",
            "dapr.io/sidecar-cpu-request": "50m",
            "dapr.io/sidecar-cpu-limit": "200m",
            "dapr.io/sidecar-memory-request": "64Mi",
            "dapr.io/sidecar-memory-limit": "256Mi",
            "dapr.io/env": "GOMEMLIMIT=230MiB",
            "dapr.io/sidecar-seccomp-profile-type": "RuntimeDefault",
            "dapr.io/disable-builtin-k8s-secret-store": "true",
            "dapr.io/api-token-secret": `${name}-dapr-api-token`,
            "dapr.io/app-token-secret": `${name}-dapr-app-token`,
            "dapr.io/sidecar-listen-addresses": "[::1],127.0.0.1",
            "dapr.io/block-shutdown-duration": "10s",
            "dapr.io/graceful-shutdown-seconds": "10",
            "prometheus.io/scrape": "true",
            "prometheus.io/port": String(port),
            "prometheus.io/path": "/metrics",
            "event-flow/revision-of-todo-secrets": revision,
            "event-flow/revision-of-redis-credentials": revision,
            "event-flow/revision-of-kafka-pubsub": revision,
            "event-flow/revision-of-resiliency": revision,
            "event-flow/revision-of-configuration": revision,
            [`event-flow/revision-of-${name}-dapr-api-token`]: revision,
            [`event-flow/revision-of-${name}-dapr-app-token`]: revision,
            "event-flow/revision-of-statestore": revision,
            ...revisions,
          },
        },
        spec: {
          serviceAccountName: name,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 45,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 65532,
            runAsGroup: 65532,
            fsGroup: 65532,
            seccompProfile: { type: "RuntimeDefault" },
          },
          containers: [
            {
              name,
              image: `${name}:test`,
              imagePullPolicy: "IfNotPresent",
              env: [
                ...Object.entries(variables).map(([variable, secret]) => ({
                  name: variable,
                  valueFrom: { secretKeyRef: { name: secret, key: variable } },
                })),
                // The injector gives them to the sidecar only.
                {
                  name: "DAPR_API_TOKEN",
                  valueFrom: { secretKeyRef: { name: `${name}-dapr-api-token`, key: "token" } },
                },
                {
                  name: "APP_API_TOKEN",
                  valueFrom: { secretKeyRef: { name: `${name}-dapr-app-token`, key: "token" } },
                },
                ...(key === "notificationService"
                  ? [
                      { name: "EMAIL", value: "on" },
                      { name: "VAPID_SUBJECT", value: "mailto:event-flow@example.com" },
                    ]
                  : []),
              ],
              ports: [{ name: "http", containerPort: port }],
              startupProbe: {
                httpGet: { path: probes.liveness, port: "http" },
                periodSeconds: 2,
                failureThreshold: 60,
              },
              livenessProbe: {
                httpGet: { path: probes.liveness, port: "http" },
                periodSeconds: 10,
                timeoutSeconds: 3,
              },
              readinessProbe: {
                httpGet: { path: probes.readiness, port: "http" },
                periodSeconds: 3,
                timeoutSeconds: 3,
              },
              lifecycle: { preStop: { sleep: { seconds: 5 } } },
              resources: withDisk({ cpu: "50m", memory: "96Mi" }, { cpu: "500m", memory: "512Mi" }),
              securityContext: restricted,
              volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
            },
          ],
          volumes: [{ name: "tmp", emptyDir: { medium: "Memory", sizeLimit: "16Mi" } }],
        },
      },
    });
  });

  test("has a Service and an account without a token", () => {
    expect(dev.resource(`${name}-service`).inputs).toMatchObject({
      metadata: { name, namespace: "default" },
      spec: { selector: { app: name }, ports: [{ name: "http", port: 80, targetPort: "http" }] },
    });
    expect(dev.resource(`${name}-account`).inputs).toMatchObject({
      metadata: { name, namespace: "default" },
      automountServiceAccountToken: false,
    });
  });

  test("starts after what it needs", () => {
    expect(dev.resource(name).dependsOn).toEqual(
      expect.arrayContaining([
        "dapr-release",
        "pubsub-manifest",
        "statestore-manifest",
        "resiliency-manifest",
        "database-server-set",
        "database-make-analytics",
      ]),
    );
  });
});

describe("monitoring", () => {
  const files = (name: string) => dev.resource(name).inputs["data"] as Record<string, string>;

  test("tells a Prometheus what to scrape and when to tell somebody", () => {
    const { "prometheus.yaml": config = "", "alerts.yaml": rules = "", ...others } = files("monitoring-prometheus");
    expect(parse(config)).toEqual(scrapeConfig("default"));
    expect(parse(rules)).toEqual(alertRules);
    expect(others).toEqual({});
  });

  test("finds of the pods what shows metrics, by the annotations that they have", () => {
    const port = "__meta_kubernetes_pod_container_port_name";
    // Of each job: what it keeps, as Prometheus names it. (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod)
    const kept = scrapeConfig("default").scrape_configs.map(({ job_name, relabel_configs }) => [
      job_name,
      relabel_configs.flatMap((rule) =>
        "regex" in rule && rule.action === "keep" ? [rule.source_labels, rule.regex] : [],
      ),
    ]);
    expect(kept).toEqual([
      ["event-flow-apps", [["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "true", [port], "http"]],
      [
        "event-flow-sidecars",
        [["__meta_kubernetes_pod_annotation_dapr_io_enable_metrics"], "true", [port], "dapr-metrics"],
      ],
      ["event-flow-broker", [["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "true", [port], "metrics"]],
    ]);
  });

  test("has a dashboard that Grafana's Helm chart finds", () => {
    expect(dev.resource("monitoring-dashboards").inputs["metadata"]).toMatchObject({
      labels: { grafana_dashboard: "1" },
    });
    const dashboard = JSON.parse(files("monitoring-dashboards")["event-flow-delivery.json"] ?? "") as {
      panels: { type: string; gridPos: { x: number; y: number; w: number; h: number } }[];
    };
    const drawn = dashboard.panels.filter(({ type }) => type === "timeseries").map(({ gridPos }) => gridPos);
    expect(drawn.length).toBeGreaterThan(10);
    // No panel lies on another, or beyond the edge.
    expect(new Set(drawn.map(({ x, y }) => `${x},${y}`)).size).toBe(drawn.length);
    expect(drawn.filter(({ x, w }) => x + w > 24)).toEqual([]);
  });

  test("asks the broker how far each subscriber is behind, and needs no right in the cluster", () => {
    const { template } = workload("monitoring-lag-deployment");
    expect(template.metadata.annotations).toEqual({
      "prometheus.io/scrape": "true",
      "prometheus.io/port": "9308",
      "prometheus.io/path": "/metrics",
    });
    expect(template.spec).toMatchObject({
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true },
    });
    expect(template.spec.containers[0]).toMatchObject({
      image: "backend:test",
      env: [
        { name: "BROKERS", value: "redpanda:9092" },
        { name: "GROUPS", value: subscribers.map(({ appId }) => appId).join(",") },
        { name: "PORT", value: "9308" },
      ],
    });
    expect(dev.resource("monitoring").dependsOn).toContain("broker-server-set");
  });
});

describe("with other settings", () => {
  test("Apache Kafka carries the events", async () => {
    const kafka = await runProgram({ ...devConfig, "event-flow:broker": "kafka" });
    const spec = kafka.resource("broker-server-set").inputs["spec"] as Workload;
    expect(spec.template.spec.containers[0]).toEqual({
      name: "kafka",
      image: expect.stringMatching(/^apache\/kafka:4\.3\.1@sha256:[0-9a-f]{64}$/) as unknown,
      env: [
        { name: "KAFKA_NODE_ID", value: "1" },
        { name: "KAFKA_PROCESS_ROLES", value: "broker,controller" },
        { name: "KAFKA_CONTROLLER_QUORUM_VOTERS", value: "1@localhost:9093" },
        { name: "KAFKA_CONTROLLER_LISTENER_NAMES", value: "CONTROLLER" },
        { name: "KAFKA_LISTENERS", value: "PLAINTEXT://:9092,CONTROLLER://:9093" },
        { name: "KAFKA_ADVERTISED_LISTENERS", value: "PLAINTEXT://kafka:9092" },
        { name: "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", value: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT" },
        { name: "KAFKA_INTER_BROKER_LISTENER_NAME", value: "PLAINTEXT" },
        { name: "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", value: "1" },
        { name: "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", value: "1" },
        { name: "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", value: "1" },
        { name: "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", value: "0" },
        { name: "KAFKA_NUM_PARTITIONS", value: "3" },
        { name: "KAFKA_LOG_DIRS", value: "/var/lib/kafka/data/logs" },
        { name: "KAFKA_HEAP_OPTS", value: "-Xms256m -Xmx384m" },
      ],
      ports: [{ name: "server", containerPort: 9092 }],
      readinessProbe: { tcpSocket: { port: "server" }, periodSeconds: 2, timeoutSeconds: 5 },
      resources: withDisk({ cpu: "100m", memory: "512Mi" }, { cpu: "2", memory: "1Gi" }),
      securityContext: restricted,
      volumeMounts: [
        { name: "data", mountPath: "/var/lib/kafka/data" },
        { name: "opt-kafka-config", mountPath: "/opt/kafka/config" },
        { name: "opt-kafka-logs", mountPath: "/opt/kafka/logs" },
        { name: "tmp", mountPath: "/tmp" },
      ],
    });
    expect(spec.template.spec.securityContext).toMatchObject({ runAsUser: 1000, fsGroup: 1000 });
    expect(kafka.resource("broker-server-service").inputs["metadata"]).toMatchObject({ name: "kafka" });
    // The sidecars read the broker's address only when they start.
    const revisionOf = (run: Run) =>
      (run.resource("backend-deployment").inputs["spec"] as Workload).template.metadata.annotations?.[
        "event-flow/revision-of-kafka-pubsub"
      ];
    expect(revisionOf(kafka)).not.toBe(revisionOf(dev));
    const pubsub = kafka.resource("pubsub-manifest").inputs["spec"] as { metadata: unknown[] };
    expect(pubsub.metadata).toContainEqual({ name: "brokers", value: "kafka:9092" });
  });

  test("another namespace is made, and everything but Dapr is in it", async () => {
    const elsewhere = await runProgram({ ...devConfig, "event-flow:namespace": "todo" });
    expect(elsewhere.resource("cluster-namespace").inputs["metadata"]).toEqual({
      name: "todo",
      labels: expect.objectContaining({ "pod-security.kubernetes.io/enforce": "restricted" }) as unknown,
    });
    const namespaces = elsewhere.resources
      .filter(({ type, parent }) => type.startsWith("kubernetes:") && parent !== "dapr" && parent !== "cluster")
      .map(({ inputs }) => (inputs["metadata"] as { namespace: unknown }).namespace);
    expect(new Set(namespaces)).toEqual(new Set(["todo"]));
  });

  test("a wrong config makes nothing at all", async () => {
    const wrong = runProgram({ ...devConfig, "event-flow:kubeContext": "renamed" });
    await expect(wrong).rejects.toThrow("event-flow:kubeContext");
    expect(resourcesSoFar()).toEqual([]);
  });
});
