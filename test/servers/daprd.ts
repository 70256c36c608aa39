import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { components } from "@event-flow/events";
import { stringify } from "yaml";
import { kafkaDelivery, resiliencySpec } from "../../components/delivery.ts";
import { locate } from "./locate.ts";
import { freePort } from "./ports.ts";
import { type Server, serverDir, startServer } from "./process.ts";

export interface Daprd extends Server {
  readonly httpPort: number;
}

export interface DaprdOptions {
  readonly appId: string;
  readonly appPort: number;
  /** @default a free port */
  readonly httpPort?: number;
  /** Kafka's address; without it the sidecar has no pub/sub. */
  readonly brokers?: string;
  /** Valkey's address; without it the sidecar has no state store. */
  readonly valkey?: string;
  /** What the app has to show. */
  readonly apiToken?: string;
  /** What the sidecar shows to the app. */
  readonly appApiToken?: string;
}

function component(name: string, type: string, metadata: readonly { name: string; value: string }[]) {
  return {
    apiVersion: "dapr.io/v1alpha1",
    kind: "Component",
    metadata: { name },
    spec: { type, version: "v1", metadata },
  };
}

/** A Dapr sidecar for an app on this machine, which tries as hard as the program's do. Ready means that its Components are; the app may still be missing. */
export async function startDaprd(options: DaprdOptions): Promise<Daprd> {
  const { appId, appPort, brokers, valkey, apiToken, appApiToken } = options;
  const [httpPort, grpcPort, internalPort, publicPort] = await Promise.all([
    options.httpPort ?? freePort(),
    freePort(),
    freePort(),
    freePort(),
  ]);
  const dir = serverDir("daprd");
  const resources = join(dir, "components");
  mkdirSync(resources);
  const manifests = [
    ...(brokers === undefined
      ? []
      : [
          component(components.pubsub, "pubsub.kafka", [
            { name: "brokers", value: brokers },
            ...kafkaDelivery,
            { name: "authType", value: "none" },
          ]),
        ]),
    ...(valkey === undefined
      ? []
      : [
          component(components.stateStore, "state.redis", [
            { name: "redisHost", value: valkey },
            { name: "redisPassword", value: "" },
          ]),
        ]),
    { apiVersion: "dapr.io/v1alpha1", kind: "Resiliency", metadata: { name: "delivery" }, spec: resiliencySpec },
  ];
  // A file each: Dapr looks for a Resiliency only at the beginning of one.
  for (const manifest of manifests) {
    writeFileSync(join(resources, `${manifest.metadata.name}.yaml`), stringify(manifest));
  }
  const server = await startServer({
    name: `the sidecar of ${appId}`,
    dir,
    command: [
      locate().daprd,
      `--app-id=${appId}`,
      `--app-port=${appPort}`,
      `--dapr-http-port=${httpPort}`,
      `--dapr-grpc-port=${grpcPort}`,
      `--dapr-internal-grpc-port=${internalPort}`,
      `--dapr-public-port=${publicPort}`,
      "--dapr-listen-addresses=127.0.0.1",
      "--enable-metrics=false",
      `--resources-path=${resources}`,
    ],
    env: {
      ...(apiToken !== undefined && { DAPR_API_TOKEN: apiToken }),
      ...(appApiToken !== undefined && { APP_API_TOKEN: appApiToken }),
    },
    timeoutSeconds: 60,
    ready: async () => {
      const response = await fetch(`http://127.0.0.1:${httpPort}/v1.0/healthz/outbound`);
      return response.ok ? true : undefined;
    },
  });
  return { ...server, httpPort };
}
