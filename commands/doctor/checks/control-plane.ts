import { daprNamespace } from "../../../components/versions.ts";
import type { Check } from "../check.ts";
import { list } from "../sidecars.ts";

const injector = "dapr-sidecar-injector";

/** What Dapr's chart makes. */
const parts = [
  { kind: "deployment", name: "dapr-operator" },
  { kind: "deployment", name: "dapr-sentry" },
  { kind: "deployment", name: injector },
  { kind: "statefulset", name: "dapr-placement-server" },
  { kind: "statefulset", name: "dapr-scheduler-server" },
] as const;

/** Whether what injects sidecars, and gives them certificates and Components, is there. */
export const controlPlane: Check = {
  name: "control-plane",
  look: async (system, notes) => {
    const [deployments, statefulsets, webhooks] = await Promise.all([
      system.list("deployments", daprNamespace),
      system.list("statefulsets", daprNamespace),
      system.list("mutatingwebhookconfigurations"),
    ]);
    notes.at(`${list(parts.map(({ name }) => name))} and the injector's webhook in ${daprNamespace}`);
    const inNamespace = `${system.kubectl} --namespace ${daprNamespace}`;
    // Helm knows what it made, and Pulumi doesn't look into it.
    const again = `helm get manifest dapr --kube-context ${system.context} --namespace ${daprNamespace} | ${inNamespace} apply --filename -`;
    for (const { kind, name } of parts) {
      const part = (kind === "deployment" ? deployments : statefulsets).find(({ metadata }) => metadata.name === name);
      if (part === undefined) {
        notes.found(`There is no ${kind} ${name}`, again);
      } else if (part.spec.replicas === 0) {
        const replicas = system.stack === "prod" || name === "dapr-scheduler-server" ? 3 : 1;
        notes.found(`${name} is scaled to 0`, `${inNamespace} scale ${kind}/${name} --replicas=${replicas}`);
      } else if (part.status.readyReplicas < part.spec.replicas) {
        const found = `Of ${name}, ${part.status.readyReplicas} of ${part.spec.replicas} are ready`;
        notes.found(found, `${inNamespace} rollout restart ${kind}/${name}`);
      }
    }
    if (!webhooks.some(({ metadata }) => metadata.name === injector)) {
      notes.found(`There is no MutatingWebhookConfiguration ${injector}: no pod gets a sidecar`, again);
    }
  },
};
