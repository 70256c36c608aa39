import { existsSync } from "node:fs";
import { capture } from "../tools/run.ts";
import { type Layout } from "./layout.ts";

function namespacePath(cluster: Layout): string {
  return `/run/netns/${cluster.id}`;
}

/** Runs a command inside the cluster's network namespace; unlike `ip netns exec` it keeps the machine's mounts in sight. */
export function inNamespace(cluster: Layout, command: readonly string[]): string[] {
  return ["nsenter", `--net=${namespacePath(cluster)}`, ...command];
}

/** The kernel's queues in which a connection's first packet waits for what `startParts` starts to decide on it, one after the other. */
export const policyQueues = { first: 99, second: 100 } as const;

/**
 * What puts it there. A queue that nobody reads drops what is put in it: without policies' enforcement nothing gets to a pod or out
 * of it. Not so what the node itself sends, such as kubelet's probes, as Kubernetes has it. Services' addresses are pods' by then.
 */
function policyRules({ podRange }: Layout): string[][] {
  const undecided = ["-m", "conntrack", "!", "--ctstate", "ESTABLISHED,RELATED", "-j", "NFQUEUE", "--queue-num"];
  const tables = [
    ["mangle", policyQueues.first],
    // Asked after kube-proxy's own, the filter table, has let a packet through.
    ["security", policyQueues.second],
  ] as const;
  return tables.flatMap(([table, queue]) => [
    ["-t", table, "-A", "FORWARD", ...undecided, String(queue)],
    ["-t", table, "-A", "INPUT", "-s", podRange, ...undecided, String(queue)],
  ]);
}

interface Route {
  readonly dst: string;
  readonly dev: string;
}

function toNumber(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function overlaps(a: string, b: string): boolean {
  const bounds = (range: string) => {
    const [address = "", length = "32"] = range.split("/");
    const size = 2 ** (32 - Number(length));
    const first = Math.floor(toNumber(address) / size) * size;
    return { first, last: first + size - 1 };
  };
  const x = bounds(a);
  const y = bounds(b);
  return x.first <= y.last && y.first <= x.last;
}

async function checkRangesAreFree(cluster: Layout): Promise<void> {
  const routes = JSON.parse(await capture("ip", ["-json", "route"])) as Route[];
  for (const range of [cluster.nodeRange, cluster.podRange, cluster.serviceRange]) {
    const taken = routes.find(
      ({ dst, dev }) => dst !== "default" && dev !== cluster.hostInterface && overlaps(dst, range),
    );
    if (taken !== undefined) {
      throw new Error(
        `The addresses ${range}, which the cluster ${cluster.id} needs, are taken on this machine: \`ip route\` sends ` +
          `${taken.dst} to ${taken.dev}. Remove that route, or use Minikube.`,
      );
    }
  }
}

/**
 * Makes the namespace and joins it to the host. It has no default route, so that no packet for a pod or a service can leave the
 * machine; the host reaches pods and services through the pair of interfaces.
 */
export async function createNetwork(cluster: Layout): Promise<void> {
  await checkRangesAreFree(cluster);
  const { id, hostInterface, hostAddress, nodeAddress, nodeRange, podRange, serviceRange } = cluster;
  const mask = nodeRange.split("/")[1];
  const ip = (...args: string[]) => capture("ip", args);
  await ip("netns", "add", id);
  await ip("link", "add", hostInterface, "type", "veth", "peer", "name", "eth0", "netns", id);
  await ip("address", "add", `${hostAddress}/${mask}`, "dev", hostInterface);
  await ip("link", "set", hostInterface, "up");
  await ip("-n", id, "address", "add", `${nodeAddress}/${mask}`, "dev", "eth0");
  await ip("-n", id, "link", "set", "lo", "up");
  await ip("-n", id, "link", "set", "eth0", "up");
  for (const range of [podRange, serviceRange])
    await ip("route", "add", range, "via", nodeAddress, "dev", hostInterface);
  // A service's address needs a route before kube-proxy can rewrite it: else the API server can't reach Dapr's injector, whose
  // webhook fails open, and pods start without a sidecar.
  await ip("-n", id, "route", "add", serviceRange, "dev", "eth0");
  const inside = ([command = "", ...args]: string[]) => capture(command, args);
  await inside(inNamespace(cluster, ["sysctl", "--write", "net.ipv4.ip_forward=1"]));
  for (const rule of policyRules(cluster)) await inside(inNamespace(cluster, ["iptables", ...rule]));
  // Pods have no addresses of IPv6 but those that every interface makes for itself, to which no policy would apply.
  for (const chain of ["INPUT", "FORWARD"]) {
    await inside(inNamespace(cluster, ["ip6tables", "-A", chain, "!", "-i", "lo", "-j", "DROP"]));
  }
}

/** Removes the namespace and, with it, both interfaces, the routes over them and all rules inside. */
export async function removeNetwork(cluster: Layout): Promise<void> {
  if (existsSync(namespacePath(cluster))) await capture("ip", ["netns", "delete", cluster.id]);
  // The kernel takes the pair away with the namespace, but in its own time; and a broken-off `up` can leave the host's end alone.
  if (existsSync(`/sys/class/net/${cluster.hostInterface}`)) {
    await capture("ip", ["link", "delete", cluster.hostInterface]).catch((error: unknown) => {
      if (existsSync(`/sys/class/net/${cluster.hostInterface}`)) throw error;
    });
  }
}
