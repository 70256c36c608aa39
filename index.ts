import { components, secrets, services, subscribers } from "@event-flow/events";
import { AppSecrets } from "./components/app-secrets.ts";
import { Broker } from "./components/broker.ts";
import { Cluster } from "./components/cluster.ts";
import { DaprComponent, kafkaMetadata, redisMetadata, smtpMetadata } from "./components/dapr-component.ts";
import { DaprConfiguration, tracingVariables } from "./components/dapr-configuration.ts";
import { DaprResiliency } from "./components/dapr-resiliency.ts";
import { DaprService } from "./components/dapr-service.ts";
import { DaprControlPlane, readCrds } from "./components/dapr.ts";
import { Database } from "./components/database.ts";
import { FrontDoor } from "./components/front-door.ts";
import { Images } from "./components/images.ts";
import { Mail } from "./components/mail.ts";
import { Monitoring } from "./components/monitoring.ts";
import { readSettings } from "./components/settings.ts";
import { StateStore } from "./components/state-store.ts";

const { backend, notificationService, recurringTaskService, analyticsService } = services;
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
const broker = new Broker("broker", { site, namespace, image: images.backend }, inCluster);
const stateStore = new StateStore("state-store", { site, namespace }, inCluster);
const mail = new Mail("mail", { site, namespace }, inCluster);
const database = new Database("database", { site, namespace }, inCluster);
const appSecrets = new AppSecrets(
  "secrets",
  { namespace, databaseUrl: database.url, analyticsUrl: database.analyticsUrl, jwtKeyGeneration },
  inCluster,
);
const { connection, revision } = broker;
new Monitoring(
  "monitoring",
  { namespace, image: images.backend, connection, revision },
  { ...inCluster, dependsOn: broker },
);
const frontDoor = new FrontDoor("front-door", { site });

const configuration = new DaprConfiguration("configuration", { namespace, tracing }, { ...inCluster, dependsOn: dapr });
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
const withSidecar = { ...inCluster, dependsOn: [dapr, pubsub, state, resiliency, database, appSecrets] };
const common = {
  namespace,
  configuration: configuration.configurationName,
  variables: {
    ...tracingVariables(tracing),
    ...(requestsPerMinute === undefined ? {} : { RATE_LIMIT_PER_MINUTE: String(requestsPerMinute) }),
  },
  revisions: {
    [secrets.todo.name]: appSecrets.revision,
    [secrets.redis.name]: stateStore.revision,
    ...(broker.revision === undefined ? {} : { [secrets.redpanda.name]: broker.revision }),
    [components.pubsub]: pubsub.revision,
    [components.stateStore]: state.revision,
    resiliency: resiliency.revision,
  },
  highlyAvailable,
};
const databaseUrl = { secret: secrets.todo.name, key: secrets.todo.keys.databaseUrl };
const jwtKeys = [
  { secret: secrets.todo.name, key: secrets.todo.keys.jwtSecret },
  ...(jwtKeyGeneration > 1 ? [{ secret: secrets.todo.name, key: secrets.todo.keys.jwtSecretPrevious }] : []),
];
const vapidSecret = { secret: secrets.todo.name, key: secrets.todo.keys.vapidSecret };
const nextTaskToken = { secret: secrets.nextTask.name, key: secrets.nextTask.keys.token };
// Those two that know each other by it.
const withNextTask = {
  ...common,
  revisions: { ...common.revisions, [secrets.nextTask.name]: appSecrets.nextTaskRevision },
};
const backendService = new DaprService(
  "backend",
  {
    ...withNextTask,
    identity: backend,
    image: images.backend,
    secretVariables: [databaseUrl, ...jwtKeys, nextTaskToken],
    files: database.files,
    loadBalancer: frontDoor.loadBalancer,
  },
  withSidecar,
);
new DaprService(
  "notification-service",
  {
    ...common,
    identity: notificationService,
    image: images.notificationService,
    secretVariables: [...jwtKeys, vapidSecret],
    variables: {
      ...common.variables,
      EMAIL: email === undefined ? "off" : "on",
      ...(settings.pushContact === undefined ? {} : { VAPID_SUBJECT: settings.pushContact }),
    },
    revisions: {
      ...common.revisions,
      ...(mail.revision === undefined ? {} : { [secrets.smtp.name]: mail.revision }),
      ...(email === undefined ? {} : { [components.email]: email.revision }),
    },
  },
  { ...withSidecar, dependsOn: [...withSidecar.dependsOn, ...(email === undefined ? [] : [email])] },
);
new DaprService(
  "recurring-task-service",
  {
    ...withNextTask,
    identity: recurringTaskService,
    image: images.recurringTaskService,
    secretVariables: [...jwtKeys, nextTaskToken],
  },
  withSidecar,
);
new DaprService(
  "analytics-service",
  {
    ...common,
    identity: analyticsService,
    image: images.analyticsService,
    secretVariables: [{ secret: secrets.analytics.name, key: secrets.analytics.keys.databaseUrl }, ...jwtKeys],
    revisions: { ...common.revisions, [secrets.analytics.name]: appSecrets.analyticsRevision },
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
