/**
 * Holds what was acknowledged against what was saved, published and told. Nothing here asks the system: it compares logs that
 * were written independently of each other.
 */
import type { EventType } from "@event-flow/events";
import { type Request, typeOf } from "./load-log.ts";
import type { GivenUp, Handling } from "./notification-log.ts";

/** A message on a topic, as a plain consumer read it. */
export interface Message {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly eventId: string;
  readonly type: EventType;
  readonly task: number;
  readonly version: number;
}

/** A task as the database has it at the end. */
export interface SavedTask {
  readonly id: number;
  readonly version: number;
}

export interface Evidence {
  readonly requests: readonly Request[];
  readonly tasks: readonly SavedTask[];
  /** The events that are still in the outbox. */
  readonly outbox: readonly string[];
  readonly messages: readonly Message[];
  readonly handlings: readonly Handling[];
  readonly givenUp: readonly GivenUp[];
  /** What the analytics service works figures out of. @default not looked at */
  readonly counted?: readonly Change[];
  /** The messages on the dead letter topics, as they are. */
  readonly deadLetters: readonly string[];
}

/** What must not be, in the order in which it's to be told. */
export const violationKinds = [
  "not saved",
  "saved unasked",
  "lost",
  "never saved, but told",
  "doubled",
  "told out of order",
  "published out of order",
  "not published",
  "counted wrongly",
  "dead letter",
  "answered wrongly",
  "not recovered",
] as const;

export interface Violation {
  readonly kind: (typeof violationKinds)[number];
  readonly task?: number;
  readonly version?: number;
  readonly text: string;
}

export interface Change {
  readonly task: number;
  readonly version: number;
}

const key = ({ task, version }: Change) => `${task}/${version}`;

/** Answers that a client has to expect. */
const expectedStatuses = new Set([200, 201, 204, 503]);

/** All that is wrong; empty if every promise was kept. */
export function verify(evidence: Evidence): Violation[] {
  const { requests, handlings, messages } = evidence;
  const { changes, violations } = savedChanges(evidence);
  const made = new Set(changes.map(key));
  const types = new Map<string, EventType>();
  for (const { task, version, method } of requests) {
    if (task !== undefined) types.set(key({ task, version }), typeOf[method]);
  }
  const handled = Map.groupBy(handlings, key);

  const published = new Set(messages.map(key));
  for (const change of changes) {
    if (!published.has(key(change))) violations.push({ kind: "not published", ...change, text: "it is on no topic" });
    const lines = handled.get(key(change)) ?? [];
    if (lines.some(({ outcome }) => outcome !== "outdated")) continue;
    const why = lines.length > 0 ? "its first delivery was ignored as outdated" : "no replica was given its event";
    violations.push({ kind: "lost", ...change, text: why });
  }
  for (const [, lines] of handled) {
    const [first] = lines;
    if (first === undefined) continue;
    const { task, version } = first;
    const told = lines.filter(({ outcome }) => outcome === "told");
    if (told.length > 1) violations.push({ kind: "doubled", task, version, text: `told ${told.length} times` });
    if (!made.has(key(first)) || (types.get(key(first)) ?? first.type) !== first.type) {
      violations.push({ kind: "never saved, but told", task, version, text: `${first.outcome}: ${first.type}` });
    }
  }
  if (evidence.counted !== undefined) violations.push(...countedWrongly(evidence.counted, changes));
  violations.push(...toldOutOfOrder(handlings), ...publishedOutOfOrder(messages));

  for (const event of evidence.outbox) violations.push({ kind: "not published", text: event });
  for (const { source, text } of evidence.givenUp) violations.push({ kind: "dead letter", text: `${source}: ${text}` });
  for (const text of evidence.deadLetters) violations.push({ kind: "dead letter", text });
  for (const { request, method, task, version, status } of requests) {
    if (status === undefined || expectedStatuses.has(status)) continue;
    const text = `request ${request}, ${method}, got ${status}`;
    violations.push({ kind: "answered wrongly", version, text, ...(task !== undefined && { task }) });
  }
  return violations.sort((a, b) => violationKinds.indexOf(a.kind) - violationKinds.indexOf(b.kind));
}

function countedWrongly(counted: readonly Change[], changes: readonly Change[]): Violation[] {
  const tell = (some: readonly Change[], others: readonly Change[], text: string) => {
    const known = new Set(others.map(key));
    const left = some.filter((change) => !known.has(key(change)));
    return left.map((change): Violation => ({ kind: "counted wrongly", ...change, text }));
  };
  return [
    ...tell(changes, counted, "the figures are without it"),
    ...tell(counted, changes, "it's in the figures and was never made"),
  ];
}

/** Every change that was made, by what the database has and, of deleted tasks, by what the load knows. */
export function savedChanges({ requests, tasks }: Pick<Evidence, "requests" | "tasks">): {
  changes: Change[];
  violations: Violation[];
} {
  const violations: Violation[] = [];
  const saved = new Map(tasks.map(({ id, version }) => [id, version]));
  const asked = new Map<number, Request[]>();
  let creationsUnknown = 0;
  for (const request of requests) {
    if (request.task === undefined) creationsUnknown += 1;
    else asked.set(request.task, [...(asked.get(request.task) ?? []), request]);
  }
  const last = new Map(saved);
  for (const [task, ofTask] of asked) {
    const acknowledged = ofTask.filter(({ acknowledgedAt }) => acknowledgedAt !== undefined);
    const highest = Math.max(0, ...acknowledged.map(({ version }) => version));
    const deletion = ofTask.find(({ method }) => method === "DELETE");
    const deleted = deletion?.acknowledgedAt !== undefined;
    const version = saved.get(task);
    if (version === undefined) {
      if (deletion === undefined) {
        violations.push({ kind: "not saved", task, version: highest, text: "the database doesn't have the task" });
      }
      last.set(task, deletion?.version ?? highest);
    } else if (deleted) {
      violations.push({ kind: "not saved", task, version: highest, text: "its deletion: the database has the task" });
    } else if (version < highest) {
      violations.push({ kind: "not saved", task, version: highest, text: `the database has version ${version}` });
    } else {
      const possible = Math.max(...ofTask.map((request) => request.version));
      if (version > possible) {
        violations.push({ kind: "saved unasked", task, version, text: `asked was for ${possible} versions` });
      }
    }
  }
  // A creation without an answer leaves a task that the load doesn't know. There can't be more of them.
  const unknown = tasks.filter(({ id }) => !asked.has(id));
  if (unknown.length > creationsUnknown) {
    const text = `${unknown.length} tasks that nobody was told of, and ${creationsUnknown} creations without an answer`;
    violations.push({ kind: "saved unasked", text });
  }
  const changes = [...last].flatMap(([task, versions]) =>
    Array.from({ length: versions }, (_, index) => ({ task, version: index + 1 })),
  );
  return { changes, violations };
}

/**
 * Each event counts from the first line that tells of it: one that was told by a replica that was killed, or froze, before it
 * could log so is then logged as repeated by another.
 */
function toldOutOfOrder(handlings: readonly Handling[]): Violation[] {
  const inTime = handlings.filter(({ outcome }) => outcome !== "outdated").sort((a, b) => a.at - b.at);
  return outOfOrder(inTime, ({ task, type }) => `${task} ${type}`, "told out of order");
}

/** What is published again doesn't matter; its first appearance does. */
function publishedOutOfOrder(messages: readonly Message[]): Violation[] {
  return [...Map.groupBy(messages, ({ topic }) => topic).values()].flatMap((ofTopic) => {
    const inPlace = ofTopic.toSorted((a, b) => a.partition - b.partition || a.offset - b.offset);
    const partitions = Map.groupBy(ofTopic, ({ task }) => task);
    const split = [...partitions].flatMap(([task, ofTask]): Violation[] => {
      const where = new Set(ofTask.map(({ partition }) => partition));
      const text = `its events of one type are on the partitions ${[...where].join(", ")}`;
      return where.size === 1 ? [] : [{ kind: "published out of order", task, text }];
    });
    return [...split, ...outOfOrder(inPlace, ({ task }) => String(task), "published out of order")];
  });
}

function outOfOrder<T extends Change & { readonly eventId: string }>(
  items: readonly T[],
  sequence: (item: T) => string,
  kind: Violation["kind"],
): Violation[] {
  const violations: Violation[] = [];
  const seen = new Set<string>();
  const last = new Map<string, number>();
  for (const item of items) {
    if (seen.has(item.eventId)) continue;
    seen.add(item.eventId);
    const { task, version } = item;
    const before = last.get(sequence(item)) ?? 0;
    if (version < before) violations.push({ kind, task, version, text: `after version ${before}` });
    last.set(sequence(item), Math.max(version, before));
  }
  return violations;
}
