import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { type Layout } from "./layout.ts";

/** Writes a kubeconfig for one identity of the cluster's PKI; everything is inside it, so that it can be copied. */
export function writeKubeconfig(
  cluster: Layout,
  identity: string,
  path = join(cluster.dir, `${identity}.kubeconfig`),
): string {
  const base64 = (file: string) => readFileSync(join(cluster.pki, file)).toString("base64");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: cluster.id, cluster: { server: cluster.apiServer, "certificate-authority-data": base64("ca.crt") } },
    ],
    users: [
      {
        name: identity,
        user: {
          "client-certificate-data": base64(`${identity}.crt`),
          "client-key-data": base64(`${identity}.key`),
        },
      },
    ],
    contexts: [{ name: cluster.id, context: { cluster: cluster.id, user: identity } }],
    "current-context": cluster.id,
  };
  writeFileSync(path, stringify(config), { mode: 0o600 });
  return path;
}
