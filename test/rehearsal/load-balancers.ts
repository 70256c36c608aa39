import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { kubectl } from "../cluster/cluster.ts";
import { cluster } from "../providers/digitalocean/hardware.ts";
import { kubernetes } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";

interface Watched {
  readonly name: string;
  readonly namespace: string;
  readonly type: string;
  readonly address: string | undefined;
}

const path = "{.metadata.name} {.metadata.namespace} {.spec.type} {.status.loadBalancer.ingress[0].ip}";

/**
 * Gives each Service of type LoadBalancer an address, as a cloud's controller does. It is the node's own: there, kube-proxy
 * takes what comes in for the Service's ports. Returns how to stop.
 */
export function runLoadBalancers(): () => void {
  const child = spawn(
    join(toolDir(kubernetes), "kubectl"),
    [
      `--kubeconfig=${cluster.kubeconfig}`,
      ...["get", "services", "--all-namespaces", "--watch", `--output=jsonpath=${path}{"\\n"}`],
    ],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  const give = async ({ name, namespace, type, address }: Watched): Promise<void> => {
    if (type !== "LoadBalancer" || address !== undefined) return;
    const status = { status: { loadBalancer: { ingress: [{ ip: cluster.nodeAddress }] } } };
    await kubectl(
      cluster,
      ...["patch", "service", name, `--namespace=${namespace}`, "--subresource=status", "--type=merge"],
      `--patch=${JSON.stringify(status)}`,
    );
  };
  createInterface(child.stdout).on("line", (line) => {
    const [name = "", namespace = "", type = "", address] = line.trim().split(" ");
    void give({ name, namespace, type, address }).catch((error: unknown) => {
      process.stderr.write(`load balancer of ${namespace}/${name}: ${String(error)}\n`);
    });
  });
  const stop = () => child.kill();
  process.once("exit", stop);
  return stop;
}
