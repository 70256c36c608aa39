import { type ServiceIdentity, services } from "@event-flow/events";
import type { Check, Notes } from "../check.ts";
import {
  has,
  isDown,
  kubectlIn,
  list,
  podsOf,
  restart,
  sidecarMetadata,
  sidecarName,
  statusOf,
  troubleOf,
} from "../sidecars.ts";
import type { StackComponent } from "../stack.ts";
import type { KubeObject, Pod, System } from "../system.ts";

type Component = KubeObject<"components.dapr.io">;

/** Whether Components are what the stack made, and each sidecar has loaded those that are for it. */
export const components: Check = {
  name: "components",
  look: async (system, notes) => {
    const actual = await system.list("components.dapr.io");
    const faulty = new Set<string>();
    await notes.part("what the Components are to be", async () => {
      for (const made of (await system.made()).components) {
        const faults = faultsOf(
          made,
          actual.find(({ metadata }) => metadata.name === made.name),
        );
        if (faults !== undefined) {
          faulty.add(made.name);
          notes.found(faults, system.repair);
        }
      }
    });
    notes.at(`Components ${list(actual.map(({ metadata }) => metadata.name)) || "(none)"}`);
    await Promise.all(
      Object.values(services).map(async (service) => {
        const { name, appId } = service;
        const expected = actual
          .filter(
            ({ metadata, scopes }) => !faulty.has(metadata.name) && (scopes.length === 0 || scopes.includes(appId)),
          )
          .map(({ metadata }) => metadata.name);
        // What has no sidecar is `injection`'s matter.
        for (const pod of (await podsOf(system, name)).filter((each) => has(each, sidecarName))) {
          await lookAtSidecar(system, notes, { service, pod, expected, isFaulty: faulty.size > 0 });
        }
      }),
    );
  },
};

/** How a Component differs from what was made, `undefined` if it doesn't. */
export function faultsOf(made: StackComponent, actual: Component | undefined): string | undefined {
  if (actual === undefined) return `There is no Component ${made.name}`;
  const faults: string[] = [];
  if (actual.spec.type !== made.type) faults.push(`its type is ${actual.spec.type} instead of ${made.type}`);
  const unscoped = made.scopes.filter((appId) => !actual.scopes.includes(appId));
  if (unscoped.length > 0 && actual.scopes.length > 0)
    faults.push(`it is not for ${list(unscoped)}: its scopes lack them`);
  const added = actual.scopes.filter((appId) => !made.scopes.includes(appId));
  if (added.length > 0) faults.push(`it is for ${list(added)}, too: its scopes have them`);
  if (actual.scopes.length === 0 && made.scopes.length > 0) faults.push("it is for everybody: it has no scopes");
  const items = new Map(actual.spec.metadata.map((item) => [item.name, item]));
  const expected = new Map(made.metadata.map((item) => [item.name, item]));
  for (const [name, item] of expected) {
    const found = items.get(name);
    // What is encrypted in the stack's state can't be compared.
    if (found === undefined) faults.push(`${name} is missing`);
    else if (isPlain(item["value"]) && found["value"] !== item["value"])
      faults.push(differs(name, found["value"], item["value"]));
    else if (!sameKey(item["secretKeyRef"], found.secretKeyRef)) faults.push(`${name} comes from another secret`);
  }
  for (const name of items.keys()) if (!expected.has(name)) faults.push(`${name} was added`);
  return faults.length === 0 ? undefined : `Component ${made.name} is not as it was made: ${faults.join("; ")}`;
}

const isPlain = (value: unknown): value is string => typeof value === "string";

function sameKey(made: unknown, found: { name: string; key: string } | undefined): boolean {
  if (typeof made !== "object" || made === null) return true;
  const { name, key } = made as { name?: unknown; key?: unknown };
  return found !== undefined && (!isPlain(name) || found.name === name) && (!isPlain(key) || found.key === key);
}

/** A password that somebody wrote in place of a reference must not be shown. */
const shown = new Set([
  "brokers",
  "authType",
  "saslMechanism",
  "disableTls",
  "enableTLS",
  "consumerGroup",
  "initialOffset",
]);

function differs(name: string, found: unknown, made: string): string {
  const isShown = shown.has(name) && isPlain(found);
  return isShown ? `${name} is "${found}" instead of "${made}"` : `${name} has another value`;
}

interface Sidecar {
  readonly service: ServiceIdentity;
  readonly pod: Pod;
  readonly expected: readonly string[];
  readonly isFaulty: boolean;
}

async function lookAtSidecar(system: System, notes: Notes, sidecar: Sidecar): Promise<void> {
  const { service, pod, expected, isFaulty } = sidecar;
  const { name } = service;
  const status = statusOf(pod, sidecarName);
  if (status?.ready === true) {
    await notes.part(`sidecar of ${pod.metadata.name}`, async () => {
      const loaded = (await sidecarMetadata(system, service, pod)).components.map((component) => component.name);
      notes.at(`sidecar of ${name}: ${list(loaded)}`);
      const missing = expected.filter((each) => !loaded.includes(each));
      if (missing.length > 0) {
        notes.found(`The sidecar of ${pod.metadata.name} has not loaded ${list(missing)}`, restart(system, name));
      }
    });
    return;
  }
  const app = statusOf(pod, name);
  // A sidecar waits for its service.
  if (status === undefined || (!isDown(status) && (app === undefined || isDown(app)))) return;
  const { state, said, isOfSecrets } = await troubleOf(system, pod, status);
  // `secrets` tells of those.
  if (isOfSecrets) return;
  const what = `The sidecar of ${pod.metadata.name} is not ready (${state})${said === "" ? "" : `: ${said}`}`;
  const logs = kubectlIn(system, `logs ${pod.metadata.name} --container ${sidecarName}`);
  // With a Component at fault it need say nothing yet.
  if (isFaulty || /Image/.test(state)) notes.found(what, system.repair);
  else notes.found(what, said === "" ? logs : restart(system, name));
}
