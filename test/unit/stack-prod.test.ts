import { components, perService, secrets, services, subscribers } from "@event-flow/events";
import { beforeAll, describe, expect, test } from "vitest";
import { topicScopes } from "../../components/dapr-access.ts";
import { devConfig, fixture, prodConfig, prodSecrets } from "./support/config.ts";
import { certificate } from "./support/patient.ts";
import { runProgram } from "./support/program.ts";
import { type Recorded, resourcesSoFar, type Run, Secret } from "./support/pulumi.ts";

let dev: Run;
let prod: Run;
beforeAll(async () => {
  dev = await runProgram(devConfig);
  prod = await runProgram(prodConfig, "prod", prodSecrets);
}, 60_000);

/** A resource as the inventories write it. */
const line = ({ parent, name, type, protect }: Recorded) =>
  `${parent} > ${name}: ${type}${protect ? " (protected)" : ""}`;

test("is made of what dev is made of, but for this", () => {
  const inDev = new Set(dev.resources.map(line));
  const inProd = new Set(prod.resources.map(line));
  const difference = [
    ...[...inDev].filter((each) => !inProd.has(each)).map((each) => `dev   ${each}`),
    ...[...inProd].filter((each) => !inDev.has(each)).map((each) => `prod  ${each}`),
  ];
  expect(difference.sort()).toEqual([
    "dev    > email: event-flow:dapr:Component",
    "dev   broker > broker-server: event-flow:server:StatefulServer",
    "dev   broker-server > broker-server-service: kubernetes:core/v1:Service",
    "dev   broker-server > broker-server-set: kubernetes:apps/v1:StatefulSet",
    "dev   cluster > cluster-namespace: kubernetes:core/v1:NamespacePatch",
    "dev   database > database-analytics-credentials: event-flow:secrets:VersionedSecret",
    "dev   database > database-analytics-password: random:index/randomPassword:RandomPassword",
    "dev   database > database-credentials: kubernetes:core/v1:Secret",
    "dev   database > database-make-analytics: kubernetes:batch/v1:Job",
    "dev   database > database-password: random:index/randomPassword:RandomPassword",
    "dev   database > database-server: event-flow:server:StatefulServer",
    "dev   database-analytics-credentials > database-analytics-credentials-key: random:index/randomPassword:RandomPassword",
    "dev   database-analytics-credentials > database-analytics-credentials-secret: kubernetes:core/v1:Secret",
    "dev   database-server > database-server-service: kubernetes:core/v1:Service",
    "dev   database-server > database-server-set: kubernetes:apps/v1:StatefulSet",
    "dev   email > email-manifest: kubernetes:dapr.io/v1alpha1:Component",
    "dev   mail > mail-server: event-flow:server:StatefulServer",
    "dev   mail-server > mail-server-service: kubernetes:core/v1:Service",
    "dev   mail-server > mail-server-set: kubernetes:apps/v1:StatefulSet",
    "dev   network > network-into-maildev: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-into-postgres: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-into-redis: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-into-redpanda: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-to-maildev: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-to-postgres: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-to-push-services: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   network > network-to-redis: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "dev   state-store > state-store-configuration: event-flow:secrets:VersionedSecret",
    "dev   state-store > state-store-password: random:index/randomPassword:RandomPassword",
    "dev   state-store > state-store-server: event-flow:server:StatefulServer",
    "dev   state-store-configuration > state-store-configuration-key: random:index/randomPassword:RandomPassword",
    "dev   state-store-configuration > state-store-configuration-secret: kubernetes:core/v1:Secret",
    "dev   state-store-server > state-store-server-service: kubernetes:core/v1:Service",
    "dev   state-store-server > state-store-server-set: kubernetes:apps/v1:StatefulSet",
    "prod  analytics-service > analytics-service-budget: kubernetes:policy/v1:PodDisruptionBudget",
    "prod  backend > backend-budget: kubernetes:policy/v1:PodDisruptionBudget",
    "prod  broker > broker-check: kubernetes:batch/v1:Job",
    "prod  broker > broker-checked: event-flow:secrets:VersionedSecret",
    "prod  broker > broker-credentials: event-flow:secrets:VersionedSecret",
    "prod  broker-checked > broker-checked-key: random:index/randomPassword:RandomPassword",
    "prod  broker-checked > broker-checked-secret: kubernetes:core/v1:Secret",
    "prod  broker-credentials > broker-credentials-key: random:index/randomPassword:RandomPassword",
    "prod  broker-credentials > broker-credentials-secret: kubernetes:core/v1:Secret",
    "prod  cluster > cluster-kubernetes: digitalocean:index/kubernetesCluster:KubernetesCluster (protected)",
    "prod  cluster > cluster-namespace: kubernetes:core/v1:Namespace",
    "prod  cluster > cluster-registry: digitalocean:index/containerRegistry:ContainerRegistry",
    "prod  cluster > cluster-vpc: digitalocean:index/vpc:Vpc",
    "prod  database > database-admin: kubernetes:core/v1:Secret",
    "prod  database > database-analytics-user: digitalocean:index/databaseUser:DatabaseUser (protected)",
    "prod  database > database-analytics: digitalocean:index/databaseDb:DatabaseDb (protected)",
    "prod  database > database-ca: kubernetes:core/v1:Secret",
    "prod  database > database-database: digitalocean:index/databaseDb:DatabaseDb (protected)",
    "prod  database > database-firewall: digitalocean:index/databaseFirewall:DatabaseFirewall (protected)",
    "prod  database > database-grant: kubernetes:batch/v1:Job",
    "prod  database > database-postgres: digitalocean:index/databaseCluster:DatabaseCluster (protected)",
    "prod  database > database-to-postgres: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "prod  database > database-user: digitalocean:index/databaseUser:DatabaseUser (protected)",
    "prod  images > images-analytics-service: docker-build:index:Image",
    "prod  images > images-backend: docker-build:index:Image",
    "prod  images > images-notification-service: docker-build:index:Image",
    "prod  images > images-recurring-task-service: docker-build:index:Image",
    "prod  network > network-into-backend: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "prod  notification-service > notification-service-budget: kubernetes:policy/v1:PodDisruptionBudget",
    "prod  recurring-task-service > recurring-task-service-budget: kubernetes:policy/v1:PodDisruptionBudget",
    "prod  state-store > state-store-firewall: digitalocean:index/databaseFirewall:DatabaseFirewall (protected)",
    "prod  state-store > state-store-persistence: digitalocean:index/databaseValkeyConfig:DatabaseValkeyConfig",
    "prod  state-store > state-store-to-valkey: kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "prod  state-store > state-store-valkey: digitalocean:index/databaseCluster:DatabaseCluster (protected)",
  ]);
});

const show = (value: unknown) => (value === undefined ? "–" : JSON.stringify(value));

/** Every place where two values differ, as `path: one → other`. */
function differences(path: string, one: unknown, other: unknown): string[] {
  if (typeof one === "object" && typeof other === "object" && one !== null && other !== null) {
    const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
    const at = (value: object, key: string) => (value as Record<string, unknown>)[key];
    return [...keys]
      .sort()
      .flatMap((key) => differences(path === "" ? key : `${path}.${key}`, at(one, key), at(other, key)));
  }
  return one === other ? [] : [`${path}: ${show(one)} → ${show(other)}`];
}

test("what both are made of differs in this", () => {
  const table = dev.resources
    .flatMap((resource) => {
      const other = prod.resources.find(({ name }) => name === resource.name);
      return other === undefined ? [] : differences(resource.name, resource.inputs, other.inputs);
    })
    .map((row) => row.replace(fixture(""), "<fixtures>"));
  // The namespace, also in Prometheus' file, the images' names, what follows from secret values and what is made anew in each stack are
  // what one would think.
  const expected =
    /"default" → "event-flow"|data\.prometheus\.yaml: |\.image: |revision-of-[\w-]+: |event-flow\/revision: |dapr_sentry\.tls\./;
  const telling = table.filter((row) => !expected.test(row));
  expect(telling.sort().join("\n")).toMatchInlineSnapshot(`
    "analytics-service-deployment.spec.replicas: 1 → 2
    analytics-service-deployment.spec.template.spec.containers.0.volumeMounts.1: – → {"mountPath":"/etc/postgres-ca","name":"files","readOnly":true}
    analytics-service-deployment.spec.template.spec.topologySpreadConstraints: – → [{"labelSelector":{"matchLabels":{"app":"analytics-service"}},"matchLabelKeys":["pod-template-hash"],"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]
    analytics-service-deployment.spec.template.spec.volumes.1: – → {"name":"files","secret":{"secretName":"postgres-ca"}}
    backend-deployment.spec.replicas: 1 → 2
    backend-deployment.spec.template.spec.containers.0.volumeMounts.1: – → {"mountPath":"/etc/postgres-ca","name":"files","readOnly":true}
    backend-deployment.spec.template.spec.topologySpreadConstraints: – → [{"labelSelector":{"matchLabels":{"app":"backend"}},"matchLabelKeys":["pod-template-hash"],"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]
    backend-deployment.spec.template.spec.volumes.1: – → {"name":"files","secret":{"secretName":"postgres-ca"}}
    backend-service.metadata.annotations: – → {"service.beta.kubernetes.io/do-loadbalancer-name":"event-flow-prod","service.beta.kubernetes.io/do-loadbalancer-protocol":"http"}
    backend-service.spec.type: "ClusterIP" → "LoadBalancer"
    cluster-provider.clusterIdentifier: "minikube" → "cluster-kubernetes-id"
    cluster-provider.context: "minikube" → –
    cluster-provider.kubeconfig: "<fixtures>/kubeconfig.yaml" → "[secret]"
    dapr-release.values.dapr_operator.resources.limits.memory: "256Mi" → "1Gi"
    dapr-release.values.dapr_placement.resources.limits.memory: "256Mi" → "1Gi"
    dapr-release.values.dapr_scheduler.cluster.inMemoryStorage: true → –
    dapr-release.values.dapr_scheduler.cluster.storageSize: – → "4Gi"
    dapr-release.values.dapr_scheduler.resources.limits.memory: "256Mi" → "1Gi"
    dapr-release.values.dapr_sentry.resources.limits.memory: "256Mi" → "1Gi"
    dapr-release.values.dapr_sidecar_injector.resources.limits.memory: "256Mi" → "1Gi"
    dapr-release.values.global.ha.enabled: false → true
    monitoring-lag-deployment.spec.template.spec.containers.0.env.0.value: "redpanda:9092" → "seed-1.example.com:9092,seed-2.example.com:9092"
    monitoring-lag-deployment.spec.template.spec.containers.0.env.3: – → {"name":"SASL_USERNAME","valueFrom":{"secretKeyRef":{"key":"username","name":"redpanda-credentials"}}}
    monitoring-lag-deployment.spec.template.spec.containers.0.env.4: – → {"name":"SASL_PASSWORD","valueFrom":{"secretKeyRef":{"key":"password","name":"redpanda-credentials"}}}
    monitoring-lag-deployment.spec.template.spec.containers.0.env.5: – → {"name":"SASL_MECHANISM","value":"SCRAM-SHA-256"}
    network-to-redpanda.spec.egress.0.to.0.ipBlock: – → {"cidr":"0.0.0.0/0","except":["169.254.0.0/16"]}
    network-to-redpanda.spec.egress.0.to.0.podSelector: {"matchExpressions":[{"key":"app","operator":"In","values":["redpanda"]}]} → –
    network-to-redpanda.spec.egress.0.to.1: – → {"ipBlock":{"cidr":"::/0","except":["fe80::/10","fd00:ec2::/32"]}}
    network-to-redpanda.spec.podSelector.matchExpressions.0.values.5: – → "redpanda-check"
    notification-service-deployment.spec.replicas: 1 → 2
    notification-service-deployment.spec.template.spec.containers.0.env.4.value: "on" → "off"
    notification-service-deployment.spec.template.spec.containers.0.env.5: {"name":"VAPID_SUBJECT","value":"mailto:event-flow@example.com"} → –
    notification-service-deployment.spec.template.spec.topologySpreadConstraints: – → [{"labelSelector":{"matchLabels":{"app":"notification-service"}},"matchLabelKeys":["pod-template-hash"],"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]
    pubsub-manifest.spec.metadata.0.value: "redpanda:9092" → "seed-1.example.com:9092,seed-2.example.com:9092"
    pubsub-manifest.spec.metadata.13.value: "none" → "password"
    pubsub-manifest.spec.metadata.14: – → {"name":"saslUsername","secretKeyRef":{"key":"username","name":"redpanda-credentials"}}
    pubsub-manifest.spec.metadata.15: – → {"name":"saslPassword","secretKeyRef":{"key":"password","name":"redpanda-credentials"}}
    pubsub-manifest.spec.metadata.16: – → {"name":"saslMechanism","value":"SHA-256"}
    recurring-task-service-deployment.spec.replicas: 1 → 2
    recurring-task-service-deployment.spec.template.spec.topologySpreadConstraints: – → [{"labelSelector":{"matchLabels":{"app":"recurring-task-service"}},"matchLabelKeys":["pod-template-hash"],"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]
    secrets-analytics-secret.stringData.value.DATABASE_URL: "postgresql://analytics:<database-analytics-password>@postgres:5432/analytics" → "postgresql://analytics:<database-analytics-user-password>@private-database-postgres:25060/analytics?sslmode=verify-full&sslrootcert=/etc/postgres-ca/ca.crt"
    secrets-todo-secret.stringData.value.DATABASE_URL: "postgresql://todo:<database-password>@postgres:5432/todo" → "postgresql://todo:<database-user-password>@private-database-postgres:25060/todo?sslmode=verify-full&sslrootcert=/etc/postgres-ca/ca.crt"
    state-store-credentials-secret.stringData.value.host: "redis:6379" → "private-state-store-valkey:25060"
    state-store-credentials-secret.stringData.value.password: "<state-store-password>" → "<state-store-valkey-password>"
    statestore-manifest.spec.metadata.2.value: "false" → "true""
  `);
});

test("the cluster is in a private network, upgrades itself and grows", () => {
  expect(prod.resource("cluster-vpc").inputs).toEqual({ name: "event-flow-prod", region: "fra1" });
  expect(prod.resource("cluster-kubernetes").inputs).toEqual({
    name: "event-flow-prod",
    region: "fra1",
    vpcUuid: "cluster-vpc-id",
    version: "1.34.1-do.0",
    ha: true,
    autoUpgrade: true,
    surgeUpgrade: true,
    maintenancePolicy: { day: "sunday", startTime: "04:00" },
    registryIntegration: true,
    nodePool: { name: "services", size: "s-2vcpu-4gb", autoScale: true, minNodes: 3, maxNodes: 5 },
    destroyAllAssociatedResources: true,
  });
  expect(prod.resource("cluster-kubernetes").dependsOn).toEqual(["cluster-registry", "cluster-vpc"]);
  expect(prod.resource("cluster-kubernetes").ignoreChanges).toEqual(["version", "nodePool.nodeCount"]);
});

test("Kubernetes is reached with a token of today, and is the same with one of tomorrow", () => {
  expect(prod.resource("cluster-provider").inputs).toEqual({
    kubeconfig: new Secret("<kubeconfig-token of event-flow-prod>"),
    clusterIdentifier: "cluster-kubernetes-id",
    enableSecretMutable: "true",
  });
});

test("images are pushed to a registry of its own and deployed by digest", () => {
  expect(prod.resource("cluster-registry").inputs).toEqual({ name: "event-flow-prod", subscriptionTierSlug: "basic" });
  expect(prod.resource("images-backend").inputs).toMatchObject({
    tags: [expect.stringMatching(/^registry\.digitalocean\.com\/event-flow-prod\/backend:[0-9a-f]{16}$/)],
    push: true,
    platforms: ["linux/amd64"],
    registries: [
      {
        address: "registry.digitalocean.com",
        username: new Secret("<do-token>"),
        password: new Secret("<do-token>"),
      },
    ],
  });
  expect(prod.outputs["images"]).toMatchObject({ backend: "<images-backend>@sha256:0123" });
});

describe("managed databases", () => {
  test("Valkey refuses writes rather than forget state", () => {
    expect(prod.resource("state-store-valkey").inputs).toEqual({
      name: "event-flow-prod-state",
      engine: "valkey",
      version: "8",
      size: "db-s-1vcpu-2gb",
      nodeCount: 2,
      region: "fra1",
      privateNetworkUuid: "cluster-vpc-id",
      maintenanceWindows: [{ day: "sunday", hour: "05:00" }],
      evictionPolicy: "noeviction",
    });
    expect(prod.resource("state-store-persistence").inputs).toEqual({
      clusterId: "state-store-valkey-id",
      persistence: "rdb",
    });
  });

  test("PostgreSQL has a user and a database for each service that keeps something there", () => {
    expect(prod.resource("database-postgres").inputs).toEqual({
      name: "event-flow-prod-tasks",
      engine: "pg",
      version: "17",
      size: "db-s-1vcpu-2gb",
      nodeCount: 2,
      region: "fra1",
      privateNetworkUuid: "cluster-vpc-id",
      maintenanceWindows: [{ day: "sunday", hour: "06:00" }],
    });
    expect(prod.resource("database-database").inputs).toEqual({ clusterId: "database-postgres-id", name: "todo" });
    expect(prod.resource("database-user").inputs).toEqual({ clusterId: "database-postgres-id", name: "todo" });
    for (const name of ["database-analytics", "database-analytics-user"]) {
      expect(prod.resource(name).inputs).toEqual({ clusterId: "database-postgres-id", name: "analytics" });
    }
  });

  test("users may make tables before the services start", () => {
    const job = prod.resource("database-grant");
    expect(job.dependsOn).toEqual(
      expect.arrayContaining([
        ...["database-admin", "database-firewall", "database-user"],
        ...["database-analytics", "database-analytics-user"],
      ]),
    );
    const { template } = job.inputs["spec"] as { template: { spec: { containers: [{ env: unknown[] }] } } };
    expect(template.spec.containers[0].env).toContainEqual({
      name: "SQL",
      value: [
        'GRANT ALL ON SCHEMA public TO "todo";',
        '\\connect "analytics"',
        'GRANT ALL ON SCHEMA public TO "analytics";',
        "",
      ].join("\n"),
    });
    for (const name of ["backend", "analytics-service"]) {
      expect(prod.resource(name).dependsOn).toContain("database-grant");
    }
  });

  test.each([
    ["state-store-firewall", "state-store-valkey-id"],
    ["database-firewall", "database-postgres-id"],
  ])("%s lets in the cluster and nobody else", (name, clusterId) => {
    expect(prod.resource(name).inputs).toEqual({
      clusterId,
      rules: [{ type: "k8s", value: "cluster-kubernetes-id" }],
    });
  });
});

describe("secrets", () => {
  test("come from the config and from what DigitalOcean made", () => {
    const kubernetesSecrets = prod.resources.filter(({ type }) => type === "kubernetes:core/v1:Secret");
    const data = kubernetesSecrets.map(({ inputs }) => [
      (inputs["metadata"] as { name: string }).name,
      inputs["stringData"],
    ]);
    const server = "private-database-postgres:25060";
    const tls = "sslmode=verify-full&sslrootcert=/etc/postgres-ca/ca.crt";
    const database = `${server}/todo?${tls}`;
    expect(Object.fromEntries(data)).toEqual({
      "redpanda-checked": new Secret({ username: "event-flow", password: "<redpanda-password>" }),
      [secrets.redpanda.name]: new Secret({ username: "event-flow", password: "<redpanda-password>" }),
      ...Object.fromEntries(
        Object.values(services).flatMap(({ name }) => [
          [`${name}-dapr-api-token`, new Secret({ token: `<${name}-tokens-api-token>` })],
          [`${name}-dapr-app-token`, new Secret({ token: `<${name}-tokens-app-token>` })],
        ]),
      ),
      [secrets.redis.name]: new Secret({
        host: "private-state-store-valkey:25060",
        password: "<state-store-valkey-password>",
      }),
      [secrets.todo.name]: new Secret({
        DATABASE_URL: `postgresql://todo:<database-user-password>@${database}`,
        JWT_SECRET: "<secrets-jwt>",
        VAPID_SECRET: "<secrets-vapid>",
      }),
      [secrets.analytics.name]: new Secret({
        DATABASE_URL: `postgresql://analytics:<database-analytics-user-password>@${server}/analytics?${tls}`,
      }),
      [secrets.nextTask.name]: new Secret({ NEXT_TASK_TOKEN: "<secrets-next-task-token>" }),
      "postgres-admin": new Secret({ url: `postgresql://doadmin:<database-postgres-password>@${database}` }),
      // The SDK takes all that is in a Kubernetes secret for one.
      "postgres-ca": new Secret({ "ca.crt": "<CA of database-postgres-id>" }),
    });
  });

  test("are in plain nowhere", () => {
    // What is marked as a secret does not show in JSON.
    const secretValues = /<do-token>|<kubeconfig-token|<[\w-]+-(password|jwt|vapid|token|key)>/;
    expect(JSON.stringify([prod.resources, prod.outputs])).not.toMatch(secretValues);
  });
});

test("the broker is checked before the sidecars get its credentials", () => {
  const job = prod.resource("broker-check");
  const { template, backoffLimit } = job.inputs["spec"] as {
    template: { spec: { containers: unknown[] } };
    backoffLimit: number;
  };
  expect(backoffLimit).toBe(2);
  const key = (name: string) => ({ valueFrom: { secretKeyRef: { name: "redpanda-checked", key: name } } });
  expect(template.spec.containers).toMatchObject([
    {
      command: ["node", "/app/apps/service/src/check-broker.ts"],
      env: [
        { name: "BROKERS", value: "seed-1.example.com:9092,seed-2.example.com:9092" },
        { name: "SASL_USERNAME", ...key("username") },
        { name: "SASL_PASSWORD", ...key("password") },
        { name: "SASL_MECHANISM", value: "SCRAM-SHA-256" },
      ],
      // What it printed last is what `pulumi up` shows when it fails.
      terminationMessagePolicy: "FallbackToLogsOnError",
    },
  ]);
  expect(prod.resource("broker-credentials").dependsOn).toContain("broker-check");
  expect(prod.resource("backend").dependsOn).toContain("pubsub-manifest");
});

test.each(["broker-check", "database-grant"])("%s is run again by the next up when it failed", (name) => {
  expect(prod.resource(name).inputs["metadata"]).toMatchObject({
    annotations: { "pulumi.com/replaceUnready": "true" },
  });
});

test("a SASL user is named to Dapr in Dapr's words", () => {
  const spec = prod.resource("pubsub-manifest").inputs["spec"] as { metadata: unknown };
  expect(spec.metadata).toEqual([
    { name: "brokers", value: "seed-1.example.com:9092,seed-2.example.com:9092" },
    { name: "clientID", value: "{appID}" },
    { name: "initialOffset", value: "oldest" },
    { name: "sessionTimeout", value: "6s" },
    { name: "heartbeatInterval", value: "2s" },
    { name: "consumeRetryEnabled", value: "true" },
    { name: "backOffDuration", value: "1s" },
    { name: "excludeHeaderMetaRegex", value: expect.stringMatching(/^\^\(\?:/) as string },
    { name: "escapeHeaders", value: "true" },
    ...topicScopes,
    { name: "authType", value: "password" },
    { name: "saslUsername", secretKeyRef: { name: "redpanda-credentials", key: "username" } },
    { name: "saslPassword", secretKeyRef: { name: "redpanda-credentials", key: "password" } },
    { name: "saslMechanism", value: "SHA-256" },
  ]);
  expect(prod.resource("pubsub-manifest").inputs["metadata"]).toMatchObject({ name: components.pubsub });
});

test("what watches the broker signs in as the services do, by secrets", () => {
  const { template } = prod.resource("monitoring-lag-deployment").inputs["spec"] as {
    template: { metadata: { annotations: object }; spec: { containers: [{ env: unknown }] } };
  };
  expect(template.spec.containers[0].env).toEqual([
    { name: "BROKERS", value: "seed-1.example.com:9092,seed-2.example.com:9092" },
    { name: "GROUPS", value: subscribers.map(({ appId }) => appId).join(",") },
    { name: "PORT", value: "9308" },
    { name: "SASL_USERNAME", valueFrom: { secretKeyRef: { name: "redpanda-credentials", key: "username" } } },
    { name: "SASL_PASSWORD", valueFrom: { secretKeyRef: { name: "redpanda-credentials", key: "password" } } },
    { name: "SASL_MECHANISM", value: "SCRAM-SHA-256" },
  ]);
  // Another password makes a new pod.
  expect(template.metadata.annotations).toHaveProperty("event-flow/revision");
  expect(prod.resource("monitoring").dependsOn).toContain("broker-check");
});

describe("with other settings", () => {
  const run = (more: Record<string, string>) => runProgram({ ...prodConfig, ...more }, "prod", prodSecrets);

  test("a domain brings TLS", async () => {
    const { resource, outputs } = await run({ "event-flow:domain": "tasks.example.com" });
    expect(resource("front-door-certificate").inputs).toEqual({
      name: "event-flow-prod",
      type: "lets_encrypt",
      domains: ["tasks.example.com"],
    });
    expect(resource("backend-service").inputs).toMatchObject({
      metadata: {
        annotations: {
          "service.beta.kubernetes.io/do-loadbalancer-name": "event-flow-prod",
          "service.beta.kubernetes.io/do-loadbalancer-protocol": "http",
          "service.beta.kubernetes.io/do-loadbalancer-tls-ports": "443",
          "service.beta.kubernetes.io/do-loadbalancer-certificate-id": "<uuid of front-door-certificate>",
          "service.beta.kubernetes.io/do-loadbalancer-redirect-http-to-https": "true",
        },
      },
      spec: {
        type: "LoadBalancer",
        ports: [
          { name: "http", port: 80, targetPort: "http" },
          { name: "https", port: 443, targetPort: "http" },
        ],
      },
    });
    expect(outputs["reachBackend"]).toBe("https://tasks.example.com");
    expect(prod.outputs["reachBackend"]).toBe("http://203.0.113.7");
  });

  test("another mechanism and a CA of the brokers' own reach Dapr", async () => {
    const ca = await certificate(300);
    const { resource } = await run({ "event-flow:redpandaMechanism": "SCRAM-SHA-512", "event-flow:redpandaCa": ca });
    const spec = resource("pubsub-manifest").inputs["spec"] as { metadata: unknown };
    expect(spec.metadata).toEqual(
      expect.arrayContaining([
        { name: "saslMechanism", value: "SHA-512" },
        { name: "caCert", value: ca },
      ]),
    );
  });

  test("a mail server is told to Dapr, and its password by a secret only", async () => {
    const more = {
      "event-flow:smtpHost": "smtp.example.com",
      "event-flow:smtpPort": "2525",
      "event-flow:smtpFrom": "Tasks <tasks@example.com>",
      "event-flow:smtpUser": "tasks",
      "event-flow:smtpPassword": "<smtp-password>",
    };
    const { resource, resources, outputs } = await runProgram({ ...prodConfig, ...more }, "prod", [
      ...prodSecrets,
      "event-flow:smtpPassword",
    ]);
    expect(resource("email-manifest").inputs).toMatchObject({
      spec: {
        type: "bindings.smtp",
        metadata: [
          { name: "host", value: "smtp.example.com" },
          { name: "port", value: "2525" },
          { name: "emailFrom", value: "Tasks <tasks@example.com>" },
          { name: "user", secretKeyRef: { name: secrets.smtp.name, key: secrets.smtp.keys.user } },
          { name: "password", secretKeyRef: { name: secrets.smtp.name, key: secrets.smtp.keys.password } },
        ],
      },
    });
    expect(resource("mail-credentials-secret").inputs["stringData"]).toEqual(
      new Secret({ user: "tasks", password: "<smtp-password>" }),
    );
    expect(JSON.stringify([resources, outputs])).not.toContain("<smtp-password>");
    expect(resource("notification-service-deployment").inputs["spec"]).toMatchObject({
      template: {
        metadata: {
          annotations: {
            "event-flow/revision-of-email": expect.stringMatching(/./) as unknown,
            "event-flow/revision-of-smtp-credentials": expect.stringMatching(/./) as unknown,
          },
        },
        spec: {
          containers: [
            { env: [{ name: "JWT_SECRET" }, { name: "VAPID_SECRET" }, ...tokens, { name: "EMAIL", value: "on" }] },
          ],
        },
      },
    });
  });

  const tokens = [{ name: "DAPR_API_TOKEN" }, { name: "APP_API_TOKEN" }];

  test("with a contact there is web push", async () => {
    const contact = "mailto:admin@example.com";
    const { resource } = await runProgram({ ...prodConfig, "event-flow:pushContact": contact }, "prod", prodSecrets);
    expect(resource("notification-service-deployment").inputs["spec"]).toMatchObject({
      template: {
        spec: {
          containers: [
            {
              env: [
                { name: "JWT_SECRET" },
                { name: "VAPID_SECRET", valueFrom: { secretKeyRef: { name: "todo-secrets", key: "VAPID_SECRET" } } },
                ...tokens,
                { name: "EMAIL", value: "off" },
                { name: "VAPID_SUBJECT", value: contact },
              ],
            },
          ],
        },
      },
    });
    expect(JSON.stringify(resource("backend-deployment").inputs)).not.toContain("VAPID");
  });

  test("images that are there already need no registry", async () => {
    const { resources, resource } = await run({
      "event-flow:images": JSON.stringify({ from: "prebuilt", ...perService(() => "a:1") }),
    });
    expect(resources.filter(({ type }) => /Registry|docker-build/.test(type))).toEqual([]);
    expect(resource("cluster-kubernetes").inputs["registryIntegration"]).toBe(false);
  });

  test("a missing secret makes nothing at all", async () => {
    const rest = Object.entries(prodConfig).filter(([key]) => key !== "event-flow:redpandaPassword");
    await expect(runProgram(Object.fromEntries(rest), "prod", prodSecrets)).rejects.toThrow(
      "event-flow:redpandaPassword is missing",
    );
    expect(resourcesSoFar()).toEqual([]);
  });
});
