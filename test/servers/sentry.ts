import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { daprControlPlane } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { freePort } from "./ports.ts";
import { type LogOption, type Server, serverDir, startServer } from "./process.ts";

/** Where sidecars get the certificates from by which they know each other. */
export interface Sentry extends Server {
  readonly address: string;
  /** What all of its certificates are signed by, in PEM. */
  readonly trustAnchors: () => string;
}

/** The namespace that the sidecars of this machine say they are in: the one that is emitted for stack dev. */
export const namespace = "default";

/** Dapr's certificate authority. Without Kubernetes, which knows whose sidecar it is that asks, it believes each one's word. */
export async function startSentry({ log }: LogOption = {}): Promise<Sentry> {
  const [port, healthPort] = [await freePort(), await freePort()];
  const dir = serverDir("sentry");
  const credentials = join(dir, "credentials");
  mkdirSync(credentials);
  const configuration = join(dir, "configuration.yaml");
  writeFileSync(
    configuration,
    stringify({
      apiVersion: "dapr.io/v1alpha1",
      kind: "Configuration",
      metadata: { name: "daprsystem" },
      spec: { mtls: { enabled: true } },
    }),
  );
  const server = await startServer({
    name: "Dapr's sentry",
    dir,
    log,
    command: [
      join(toolDir(daprControlPlane), "sentry"),
      `--config=${configuration}`,
      `--issuer-credentials=${credentials}`,
      `--port=${port}`,
      "--listen-address=127.0.0.1",
      `--healthz-port=${healthPort}`,
      "--healthz-listen-address=127.0.0.1",
      "--enable-metrics=false",
      `--metrics-port=${await freePort()}`,
      "--metrics-listen-address=127.0.0.1",
    ],
    env: { NAMESPACE: namespace },
    timeoutSeconds: 30,
    ready: async () => ((await fetch(`http://127.0.0.1:${healthPort}/healthz`)).ok ? true : undefined),
  });
  return {
    ...server,
    address: `127.0.0.1:${port}`,
    trustAnchors: () => readFileSync(join(credentials, "ca.crt"), "utf8"),
  };
}
