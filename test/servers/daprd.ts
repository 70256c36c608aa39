import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { components } from "@event-flow/events";
import { stringify } from "yaml";
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

function component(name: string, type: string, metadata: Record<string, string>) {
  return {
    apiVersion: "dapr.io/v1alpha1",
    kind: "Component",
    metadata: { name },
    spec: { type, version: "v1", metadata: Object.entries(metadata).map(([key, value]) => ({ name: key, value })) },
  };
}

/** A Dapr sidecar for an app on this machine. Ready means that its Components are; the app may still be missing. */
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
          component(components.pubsub, "pubsub.kafka", {
            brokers,
            authType: "none",
            initialOffset: "oldest",
            // Dapr's default of 5 s would make each test of a retry as slow.
            backOffDuration: "200ms",
          }),
        ]),
    ...(valkey === undefined
      ? []
      : [
          component(components.stateStore, "state.redis", {
            redisHost: valkey,
            redisPassword: "",
            // As above: a call to a store that is down otherwise takes 3 s.
            redisMaxRetryInterval: "100ms",
          }),
        ]),
  ];
  writeFileSync(join(resources, "components.yaml"), manifests.map((manifest) => stringify(manifest)).join("---\n"));
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
