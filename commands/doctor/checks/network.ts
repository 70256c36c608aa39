import { services } from "@event-flow/events";
import { lagExporter } from "../../../components/lag-exporter.ts";
import type { Check } from "../check.ts";
import { count, list, podsOf, podsWith, statusOf } from "../sidecars.ts";
import { contains } from "../stack.ts";
import type { System } from "../system.ts";

/** Whether the NetworkPolicies are those that the stack made, and the cluster's network keeps to them. */
export const network: Check = {
  name: "network",
  look: async (system, notes) => {
    await notes.part("which NetworkPolicies there are to be", async () => {
      const [{ policies }, actual] = await Promise.all([system.made(), system.list("networkpolicies")]);
      notes.at(count(actual, "NetworkPolicy", "NetworkPolicies"));
      for (const { name, spec } of policies) {
        const found = actual.find(({ metadata }) => metadata.name === name);
        if (found === undefined) notes.found(`There is no NetworkPolicy ${name}`, system.repair);
        else if (!contains(found.spec, spec)) {
          notes.found(`NetworkPolicy ${name} is not as it was made`, system.repair);
        }
      }
    });
    // It needs the broker, and nobody lets it to a service.
    const { name } = lagExporter;
    const [prober] = (await podsWith(system, { app: name })).filter((pod) => statusOf(pod, name)?.ready === true);
    if (prober === undefined) {
      notes.couldNotLook(`${name} has no pod that is ready, to try from what no policy allows`);
      return;
    }
    const places = new Map<string, string>();
    for (const service of Object.values(services)) {
      for (const { metadata, status } of await podsOf(system, service.name)) {
        if (status.podIP !== undefined) places.set(`${status.podIP}:${service.port}`, metadata.name);
      }
    }
    const reached = await system.reachable(prober.metadata.name, name, [...places.keys()]);
    notes.at(`${count([...places], "connection")} that no policy allows, tried from ${prober.metadata.name}`);
    if (reached.length > 0) {
      const pods = reached.flatMap((place) => places.get(place) ?? []);
      notes.found(`No NetworkPolicy keeps ${name} from ${list(pods)}: the network enforces none`, enforce(system));
    }
  },
};

/** DigitalOcean's network, Cilium, enforces them; Minikube's and our own do when they are made again, without what they hold. */
function enforce(system: System): string {
  if (system.stack === "prod") return `${system.kubectl} --namespace kube-system rollout restart daemonset/cilium`;
  return system.context === "minikube"
    ? "make down && minikube delete && minikube start --cni=calico && make up"
    : "make down && make up";
}
