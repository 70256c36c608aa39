import { metrics } from "@event-flow/events";
import { Counter, Histogram, type Registry } from "prom-client";

/** Why an event was given up: it follows no schema, its handler failed again and again, or Dapr could not deliver it. */
export type Reason = "schema" | "failed" | "undeliverable";

/** What a subscriber tells of each message. Its type is the name of the subscription that it came by. */
export interface Meter {
  handled(type: string, outcome: string): void;
  /** How long after it happened a message was handled that hadn't been before. */
  reached(type: string, seconds: number): void;
  retried(type: string): void;
  deadLettered(type: string, reason: Reason): void;
}

/** From a message that finds everything idle to one that waited for an outage to end. */
const endToEndSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800];

/** The type of what Dapr could not deliver: it may be anything. */
export const unknownType = "unknown";

/** Counts what becomes of the messages of these types. */
export function createMeter(registry: Registry, types: readonly string[]): Meter {
  const registers = [registry];
  const handled = new Counter({
    name: metrics.handled,
    help: "Deliveries that were acknowledged, by what they came to",
    labelNames: ["type", "outcome"],
    registers,
  });
  const endToEnd = new Histogram({
    name: metrics.endToEnd,
    help: "From the change to its being handled, of events that were not handled before",
    labelNames: ["type"],
    buckets: endToEndSeconds,
    registers,
  });
  const retried = new Counter({
    name: metrics.retried,
    help: "Deliveries that failed and are tried again",
    labelNames: ["type"],
    registers,
  });
  const deadLettered = new Counter({
    name: metrics.deadLettered,
    help: "Events that were given up and kept as dead letters",
    labelNames: ["type", "reason"],
    registers,
  });
  // A counter that begins with its first event hides that one from `increase`.
  for (const type of types) {
    retried.inc({ type }, 0);
    for (const reason of ["schema", "failed"] as const) deadLettered.inc({ type, reason }, 0);
  }
  deadLettered.inc({ type: unknownType, reason: "undeliverable" }, 0);
  return {
    handled: (type, outcome) => {
      handled.inc({ type, outcome });
    },
    reached: (type, seconds) => {
      endToEnd.observe({ type }, seconds);
    },
    retried: (type) => {
      retried.inc({ type });
    },
    deadLettered: (type, reason) => {
      deadLettered.inc({ type, reason });
    },
  };
}
