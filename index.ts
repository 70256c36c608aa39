import { components, perService, secrets, type ServiceKey, services, subscribers } from "@event-flow/events";
import { AppSecrets } from "./components/app-secrets.ts";
import { Broker } from "./components/broker.ts";
import { Cluster } from "./components/cluster.ts";
import { DaprComponent, kafkaMetadata, redisMetadata, smtpMetadata } from "./components/dapr-component.ts";
import { DaprConfiguration, tracingVariables } from "./components/dapr-configuration.ts";
import { DaprResiliency } from "./components/dapr-resiliency.ts";
import { DaprTokens } from "./components/dapr-tokens.ts";
import { DaprService } from "./components/dapr-service.ts";
import { DaprControlPlane, readCrds } from "./components/dapr.ts";
import { Database } from "./components/database.ts";
import { FrontDoor } from "./components/front-door.ts";
import { Images } from "./components/images.ts";
import { Mail } from "./components/mail.ts";
import { Monitoring } from "./components/monitoring.ts";
import { NetworkPolicies } from "./components/network-policies.ts";
import { readSettings } from "./components/settings.ts";
import { StateStore } from "./components/state-store.ts";
import { waysOf } from "./components/ways.ts";

const { notificationService } = services;
const scopes = Object.values(services).map(({ appId }) => appId);

// Whatever is wrong with the config is said here, before anything is made.
const settings = readSettings();
const { highlyAvailable, tracing, jwtKeyGeneration, requestsPerMinute } = settings;
const crds = await readCrds(settings.daprChart);

const cluster = new Cluster("cluster", { settings });
const { site, namespace } = cluster;
const inCluster = { providers: { kubernetes: cluster.provider } };

const dapr = new DaprControlPlane("dapr", { chart: settings.daprChart, crds, highlyAvailable }, inCluster);

const { of: images } = new Images("images", { source: cluster.images });
// No pod starts before what isolates it.
const network = new NetworkPolicies("network", { namespace, ways: waysOf(settings) }, inCluster);
const isolated = { ...inCluster, dependsOn: network };
const broker = new Broker("broker", { site, namespace, image: images.backend }, isolated);
const stateStore = new StateStore("state-store", { site, namespace }, isolated);
const mail = new Mail("mail", { site, namespace }, isolated);
const database = new Database("database", { site, namespace }, isolated);
const appSecrets = new AppSecrets(
  "secrets",
  { namespace, databaseUrl: database.url, analyticsUrl: database.analyticsUrl, jwtKeyGeneration },
  inCluster,
);
const tokens = perService(
  (service) =>
    new DaprTokens(`${services[service].name}-tokens`, { namespace, identity: services[service] }, inCluster),
);
const { connection, revision } = broker;
new Monitoring(
  "monitoring",
  { namespace, image: images.backend, connection, revision },
  { ...inCluster, dependsOn: [network, broker] },
);
const frontDoor = new FrontDoor("front-door", { site });

const configurations = perService(
  (service) =>
    new DaprConfiguration(
      `${services[service].name}-configuration`,
      { namespace, service, tracing },
      { ...inCluster, dependsOn: dapr },
    ),
);
const pubsub = new DaprComponent(
  "pubsub",
  {
    namespace,
    componentName: components.pubsub,
    type: "pubsub.kafka",
    metadata: kafkaMetadata(broker.connection),
    scopes,
  },
  { ...inCluster, dependsOn: [dapr, broker] },
);
const state = new DaprComponent(
  "statestore",
  {
    namespace,
    componentName: components.stateStore,
    type: "state.redis",
    metadata: redisMetadata(stateStore.connection),
    // Each has keys of its own there, at the least for its dead letters: Dapr puts the app id before them.
    scopes: subscribers.map(({ appId }) => appId),
  },
  { ...inCluster, dependsOn: [dapr, stateStore] },
);
const email =
  mail.connection &&
  new DaprComponent(
    "email",
    {
      namespace,
      componentName: components.email,
      type: "bindings.smtp",
      metadata: smtpMetadata(mail.connection),
      scopes: [notificationService.appId],
    },
    { ...inCluster, dependsOn: [dapr, mail] },
  );
const resiliency = new DaprResiliency("resiliency", { namespace, scopes }, { ...inCluster, dependsOn: [dapr] });

// A pod that starts before the injector is ready gets no sidecar, and a sidecar loads only the Components that it finds.
const withSidecar = { ...inCluster, dependsOn: [network, dapr, pubsub, state, resiliency, database, appSecrets] };
/** What every service has. */
const common = (service: ServiceKey) => ({
  namespace,
  identity: services[service],
  image: images[service],
  configuration: configurations[service].configurationName,
  variables: {
    ...tracingVariables(tracing),
    ...(requestsPerMinute === undefined ? {} : { RATE_LIMIT_PER_MINUTE: String(requestsPerMinute) }),
  },
  revisions: {
    [secrets.todo.name]: appSecrets.revision,
    [secrets.redis.name]: stateStore.revision,
    ...(broker.revision === undefined ? {} : { [secrets.redpanda.name]: broker.revision }),
    ...tokens[service].revisions,
    [components.pubsub]: pubsub.revision,
    [components.stateStore]: state.revision,
    resiliency: resiliency.revision,
    configuration: configurations[service].revision,
  },
  highlyAvailable,
});
const databaseUrl = { secret: secrets.todo.name, key: secrets.todo.keys.databaseUrl };
const jwtKeys = [
  { secret: secrets.todo.name, key: secrets.todo.keys.jwtSecret },
  ...(jwtKeyGeneration > 1 ? [{ secret: secrets.todo.name, key: secrets.todo.keys.jwtSecretPrevious }] : []),
];
const vapidSecret = { secret: secrets.todo.name, key: secrets.todo.keys.vapidSecret };
const nextTaskToken = { secret: secrets.nextTask.name, key: secrets.nextTask.keys.token };
/** What those two have besides that know each other by it. */
const withNextTask = (service: ServiceKey) => {
  const { revisions, ...args } = common(service);
  return { ...args, revisions: { ...revisions, [secrets.nextTask.name]: appSecrets.nextTaskRevision } };
};
const backendService = new DaprService(
  "backend",
  {
    ...withNextTask("backend"),
    secretVariables: [databaseUrl, ...jwtKeys, nextTaskToken],
    files: database.files,
    loadBalancer: frontDoor.loadBalancer,
  },
  withSidecar,
);
const ofNotifications = common("notificationService");
new DaprService(
  "notification-service",
  {
    ...ofNotifications,
    secretVariables: [...jwtKeys, vapidSecret],
    variables: {
      ...ofNotifications.variables,
      EMAIL: email === undefined ? "off" : "on",
      ...(settings.pushContact === undefined ? {} : { VAPID_SUBJECT: settings.pushContact }),
    },
    revisions: {
      ...ofNotifications.revisions,
      ...(mail.revision === undefined ? {} : { [secrets.smtp.name]: mail.revision }),
      ...(email === undefined ? {} : { [components.email]: email.revision }),
    },
  },
  { ...withSidecar, dependsOn: [...withSidecar.dependsOn, ...(email === undefined ? [] : [email])] },
);
new DaprService(
  "recurring-task-service",
  { ...withNextTask("recurringTaskService"), secretVariables: [...jwtKeys, nextTaskToken] },
  withSidecar,
);
const ofAnalytics = common("analyticsService");
new DaprService(
  "analytics-service",
  {
    ...ofAnalytics,
    secretVariables: [{ secret: secrets.analytics.name, key: secrets.analytics.keys.databaseUrl }, ...jwtKeys],
    revisions: { ...ofAnalytics.revisions, [secrets.analytics.name]: appSecrets.analyticsRevision },
    files: database.files,
  },
  withSidecar,
);

/** The context of the kubeconfig, and the namespace in it, that everything is in. */
export const { kubeContext } = cluster;
export { namespace };

/** The images that run. */
export { images };

/** The command, or the URL, that leads to the backend. */
export const reachBackend = frontDoor.directions(cluster, backendService);
