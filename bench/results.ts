import type { Machine } from "./machine.ts";
import type { Consumption } from "./meter.ts";
import type { PeerName } from "./peers.ts";
import type { OpenRate, Plan } from "./plan.ts";
import type { Profile } from "./profile.ts";
import type { Durations } from "./statistics.ts";

/** `POST` by some connections, each of which sends the next request when it has its answer. */
export interface Posts {
  readonly peer: PeerName;
  readonly connections: number;
  /** Whether the subscriber runs meanwhile on the same cores. */
  readonly subscribed: boolean;
  readonly perSecond: number;
  readonly latency: Durations;
  /** Requests that had no good answer. */
  readonly failed: number;
}

/** From a request to its handled event, with requests at a constant rate. */
export interface EndToEnd {
  readonly peer: PeerName;
  readonly rate: OpenRate;
  readonly sent: number;
  readonly accepted: number;
  readonly latency: Durations;
  readonly toHandled: Durations;
  /** What each part took for that. */
  readonly parts: Readonly<Record<string, Consumption>>;
}

/** Events through the sidecar's bulk publish, 100 a call. */
export interface Bulk {
  readonly connections: number;
  readonly eventsPerSecond: number;
}

/** How fast the relay empties an outbox, and what each part takes for that. */
export interface Drain {
  readonly backlog: number;
  readonly eventsPerSecond: number;
  readonly parts: Readonly<Record<string, Consumption>>;
}

export interface Start {
  readonly peer: PeerName;
  readonly app: "backend" | "subscriber";
  readonly readyMs: number;
}

/** What became of all changes that this system acknowledged. */
export interface Check {
  readonly acknowledged: number;
  readonly lost: number;
  readonly handledAgain: number;
}

/** What one turn of a peer came to. */
export interface Visit {
  readonly peer: PeerName;
  readonly posts: readonly Posts[];
  readonly endToEnd: readonly EndToEnd[];
  readonly bulk: readonly Bulk[];
  readonly drains: readonly Drain[];
  readonly starts: readonly Start[];
  /** Of this system only. */
  readonly check: Check | undefined;
}

/** Events handled by some replicas of the notification service. */
export interface Replicas {
  readonly replicas: number;
  readonly perSecond: number;
}

/** What Kafka's own tools reach. */
export interface KafkaLimit {
  readonly recordBytes: number;
  readonly perSecond: number;
  readonly producerP50: number;
  readonly producerP99: number;
  readonly roundTripP50: number;
  readonly roundTripP99: number;
}

export interface Size {
  readonly what: string;
  readonly bytes: number;
}

export interface Results {
  readonly date: string;
  readonly seed: number;
  readonly quick: boolean;
  readonly plan: Plan;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  /** In the order in which they took place. */
  readonly visits: readonly Visit[];
  readonly replicas: readonly Replicas[];
  readonly kafka: KafkaLimit;
  readonly sizes: readonly Size[];
  readonly profiles: readonly Profile[];
}
