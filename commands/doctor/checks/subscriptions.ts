import {
  components,
  daprTokenKey,
  daprTokenSecrets,
  deadLetterTopic,
  eventTypes,
  type ServiceIdentity,
  subscribers,
  topic,
} from "@event-flow/events";
import { z } from "zod";
import type { Check, Notes } from "../check.ts";
import { count, kubectlIn, list, restart, sidecarMetadata, tokenHeader, withSidecar } from "../sidecars.ts";
import type { Pod, System } from "../system.ts";

const answerSchema = z.array(z.object({ topic: z.string() }));

/** Whether each subscriber's sidecar has what its app subscribes to, and that is what the contract has. */
export const subscriptions: Check = {
  name: "subscriptions",
  look: async (system, notes) => {
    const subscribed = new Set<string>();
    await Promise.all(
      subscribers.map(async (subscriber) => {
        const pods = await withSidecar(system, subscriber);
        if (pods.length === 0) {
          notes.couldNotLook(`${subscriber.name} has no pod with a sidecar that is ready`);
        }
        for (const pod of pods) {
          await notes.part(pod.metadata.name, async () => {
            for (const each of await lookAt(system, notes, subscriber, pod)) subscribed.add(each);
          });
        }
      }),
    );
    const unheard = eventTypes.map((type) => topic(type)).filter((each) => !subscribed.has(each));
    // What couldn't be looked at, or is told of above, may have them.
    if (unheard.length > 0 && notes.unseen.length === 0 && notes.findings.length === 0) {
      notes.found(`Nobody subscribes to ${list(unheard)}`, system.repair);
    }
  },
};

const tokenVariable = "APP_API_TOKEN";

/** Whether a service asks for the token that its sidecar is given, and no other. */
async function readsToken(system: System, service: ServiceIdentity): Promise<boolean> {
  const deployment = (await system.list("deployments")).find(({ metadata }) => metadata.name === service.name);
  const variables = deployment?.spec.template.spec.containers.flatMap(({ env }) => env) ?? [];
  const source = variables.find(({ name }) => name === tokenVariable)?.valueFrom?.secretKeyRef;
  return source?.name === daprTokenSecrets(service).app;
}

/** Has it do so. What somebody wrote in its place, Pulumi would leave there, beside its own. */
function readToken(system: System, service: ServiceIdentity): string {
  const prefix = tokenVariable.slice(0, -daprTokenKey.length);
  const from = `--from=secret/${daprTokenSecrets(service).app} --prefix=${prefix}`;
  return kubectlIn(system, `set env deployment/${service.name} ${from}`);
}

/** Resolves to the topics that the app subscribes to. */
async function lookAt(system: System, notes: Notes, subscriber: ServiceIdentity, pod: Pod): Promise<string[]> {
  const { name, port } = subscriber;
  const sidecar = (await sidecarMetadata(system, subscriber, pod)).subscriptions
    .filter(({ pubsubname }) => pubsubname === components.pubsub)
    .map((subscription) => subscription.topic);
  const headers = await tokenHeader(system, subscriber, "app");
  const { status, text } = await system.http(pod.metadata.name, { port, path: "/dapr/subscribe", headers });
  notes.at(`${name}: GET /dapr/subscribe, and ${count(sidecar, "subscription")} of its sidecar`);
  if (status !== 200) {
    const what = `${name} answers HTTP ${status} to GET /dapr/subscribe; its sidecar has ${count(sidecar, "subscription")}`;
    const isOther = status === 401 && !(await readsToken(system, subscriber));
    notes.found(what, isOther ? readToken(system, subscriber) : restart(system, name));
    return [];
  }
  const app = answerSchema.parse(JSON.parse(text)).map((subscription) => subscription.topic);
  const missing = app.filter((each) => !sidecar.includes(each));
  if (missing.length > 0) {
    notes.found(`The sidecar of ${pod.metadata.name} has no subscription to ${list(missing)}`, restart(system, name));
  }
  const own = deadLetterTopic(subscriber);
  const faults = [
    ...(app.includes(own) ? [] : [`it doesn't subscribe to its dead letters (${own})`]),
    ...(app.some((each) => each !== own) ? [] : ["it subscribes to no event"]),
  ];
  if (faults.length > 0) notes.found(`${name}: ${faults.join("; ")}`, system.repair);
  return app;
}
