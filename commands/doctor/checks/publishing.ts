import { components, probeTopic, services } from "@event-flow/events";
import { z } from "zod";
import type { Check } from "../check.ts";
import { askSidecar, restart, withSidecar } from "../sidecars.ts";

const { backend } = services;

/**
 * The words of the broker itself for a topic that isn't there, may not be made by who asks, or is being made: it was reached, and
 * took who asked. A user without rights to the topics of events shows by the outbox.
 */
const answersOfBroker =
  /topic or partition that does not exist|not authorized to access this topic|leadership election|UNKNOWN_TOPIC/i;

/** Whether the broker takes what the backend's sidecar publishes. Nobody subscribes to the topic of the probe. */
export const publishing: Check = {
  name: "publishing",
  look: async (system, notes) => {
    const [pod] = await withSidecar(system, backend);
    if (pod === undefined) {
      notes.couldNotLook(`${backend.name} has no pod with a sidecar that is ready`);
      return;
    }
    const { status, text } = await askSidecar(system, backend, pod, {
      path: `/v1.0/publish/${components.pubsub}/${probeTopic}`,
      method: "POST",
      body: { by: "doctor" },
    });
    notes.at(`one message to ${probeTopic}, by the sidecar of ${pod.metadata.name}`);
    if (status < 300 || answersOfBroker.test(text)) return;
    const why = problem.safeParse(safeJson(text)).data?.message ?? `HTTP ${status}`;
    notes.found(`The sidecar of ${backend.name} can't publish: ${why}`, restart(system, backend.name));
  },
};

const problem = z.object({ message: z.string() });

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
