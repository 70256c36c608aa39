import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  deadLetterKeys,
  deadLetterListSchema,
  deadLetterSchema,
  longestName,
  type DeadLetter,
} from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
import { z } from "zod";

/** How many dead letters are kept to be listed and replayed. Older ones are in their topic only, as long as the broker keeps it. */
const kept = 500;

const attempts = 20;

/** Too many others wrote the same value in the state store at the same time. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/** Where a message is in the broker, as the sidecar says in headers, and by which key. */
export interface Origin {
  /** `<topic>/<partition>/<offset>` */
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
}

/** No sound message is near it. Larger ones would fill the state store, and have no room beside a cause in a message. */
const longestKept = 65_536;
/** What is kept of them. */
const beginning = 1_000;

/** Deeper than any sound message, and not as deep as what a stack overflows at, or what Dapr refuses to read. */
const deepest = 100;

/** Whether a value can't be relied on to be written as JSON again. */
export function isTooDeep(value: unknown): boolean {
  // No recursion, as that is what it would end.
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > deepest) return true;
    level = level.flatMap((each) =>
      each !== null && typeof each === "object" ? (Object.values(each) as unknown[]) : [],
    );
  }
  return false;
}

/** What was given up, with the cause. What is too large is cut. */
export function deadLetterOf({ id, topic, key }: Origin, cause: string, event: unknown): DeadLetter {
  const text = typeof event === "string" ? event : JSON.stringify(event ?? null);
  const isLarge = text.length > longestKept;
  return {
    ...{ id, topic, key },
    cause: cause.slice(0, 2_000),
    failed_at: new Date().toISOString(),
    event: isLarge ? text.slice(0, beginning) : event,
    ...(isLarge && { cut: true }),
  };
}

/** Reads what came by the dead letter topic: a letter of this service's own, or a message that Dapr could not deliver. */
export function readDeadLetter(bytes: Buffer, origin: Origin): DeadLetter {
  const text = bytes.toString();
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch {
    // The text itself is what there is to see.
    return deadLetterOf(origin, "Dapr could not deliver it: it is no JSON", text);
  }
  if (isTooDeep(event)) {
    return deadLetterOf(origin, `It could not be read: it is nested more than ${deepest} deep`, text);
  }
  const letter = deadLetterSchema.safeParse(event);
  if (letter.success && JSON.stringify(letter.data).length <= 2 * longestKept) {
    return letter.data;
  }
  const cause = z.looseObject({}).safeParse(event).success
    ? "Dapr could not deliver it, or was told to drop it"
    : "Dapr could not deliver it: it is no JSON object";
  return deadLetterOf(origin, cause, event);
}

const identifiedSchema = z.object({ id: z.string() });

/** The id that an event says it has, as far as it may be long; undefined if it has none. */
export function eventIdOf(event: unknown): string | undefined {
  return identifiedSchema.safeParse(event).data?.id.slice(0, longestName);
}

/** Keeps a dead letter for the command that lists and replays them. Doing so again changes nothing. */
export async function keepDeadLetter(dapr: DaprClient, { event, ...letter }: DeadLetter): Promise<void> {
  const key = deadLetterKeys.letter(letter.id);
  const { etag } = await dapr.getState(key);
  if (etag === undefined) {
    await dapr.saveState(key, { value: { ...letter, event }, etag });
  }
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const list = await dapr.getState(deadLetterKeys.list);
    // A list that can't be read any more must not keep what comes now from being listed.
    const current = deadLetterListSchema.catch([]).parse(list.value ?? []);
    if (current.some(({ id }) => id === letter.id)) {
      return;
    }
    const event_id = eventIdOf(event) ?? null;
    const changed = [{ ...letter, event_id }, ...current];
    if (await dapr.saveState(deadLetterKeys.list, { value: changed.slice(0, kept), etag: list.etag })) {
      await Promise.all(changed.slice(kept).map(({ id }) => dapr.deleteState(deadLetterKeys.letter(id))));
      return;
    }
    await sleep(randomInt(1, 5 * attempt + 1));
  }
  throw new ConflictError(`The list of dead letters was written by others ${attempts} times in a row`);
}
