import { probes, services } from "@event-flow/events";
import { z } from "zod";
import type { Check, Notes } from "../check.ts";
import { count, has, isDown, kubectlIn, podsWith, sidecarName, statusOf, troubleOf } from "../sidecars.ts";
import type { ContainerStatus, KubeObject, Pod, System } from "../system.ts";

/** Whether what the stack runs is there as often as it is to be, and ready; of sidecars, `components` tells. */
export const pods: Check = {
  name: "pods",
  look: async (system, notes) => {
    const [deployments, statefulsets] = await Promise.all([system.list("deployments"), system.list("statefulsets")]);
    const there = { deployment: deployments, statefulset: statefulsets };
    let expected: readonly { kind: keyof typeof there; name: string; replicas: number | undefined }[] = Object.values(
      services,
    ).map(({ name }) => ({ kind: "deployment", name, replicas: undefined }));
    await notes.part("what else there is to be, and how often", async () => {
      expected = (await system.made()).workloads;
    });
    notes.at(expected.map(({ name }) => name).join(", "));
    for (const { kind, name, replicas = 1 } of expected) {
      const workload = there[kind].find(({ metadata }) => metadata.name === name);
      if (workload === undefined) {
        // `injection` tells of services that are missing.
        if (!isService(name)) notes.found(`There is no ${kind} ${name}`, system.repair);
      } else if (workload.spec.replicas < replicas) {
        notes.found(
          `${name} is scaled to ${workload.spec.replicas}; the stack has ${replicas}`,
          kubectlIn(system, `scale ${kind}/${name} --replicas=${replicas}`),
        );
      } else {
        await lookAt(system, notes, kind, workload);
      }
    }
  },
};

const isService = (name: string) => Object.values(services).some((service) => service.name === name);

async function lookAt(system: System, notes: Notes, kind: string, workload: KubeObject<"deployments">): Promise<void> {
  const { name } = workload.metadata;
  const { replicas, selector } = workload.spec;
  const found = await podsWith(system, selector.matchLabels);
  if (found.length < replicas) {
    const what = `${name} has ${count(found, "pod")} instead of ${replicas}`;
    notes.found(what, kubectlIn(system, `describe ${kind}/${name}`));
  }
  for (const pod of found) {
    const unscheduled = pod.status.conditions.find(({ type, status }) => type === "PodScheduled" && status === "False");
    if (unscheduled !== undefined) {
      const what = `${pod.metadata.name} has no node: ${unscheduled.message ?? "no reason is told"}`;
      notes.found(what, kubectlIn(system, `describe pod/${pod.metadata.name}`));
      continue;
    }
    const restarted = kubectlIn(system, `rollout restart ${kind}/${name}`);
    const containers = pod.spec.containers.filter((container) => container.name !== sidecarName);
    for (const container of containers) {
      const status = statusOf(pod, container.name);
      if (status === undefined) notes.found(`${pod.metadata.name} is not ready: not begun`, restarted);
      else if (!status.ready && !waitsForSidecar(pod, status)) await tellOf(system, notes, { pod, status, restarted });
    }
  }
}

/** A service that runs is ready only when its sidecar is: then it is the sidecar that has to be looked at. */
function waitsForSidecar(pod: Pod, status: ContainerStatus): boolean {
  if (!isService(status.name) || isDown(status)) return false;
  return !has(pod, sidecarName) || statusOf(pod, sidecarName)?.ready !== true;
}

interface Unready {
  readonly pod: Pod;
  readonly status: ContainerStatus;
  readonly restarted: string;
}

async function tellOf(system: System, notes: Notes, { pod, status, restarted }: Unready): Promise<void> {
  const trouble = await troubleOf(system, pod, status);
  // `secrets` tells of those.
  if (trouble.isOfSecrets) return;
  const ready = isDown(status) ? "" : await readiness(system, pod, status.name);
  const why = [trouble.state, ready || trouble.said].filter(Boolean).join(": ");
  notes.found(`${pod.metadata.name} is not ready: ${why}`, trouble.state.includes("Image") ? system.repair : restarted);
}

const problem = z
  .object({ detail: z.string() })
  .or(z.object({ message: z.string() }).transform(({ message }) => ({ detail: message })));

/** What a service says of why it isn't ready. */
async function readiness(system: System, pod: Pod, container: string): Promise<string> {
  const service = Object.values(services).find(({ name }) => name === container);
  if (service === undefined) return "";
  try {
    const { status, text } = await system.http(pod.metadata.name, { port: service.port, path: probes.readiness });
    return status === 200 ? "" : problem.parse(JSON.parse(text)).detail;
  } catch {
    return "";
  }
}
