import { services, type ServiceIdentity } from "@event-flow/events";
import type { Check, Notes } from "../check.ts";
import { count, has, list, podsOf, restart, sidecarName } from "../sidecars.ts";
import type { System } from "../system.ts";

/** Whether each service asks for a sidecar, and each of its pods got one. */
export const injection: Check = {
  name: "injection",
  look: async (system, notes) => {
    const deployments = new Map((await system.list("deployments")).map((each) => [each.metadata.name, each]));
    let made: Awaited<ReturnType<System["made"]>> | undefined;
    await notes.part("annotations beyond the contract's", async () => {
      made = await system.made();
    });
    for (const service of Object.values(services)) {
      const deployment = deployments.get(service.name);
      if (deployment === undefined) {
        notes.found(`There is no Deployment ${service.name}`, system.repair);
        continue;
      }
      const actual = deployment.spec.template.metadata.annotations;
      const expected = {
        ...made?.workloads.find(({ kind, name }) => kind === "deployment" && name === service.name)?.annotations,
        ...ofContract(service),
      };
      const wrong = Object.entries(expected).filter(([key, value]) => actual[key] !== value);
      if (wrong.length > 0) {
        const told = wrong.map(([key, value]) => `${key} is ${say(actual[key])} instead of "${value}"`);
        notes.found(`Deployment ${service.name}: ${list(told)}`, system.repair);
      }
      await lookAtPods(system, notes, service, actual["dapr.io/enabled"] === "true");
    }
  },
};

async function lookAtPods(system: System, notes: Notes, { name }: ServiceIdentity, isAsked: boolean): Promise<void> {
  const pods = await podsOf(system, name);
  notes.at(`${name}: annotations and ${count(pods, "pod")}`);
  const bare = pods.filter((pod) => !has(pod, sidecarName));
  // What was not asked for was told of above.
  if (bare.length > 0 && isAsked) {
    notes.found(
      `${name} has ${count(bare, "pod")} without a sidecar: begun while nobody injected one`,
      restart(system, name),
    );
  }
}

/** What the injector can't do without. */
function ofContract({ appId, port }: ServiceIdentity): Record<string, string> {
  return { "dapr.io/enabled": "true", "dapr.io/app-id": appId, "dapr.io/app-port": String(port) };
}

function say(value: string | undefined): string {
  return value === undefined ? "missing" : `"${value}"`;
}
