import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { locate } from "./locate.ts";
import { type Backing, localManifests, shutdownFlags, type Whose } from "./manifests.ts";
import { freePort } from "./ports.ts";
import { type LogOption, type Server, serverDir, startServer } from "./process.ts";
import { namespace, type Sentry } from "./sentry.ts";
import { appApiToken as defaultAppApiToken } from "./service.ts";

export interface Daprd extends Server {
  readonly httpPort: number;
  /** Where it shows its metrics, if it was told to. */
  readonly metricsPort: number | undefined;
  /** What is to be shown to it, if anything is. */
  readonly apiToken: string | undefined;
}

/** Without a broker the sidecar has no pub/sub, without Valkey no state store. */
export interface DaprdOptions extends Backing, LogOption, Omit<Whose, "withMtls"> {
  readonly appPort: number;
  /** @default a free port */
  readonly httpPort?: number;
  /** Where it shows its metrics. @default it has none */
  readonly metricsPort?: number | undefined;
  /** A file by which sidecars find each other that are to. @default this one finds no other */
  readonly names?: string | undefined;
  /** The address at which other sidecars call it. */
  readonly internalPort?: number;
  /** Where it says it is, with a certificate. @default where the stack is */
  readonly namespace?: string;
  /** What gives it a certificate, by which other sidecars know it. @default it has none, and any may call it */
  readonly sentry?: Sentry | undefined;
  /** What the app has to show. @default nothing */
  readonly apiToken?: string | undefined;
  /** What the sidecar shows to the app. @default what `startService` has its services ask for */
  readonly appApiToken?: string | undefined;
}

/**
 * How sidecars find each other without Kubernetes: by a file of SQLite. Dapr's default, multicast DNS, would have a backend's
 * name answered by the backends of all systems that run here, and ask the local network for it.
 */
function namesIn(file: string) {
  return { component: "sqlite", version: "v1", configuration: { connectionString: file } };
}

/**
 * A Dapr sidecar for an app on this machine, with what the program emits for stack dev. Ready means that its Components are;
 * the app may still be missing.
 */
export async function startDaprd(options: DaprdOptions): Promise<Daprd> {
  const { appId, appPort, metricsPort, sentry, apiToken, appApiToken = defaultAppApiToken } = options;
  const [httpPort, grpcPort, internalPort, publicPort] = await Promise.all([
    options.httpPort ?? freePort(),
    freePort(),
    options.internalPort ?? freePort(),
    freePort(),
  ]);
  const dir = serverDir("daprd");
  const resources = join(dir, "resources");
  const configuration = join(dir, "configuration.yaml");
  mkdirSync(resources);
  const withMtls = sentry !== undefined;
  for (const manifest of await localManifests(options, { ...options, withMtls })) {
    if (manifest.kind === "Configuration") {
      const spec = { ...manifest.spec, nameResolution: namesIn(options.names ?? join(dir, "names")) };
      writeFileSync(configuration, stringify({ ...manifest, spec }));
      continue;
    }
    // A file each: Dapr looks for a Resiliency only at the beginning of one.
    writeFileSync(join(resources, `${manifest.metadata.name}.yaml`), stringify(manifest));
  }
  const server = await startServer({
    name: `the sidecar of ${appId}`,
    dir,
    log: options.log,
    command: [
      locate().daprd,
      `--app-id=${appId}`,
      `--app-port=${appPort}`,
      `--dapr-http-port=${httpPort}`,
      `--dapr-grpc-port=${grpcPort}`,
      `--dapr-internal-grpc-port=${internalPort}`,
      `--dapr-public-port=${publicPort}`,
      "--dapr-listen-addresses=127.0.0.1",
      // Where other sidecars find it, too.
      "--dapr-internal-grpc-listen-address=127.0.0.1",
      `--enable-metrics=${metricsPort !== undefined}`,
      ...(metricsPort === undefined ? [] : [`--metrics-port=${metricsPort}`]),
      `--config=${configuration}`,
      `--resources-path=${resources}`,
      ...(sentry === undefined ? [] : ["--enable-mtls", `--sentry-address=${sentry.address}`]),
      ...(await shutdownFlags(appId)),
    ],
    env: {
      ...(apiToken !== undefined && { DAPR_API_TOKEN: apiToken }),
      APP_API_TOKEN: appApiToken,
      ...(sentry !== undefined && {
        NAMESPACE: options.namespace ?? namespace,
        DAPR_TRUST_ANCHORS: sentry.trustAnchors(),
      }),
    },
    timeoutSeconds: 60,
    ready: async () => {
      const response = await fetch(`http://127.0.0.1:${httpPort}/v1.0/healthz/outbound`);
      return response.ok ? true : undefined;
    },
  });
  return { ...server, httpPort, metricsPort, apiToken };
}
