import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { deadLetterKeys, deadLetterListSchema, deadLetterSchema, type DeadLetter } from "@event-flow/events";
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

/** Reads what came by the dead letter topic: a letter of this service's own, or a message that Dapr could not deliver. */
export function readDeadLetter(bytes: Buffer, { id, topic, key }: Origin): DeadLetter {
  const text = bytes.toString();
  let event: unknown = text;
  let cause = "Dapr could not deliver it: it is no JSON";
  try {
    event = JSON.parse(text);
    const letter = deadLetterSchema.safeParse(event);
    if (letter.success) {
      return letter.data;
    }
    cause = z.looseObject({}).safeParse(event).success
      ? "Dapr could not deliver it, or was told to drop it"
      : "Dapr could not deliver it: it is no JSON object";
  } catch {
    // The text itself is what there is to see.
  }
  return { id, topic, key, cause, failed_at: new Date().toISOString(), event };
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
    const event_id = z.looseObject({ id: z.string() }).safeParse(event).data?.id ?? null;
    const changed = [{ ...letter, event_id }, ...current];
    if (await dapr.saveState(deadLetterKeys.list, { value: changed.slice(0, kept), etag: list.etag })) {
      await Promise.all(changed.slice(kept).map(({ id }) => dapr.deleteState(deadLetterKeys.letter(id))));
      return;
    }
    await sleep(randomInt(1, 5 * attempt + 1));
  }
  throw new ConflictError(`The list of dead letters was written by others ${attempts} times in a row`);
}
