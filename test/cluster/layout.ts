import { join } from "node:path";
import { cacheDir } from "../tools/cache.ts";

/** The clusters that can run side by side on one machine; each has its own folder, namespace and address ranges. */
export const clusterNames = ["dev", "test", "prod"] as const;

export type ClusterName = (typeof clusterNames)[number];

/** Where one cluster keeps its files, and which names and addresses on the machine are its own. */
export interface Layout {
  readonly name: ClusterName;
  /** Its network namespace, control group, node and kubeconfig context. */
  readonly id: string;
  readonly dir: string;
  readonly logs: string;
  readonly pki: string;
  readonly kubeconfig: string;
  /** The host's end of the pair of interfaces that joins it to the namespace. */
  readonly hostInterface: string;
  readonly hostAddress: string;
  readonly nodeAddress: string;
  readonly nodeRange: string;
  readonly podRange: string;
  readonly serviceRange: string;
  readonly apiServiceAddress: string;
  readonly dnsAddress: string;
  readonly apiServer: string;
}

export function layout(name: ClusterName): Layout {
  const index = clusterNames.indexOf(name);
  const id = `event-flow-${name}`;
  const dir = join(cacheDir, "clusters", name);
  const nodeAddress = `10.222.${index}.2`;
  return {
    name,
    id,
    dir,
    logs: join(dir, "logs"),
    pki: join(dir, "pki"),
    kubeconfig: join(dir, "kubeconfig"),
    hostInterface: `ef-${name}`,
    hostAddress: `10.222.${index}.1`,
    nodeAddress,
    nodeRange: `10.222.${index}.0/30`,
    podRange: `10.244.${index}.0/24`,
    serviceRange: `10.96.${index}.0/24`,
    apiServiceAddress: `10.96.${index}.1`,
    dnsAddress: `10.96.${index}.10`,
    apiServer: `https://${nodeAddress}:6443`,
  };
}
