import { metrics, metricsPath, services } from "@event-flow/events";
import { outboxPatienceSeconds } from "../../../components/alerts.ts";
import { parseMetrics, valueOf } from "../../../test/servers/metrics.ts";
import type { Check } from "../check.ts";
import { podsOf, restart, statusOf } from "../sidecars.ts";

const { backend } = services;

/** Whether what was changed is published. */
export const outbox: Check = {
  name: "outbox",
  look: async (system, notes) => {
    const ready = (await podsOf(system, backend.name)).find((pod) => statusOf(pod, backend.name)?.ready === true);
    if (ready === undefined) {
      notes.couldNotLook(`${backend.name} has no pod that is ready`);
      return;
    }
    // Every replica shows the same.
    const { status, text } = await system.http(ready.metadata.name, { port: backend.port, path: metricsPath });
    if (status !== 200) throw new Error(`${ready.metadata.name} answers HTTP ${status} to GET ${metricsPath}`);
    const samples = parseMetrics(text);
    const [age, events] = [valueOf(samples, metrics.outboxAge), valueOf(samples, metrics.outboxEvents)];
    if (age === undefined || events === undefined) {
      notes.couldNotLook("the backend shows no outbox: its database doesn't answer");
      return;
    }
    notes.at(`${events} ${events === 1 ? "event waits" : "events wait"}, the first for ${Math.round(age)} s`);
    if (age > outboxPatienceSeconds) {
      const what = `Events wait to be published, the first of ${events} for ${Math.round(age)} s`;
      notes.found(what, restart(system, backend.name));
    }
  },
};
