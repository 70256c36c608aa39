import { eventTypes, metrics, type EventType } from "@event-flow/events";
import { Counter, Gauge, type Registry } from "prom-client";
import type { Backlog } from "./outbox.ts";

/** What the relay tells of each event that it gave to the sidecar. */
export interface Meter {
  published(type: EventType): void;
  refused(type: EventType): void;
}

/** Counts what becomes of events on their way to the broker. */
export function createMeter(registry: Registry): Meter {
  const count = (name: string, help: string) => {
    const counter = new Counter({ name, help, labelNames: ["type"], registers: [registry] });
    // A counter that begins with its first event hides that one from `increase`.
    for (const type of eventTypes) counter.inc({ type }, 0);
    return (type: EventType) => {
      counter.inc({ type });
    };
  };
  return {
    published: count(metrics.published, "Events that the broker acknowledged"),
    refused: count(
      metrics.refused,
      "Attempts to publish an event that failed; it waits in the outbox and is tried again",
    ),
  };
}

/**
 * Shows what waits in the outbox, read when Prometheus asks. Every replica shows the same: take the largest. While the
 * database doesn't answer, nothing is shown, rather than the last figures or a failed scrape.
 */
export function showBacklog(registry: Registry, read: () => Promise<Backlog>): void {
  let reading: Promise<Backlog | undefined> | undefined;
  const readOnce = () =>
    (reading ??= read()
      .catch(() => undefined)
      .finally(() => (reading = undefined)));
  const show = (name: string, help: string, valueOf: (backlog: Backlog) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        const backlog = await readOnce();
        if (backlog === undefined) {
          this.remove();
        } else {
          this.set(valueOf(backlog));
        }
      },
    });
  show(metrics.outboxEvents, "Events that wait to be published, counted up to 10,000", ({ events }) => events);
  show(metrics.outboxAge, "How long the first of them has waited; 0 if none waits", (b) => b.oldest_seconds ?? 0);
  show(metrics.outboxSize, "The size of the outbox's table on disk with its index", ({ bytes }) => bytes);
}
