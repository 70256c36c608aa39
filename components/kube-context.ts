import { BlockList, isIPv4, isIPv6 } from "node:net";
import { parse } from "yaml";
import { z } from "zod";
import { printable } from "./text.ts";

/** What this program needs to know of a kubeconfig: which contexts there are, and the API server of each. */
export interface Kubeconfig {
  /** Each context's name and its API server's URL, `undefined` when the file names no such cluster. */
  readonly contexts: ReadonlyMap<string, string | undefined>;
}

const kubeconfigSchema = z.object({
  clusters: z
    .array(z.object({ name: z.string(), cluster: z.object({ server: z.string().optional() }).nullish() }))
    .nullish(),
  contexts: z.array(z.object({ name: z.string(), context: z.object({ cluster: z.string() }).nullish() })).nullish(),
});

/**
 * Reads kubeconfig files as kubectl merges them: of two contexts or clusters with one name, the first wins.
 * Throws when a file is not a kubeconfig.
 */
export function parseKubeconfig(...files: readonly string[]): Kubeconfig {
  const servers = new Map<string, string | undefined>();
  const clusters = new Map<string, string | undefined>();
  for (const file of files) {
    const config = kubeconfigSchema.parse(parse(file, { logLevel: "error" }) ?? {});
    for (const { name, cluster } of config.clusters ?? []) {
      if (!servers.has(name)) servers.set(name, cluster?.server);
    }
    for (const { name, context } of config.contexts ?? []) {
      if (!clusters.has(name)) clusters.set(name, context?.cluster);
    }
  }
  const server = (cluster: string | undefined) => (cluster === undefined ? undefined : servers.get(cluster));
  return { contexts: new Map([...clusters].map(([name, cluster]) => [name, server(cluster)])) };
}

const local = new BlockList();
local.addSubnet("127.0.0.0", 8);
local.addSubnet("10.0.0.0", 8);
local.addSubnet("172.16.0.0", 12);
local.addSubnet("192.168.0.0", 16);
local.addSubnet("169.254.0.0", 16);
// k3d writes 0.0.0.0 for "this machine".
local.addAddress("0.0.0.0");
local.addAddress("::1", "ipv6");
local.addSubnet("fc00::", 7, "ipv6");
local.addSubnet("fe80::", 10, "ipv6");

/** Whether a URL's host is this machine or in a private network, as far as that can be told without asking a DNS. */
export function isLocalServer(server: string): boolean {
  if (!URL.canParse(server)) return false;
  const host = new URL(server).hostname.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  if (isIPv4(host)) return local.check(host);
  if (isIPv6(host)) return local.check(host, "ipv6");
  // `.internal` is ICANN's name for private use; Docker Desktop and Rancher Desktop serve their clusters under it.
  return host === "localhost" || /\.(localhost|internal|local)$/.test(host);
}

/** Why stack dev may not deploy to a context, or `undefined` when it may. The text says what is so, not what to do. */
export function refusalOfContext(kubeconfig: Kubeconfig, context: string): string | undefined {
  const is = `is "${printable(context)}"`;
  if (!kubeconfig.contexts.has(context)) {
    const names = [...kubeconfig.contexts.keys()];
    const shown = names.slice(0, shownContexts).map((each) => printable(each));
    const more = names.length > shown.length ? ` and ${names.length - shown.length} more` : "";
    return `${is}, a context that the kubeconfig does not have. It has: ${shown.join(", ") || "none"}${more}.`;
  }
  const server = kubeconfig.contexts.get(context);
  if (server === undefined) {
    return `${is}, a context whose cluster the kubeconfig does not have.`;
  }
  if (context.startsWith("do-")) {
    return `${is} (${shownServer(server)}), by its name a cluster of DigitalOcean. Stack dev deploys only to a cluster on this machine or a private network.`;
  }
  if (!isLocalServer(server)) {
    return `${is}, whose API server ${shownServer(server)} is not on this machine or a private network. Stack dev deploys only to a cluster that is.`;
  }
  return undefined;
}

/** A kubeconfig of many clusters makes no message of many lines. */
const shownContexts = 20;

/** Where a server is, without what a URL may have of a user and a password. */
function shownServer(server: string): string {
  return printable(server.replace(/\/\/[^/]*@/, "//…@"));
}
