import { probes, services } from "@event-flow/events";
import { z } from "zod";
import type { Check, Notes } from "../check.ts";
import { count, has, isDown, kubectlIn, podsOf, restart, sidecarName, statusOf, troubleOf } from "../sidecars.ts";
import type { ContainerStatus, Pod, System } from "../system.ts";

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
        await lookAt(system, notes, kind, name, workload.spec.replicas);
      }
    }
  },
};

const isService = (name: string) => Object.values(services).some((service) => service.name === name);

async function lookAt(system: System, notes: Notes, kind: string, name: string, replicas: number): Promise<void> {
  const found = await podsOf(system, name);
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
    const status = statusOf(pod, name);
    if (status?.ready !== true && !waitsForSidecar(pod, status)) await tellOf(system, notes, kind, name, pod, status);
  }
}

/** A service that runs is ready only when its sidecar is: then it is the sidecar that has to be looked at. */
function waitsForSidecar(pod: Pod, status: ContainerStatus | undefined): boolean {
  if (!isService(pod.metadata.labels["app"] ?? "") || (status !== undefined && isDown(status))) return false;
  return !has(pod, sidecarName) || statusOf(pod, sidecarName)?.ready !== true;
}

async function tellOf(
  system: System,
  notes: Notes,
  kind: string,
  name: string,
  pod: Pod,
  status: ContainerStatus | undefined,
): Promise<void> {
  const trouble =
    status === undefined ? { state: "not begun", said: "", isOfSecrets: false } : await troubleOf(system, pod, status);
  // `secrets` tells of those.
  if (trouble.isOfSecrets) return;
  const ready = status !== undefined && !isDown(status) && isService(name) ? await readiness(system, pod) : "";
  const why = [trouble.state, ready || trouble.said].filter(Boolean).join(": ");
  const isImage = /Image/.test(trouble.state);
  const mend = isImage
    ? system.repair
    : isService(name)
      ? restart(system, name)
      : kubectlIn(system, `rollout restart ${kind}/${name}`);
  notes.found(`${pod.metadata.name} is not ready: ${why}`, mend);
}

const problem = z
  .object({ detail: z.string() })
  .or(z.object({ message: z.string() }).transform(({ message }) => ({ detail: message })));

/** What a service says of why it isn't ready. */
async function readiness(system: System, pod: Pod): Promise<string> {
  const service = Object.values(services).find(({ name }) => name === pod.metadata.labels["app"]);
  if (service === undefined) return "";
  try {
    const { status, text } = await system.http(pod.metadata.name, { port: service.port, path: probes.readiness });
    return status === 200 ? "" : problem.parse(JSON.parse(text)).detail;
  } catch {
    return "";
  }
}
