import { metrics, metricsPath, subscribers } from "@event-flow/events";
import { parseMetrics, type Sample, valueOf } from "../../../test/servers/metrics.ts";
import type { Check } from "../check.ts";
import { podsOf, restart, statusOf } from "../sidecars.ts";
import type { System } from "../system.ts";

const exporter = { name: "lag-exporter", port: 9308 };

/** A group takes what waits within milliseconds, unless its subscriber has just come: it joins within a few seconds. */
const patienceMs = 8_000;

/** Whether each subscriber takes what waits for it. */
export const consumers: Check = {
  name: "consumers",
  look: async (system, notes) => {
    const before = await read(system);
    if (before === undefined) {
      notes.couldNotLook(`${exporter.name} has no pod that is ready, or can't ask the broker`);
      return;
    }
    const waiting = subscribers.filter(({ appId }) => lagOf(before, appId) > 0);
    let after = before;
    if (waiting.length > 0) {
      await system.wait(patienceMs);
      after = (await read(system)) ?? before;
    }
    for (const { name, appId } of subscribers) {
      const lag = lagOf(after, appId);
      notes.at(`group ${appId}: ${lag} ${lag === 1 ? "event waits" : "events wait"}`);
      const taken = offsetOf(after, appId) - offsetOf(before, appId);
      if (lag > 0 && taken <= 0 && waiting.some((each) => each.appId === appId)) {
        const what = `${lag} ${lag === 1 ? "event waits" : "events wait"} for ${name}, which took none within ${patienceMs / 1_000} s`;
        notes.found(what, restart(system, name));
      }
    }
  },
};

async function read(system: System): Promise<Sample[] | undefined> {
  const pod = (await podsOf(system, exporter.name)).find((each) => statusOf(each, exporter.name)?.ready === true);
  if (pod === undefined) return undefined;
  const { status, text } = await system.http(pod.metadata.name, { port: exporter.port, path: metricsPath });
  const samples = status === 200 ? parseMetrics(text) : [];
  return (valueOf(samples, metrics.brokers) ?? 0) > 0 ? samples : undefined;
}

const lagOf = (samples: readonly Sample[], consumergroup: string) =>
  valueOf(samples, metrics.consumerLag, { consumergroup }) ?? 0;

const offsetOf = (samples: readonly Sample[], consumergroup: string) =>
  valueOf(samples, metrics.consumerOffset, { consumergroup }) ?? 0;
