import type { Check, Notes } from "../check.ts";
import { list, podsOf, statusesOf, troubleOf } from "../sidecars.ts";
import type { KubeObject, System } from "../system.ts";

/** Whether each secret that something needs is there with all its keys, and is taken by who asks for it. */
export const secrets: Check = {
  name: "secrets",
  look: async (system, notes) => {
    const there = await system.list("secrets");
    const needed = new Map<string, Set<string>>();
    const need = (name: string, keys: readonly string[]) => {
      needed.set(name, new Set([...(needed.get(name) ?? []), ...keys]));
    };
    const [deployments, statefulsets] = await Promise.all([system.list("deployments"), system.list("statefulsets")]);
    for (const { spec } of [...deployments, ...statefulsets]) {
      const { containers, volumes } = spec.template.spec;
      for (const { valueFrom } of containers.flatMap(({ env }) => env)) {
        const ref = valueFrom?.secretKeyRef;
        if (ref !== undefined && !ref.optional) need(ref.name, [ref.key]);
      }
      for (const { secret } of volumes) {
        if (secret?.secretName !== undefined && !secret.optional) need(secret.secretName, []);
      }
    }
    await notes.part("what Components need", async () => {
      for (const { spec } of await system.list("components.dapr.io")) {
        for (const { secretKeyRef } of spec.metadata)
          if (secretKeyRef !== undefined) need(secretKeyRef.name, [secretKeyRef.key]);
      }
    });
    await notes.part("what else there is to be", async () => {
      for (const name of (await system.made()).secrets) need(name, []);
    });

    notes.at(list([...needed.keys()].sort()));
    for (const [name, keys] of needed) {
      const faults = faultsOf(
        there.find(({ metadata }) => metadata.name === name),
        [...keys],
      );
      if (faults !== undefined) notes.found(`Secret ${name}: ${faults}`, system.repair);
    }
    await lookForRefusals(system, notes);
  },
};

function faultsOf(secret: KubeObject<"secrets"> | undefined, keys: readonly string[]): string | undefined {
  if (secret === undefined) return "it is not there";
  const missing = keys.filter((key) => !(key in secret.data));
  const empty = keys.filter((key) => secret.data[key] === "");
  const faults = [
    ...(missing.length > 0 ? [`it has no ${list(missing)}`] : []),
    ...(empty.length > 0 ? [`empty: ${list(empty)}`] : []),
  ];
  return faults.length === 0 ? undefined : faults.join("; ");
}

/** A wrong one shows where somebody begins, and isn't taken: only then is it read. */
async function lookForRefusals(system: System, notes: Notes): Promise<void> {
  const names = new Set((await system.list("pods")).map(({ metadata }) => metadata.labels["app"] ?? ""));
  for (const name of names) {
    for (const pod of await podsOf(system, name)) {
      for (const status of statusesOf(pod).filter(({ ready }) => !ready)) {
        const { said, isOfSecrets, state } = await troubleOf(system, pod, status);
        // One that isn't there was told of above.
        if (isOfSecrets && state !== "CreateContainerConfigError") {
          notes.found(`${status.name} of ${pod.metadata.name} isn't let in: ${said}`, system.repair);
        }
      }
    }
  }
}
