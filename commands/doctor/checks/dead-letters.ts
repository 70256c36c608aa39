import { deadLetterKeys, deadLetterListSchema, subscribers } from "@event-flow/events";
import type { Check } from "../check.ts";
import { askSidecar, statePath, withSidecar } from "../sidecars.ts";

/** Whether a subscriber gave events up. */
export const deadLetters: Check = {
  name: "dead-letters",
  look: async (system, notes) => {
    await Promise.all(
      subscribers.map(async (subscriber) => {
        const { name } = subscriber;
        await notes.part(name, async () => {
          const [pod] = await withSidecar(system, subscriber);
          if (pod === undefined) throw new Error("it has no pod with a sidecar that is ready");
          const path = statePath(deadLetterKeys.list);
          const { status, text } = await askSidecar(system, subscriber, pod, { path });
          if (status !== 200 && status !== 204) throw new Error(`its state store answers HTTP ${status}`);
          const letters = status === 204 ? [] : deadLetterListSchema.parse(JSON.parse(text));
          notes.at(`${name}: ${letters.length}`);
          const [latest] = letters;
          if (latest !== undefined) {
            const many = letters.length === 1 ? "an event" : `${letters.length} events`;
            notes.found(
              `${name} gave ${many} up, the last at ${latest.failed_at}: ${latest.cause}`,
              `node commands/dead-letters.ts list --service ${name}${system.whichStack}`,
            );
          }
        });
      }),
    );
  },
};
