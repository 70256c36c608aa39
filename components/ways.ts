import { daprInternalPort, services, subscribers } from "@event-flow/events";
import { brokerCheck, brokerServer } from "./broker.ts";
import { databaseClients, databaseJobs, databaseServer } from "./database.ts";
import { lagExporter } from "./lag-exporter.ts";
import { mailServer } from "./mail.ts";
import { internet, outside, podsElsewhere, type Way } from "./network-policies.ts";
import { daprMetricsPort, monitoringLabel } from "./scraping.ts";
import type { DevSettings, ProdSettings, Settings } from "./settings.ts";
import { stateServer } from "./state-store.ts";
import { daprNamespace } from "./versions.ts";

const { backend, notificationService, recurringTaskService } = services;
const all = Object.values(services).map(({ name }) => name);
/** Who speaks with the broker: sidecars, and what asks it how far they are. */
const brokerClients = [...all, lagExporter.name];
const subscriberNames = subscribers.map(({ name }) => name);

/**
 * Dapr's control plane, by the pods' ports of its Helm chart. It opens no connection to a sidecar. Its own namespace has no policies:
 * it's the chart's.
 */
const controlPlane = [
  { app: "dapr-operator", port: 6500 },
  { app: "dapr-sentry", port: 50001 },
  { app: "dapr-placement-server", port: 50005 },
  { app: "dapr-scheduler-server", port: 50006 },
] as const;

/** Every way in and out of the namespace that the settings tell; the Components of managed databases open those that lead there. */
export function waysOf(settings: Settings): Way[] {
  return [...waysOfBoth(settings), ...(settings.environment === "dev" ? waysOfDev(settings) : waysOfProd(settings))];
}

function waysOfBoth({ pushContact, tracing }: Settings): Way[] {
  // Who scrapes may call the API as well: metrics are shown at its port.
  const monitoring = [{ namespaceSelector: { matchLabels: monitoringLabel } }];
  return [
    {
      name: "dns",
      from: { pods: "all" },
      to: { others: [podsElsewhere("kube-system", { "k8s-app": "kube-dns" })] },
      ports: [53],
      protocols: ["UDP", "TCP"],
    },
    ...controlPlane.map(({ app, port }): Way => ({
      name: app,
      from: { pods: all },
      to: { others: [podsElsewhere(daprNamespace, { app })] },
      ports: [port],
    })),
    // By the sidecars of both. This is no way to the backend's own port.
    {
      name: "backend-by-dapr",
      from: { pods: [recurringTaskService.name] },
      to: { pods: [backend.name] },
      ports: [daprInternalPort],
    },
    ...Object.values(services).map(({ name, port }): Way => ({
      name: `${name}-metrics`,
      from: { others: monitoring },
      to: { pods: [name] },
      ports: [port, daprMetricsPort],
    })),
    {
      name: `${lagExporter.name}-metrics`,
      from: { others: monitoring },
      to: { pods: [lagExporter.name] },
      ports: [lagExporter.port],
    },
    // Push services are whichever ones browsers' makers run. The service checks each address itself, too.
    ...(pushContact === undefined
      ? []
      : [
          {
            name: "push-services",
            from: { pods: [notificationService.name] },
            to: { others: internet },
            ports: [443],
          } satisfies Way,
        ]),
    // A collector may be anywhere, pods of other namespaces included.
    ...(tracing === undefined
      ? []
      : [
          {
            name: "collector",
            from: { pods: all },
            to: { others: "anybody" },
            ports: [portOf(tracing.endpoint)],
          } satisfies Way,
        ]),
  ];
}

function portOf(endpoint: string): number {
  const { port, protocol } = new URL(endpoint);
  return port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
}

/** The servers are pods. */
function waysOfDev({ broker }: DevSettings): Way[] {
  const server = brokerServer(broker);
  const toServer = (
    { serverName, port }: { readonly serverName: string; readonly port: number },
    from: readonly string[],
  ): Way => ({ name: serverName, from: { pods: from }, to: { pods: [serverName] }, ports: [port] });
  return [
    toServer(server, brokerClients),
    toServer(stateServer, subscriberNames),
    toServer(databaseServer, [...databaseClients, databaseJobs.dev]),
    toServer(mailServer, [notificationService.name]),
  ];
}

/** The servers are somebody else's, and so is the load balancer before the backend. */
function waysOfProd({ redpanda, smtp }: ProdSettings): Way[] {
  return [
    { name: backend.name, from: { others: "anybody" }, to: { pods: [backend.name] }, ports: [backend.port] },
    {
      name: "redpanda",
      from: { pods: [...brokerClients, brokerCheck] },
      to: { others: outside },
      ports: [...new Set(redpanda.brokers.map((broker) => Number(broker.split(":")[1])))],
    },
    ...(smtp === undefined
      ? []
      : [
          {
            name: "mail",
            from: { pods: [notificationService.name] },
            to: { others: outside },
            ports: [smtp.port],
          } satisfies Way,
        ]),
  ];
}
