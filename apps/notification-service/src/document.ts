import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { eventTypes, type EventType } from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
import { ConflictError } from "@event-flow/subscriber";
import { z } from "zod";
import type { Delivery, FailedDelivery } from "./channel.ts";
import type { Preferences } from "./preferences.ts";

export const notificationSchema = z.object({
  id: z.uuid(),
  event_id: z.string(),
  sequence: z
    .int()
    .min(0)
    .describe("The number of the notification among all of the user's, in the order in which they were told"),
  type: z.enum(eventTypes),
  task_id: z.int().positive(),
  message: z.string(),
  created_at: z.iso.datetime({ offset: true }).describe("When the event happened"),
  notified_at: z.iso.datetime({ offset: true }),
});

export type Notification = z.infer<typeof notificationSchema>;

/** The newest version of a task that was seen, in the events of each type. */
export interface Seen {
  readonly task_id: number;
  readonly versions: Partial<Record<EventType, number>>;
}

/**
 * One user's document in the state store, under the user's id: the most recent event first, and the tasks that events came
 * of, the last one first; and what channels need, so that an event is noted and its deliveries with it by one write. Entries
 * aren't checked when they are read: they are written here only, and to check some hundred of them would be most of the work
 * that an event makes.
 */
const documentSchema = z.object({
  notifications: z.array(z.custom<Notification>()),
  seen: z.array(z.custom<Seen>()).default([]),
  /** That of the notification that was told last. */
  sequence: z.int().default(0),
  /** What the user chose; there is none before. */
  preferences: z.custom<Preferences>().optional(),
  /** What a channel has yet to deliver, in the order in which it was told; there is none where no channel is on. */
  pending: z.custom<readonly Delivery[]>().optional(),
  /** What was given up, the last one first. */
  failed: z.custom<readonly FailedDelivery[]>().optional(),
});

export type Document = z.infer<typeof documentSchema>;

// Each attempt that fails is another replica's that succeeded: within one a user's changes take turns.
const attempts = 20;

/** A user's document, and the ETag that a save of it must present. */
export interface VersionedDocument {
  readonly document: Document;
  readonly etag: string | undefined;
}

export async function readDocument(dapr: DaprClient, userId: string): Promise<VersionedDocument> {
  const { value, etag } = await dapr.getState(userId);
  return { document: documentSchema.parse(value ?? { notifications: [] }), etag };
}

const turns = new Map<string, Promise<unknown>>();

/**
 * Does work for one user after the other's: a user's events come by every partition at once, and all but one of them would
 * read and write in vain. Among replicas the ETag decides.
 */
async function inTurn<T>(userId: string, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(userId) ?? Promise.resolve()).then(work, work);
  turns.set(userId, turn);
  try {
    return await turn;
  } finally {
    if (turns.get(userId) === turn) {
      turns.delete(userId);
    }
  }
}

/** What a change comes to, and the document that is to be saved for it; none if nothing changes. */
export interface Change<T> {
  readonly result: T;
  readonly changed?: Document | undefined;
}

/**
 * Changes a user's document, and resolves to what that came to. `change` is asked again, with the document as it then is,
 * when another wrote it in between.
 */
export function changeDocument<T>(
  dapr: DaprClient,
  userId: string,
  change: (document: Document) => Change<T> | Promise<Change<T>>,
): Promise<T> {
  return inTurn(userId, async () => {
    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      const { document, etag } = await readDocument(dapr, userId);
      const { result, changed } = await change(document);
      if (changed === undefined || (await dapr.saveState(userId, { value: changed, etag }))) {
        return result;
      }
      await sleep(randomInt(1, 5 * attempt + 1));
    }
    throw new ConflictError(`The notifications of user ${userId} were written by others ${attempts} times in a row`);
  });
}
