import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { eventTypes, type CloudEvent, type EventType } from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
import { ConflictError } from "@event-flow/subscriber";
import { z } from "zod";

export const notificationSchema = z.object({
  id: z.uuid(),
  event_id: z.string(),
  type: z.enum(eventTypes),
  task_id: z.int().positive(),
  message: z.string(),
  created_at: z.iso.datetime({ offset: true }).describe("When the event happened"),
  notified_at: z.iso.datetime({ offset: true }),
});

export type Notification = z.infer<typeof notificationSchema>;

/** The newest version of a task that was seen, in the events of each type. */
interface Seen {
  readonly task_id: number;
  readonly versions: Partial<Record<EventType, number>>;
}

/**
 * One user's document in the state store, under the user's id: the most recent event first, and the tasks that events came
 * of, the last one first. Entries aren't checked when they are read: they are written here only, and to check some hundred of
 * them would be most of the work that an event makes.
 */
const documentSchema = z.object({
  notifications: z.array(z.custom<Notification>()),
  seen: z.array(z.custom<Seen>()).default([]),
});

type Document = z.infer<typeof documentSchema>;

/** How many of a user's notifications are kept. */
export const kept = 100;

/** Of how many tasks is known what was seen: more than the kept notifications can be of. */
const keptSeen = 2 * kept;

// Each attempt that fails is another replica's that succeeded: within one a user's events take turns.
const attempts = 20;

async function readDocument(
  dapr: DaprClient,
  userId: string,
): Promise<{ document: Document; etag: string | undefined }> {
  const { value, etag } = await dapr.getState(userId);
  return { document: documentSchema.parse(value ?? { notifications: [] }), etag };
}

export async function listNotifications(dapr: DaprClient, userId: string): Promise<Notification[]> {
  return (await readDocument(dapr, userId)).document.notifications;
}

/** What became of an event: its user is told of it, or it changes nothing. */
export type Outcome = "told" | "repeated" | "outdated";

/**
 * Notes an event in its user's document, unless it was noted before or is older than what was seen.
 *
 * Older than what was seen is an event with a lower version than another of the same task and type: it is one that comes
 * again, or from the dead letters when time has passed it by, since events of a type come by one topic, in order. Events of
 * different types come by different topics, between which there is no order: a task's creation can come after its
 * completion. That is no reason to conceal it. It is told like any other, and has its place before the completion in the
 * list, which is in the order in which things happened.
 */
export function notify<T extends EventType>(dapr: DaprClient, event: CloudEvent<T>, message: string): Promise<Outcome> {
  return inTurn(event.data.user_id, () => note(dapr, event, message));
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

async function note<T extends EventType>(dapr: DaprClient, event: CloudEvent<T>, message: string): Promise<Outcome> {
  const { user_id: userId, task_id: taskId } = event.data;
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const { document, etag } = await readDocument(dapr, userId);
    const seen = document.seen.find(({ task_id }) => task_id === taskId)?.versions ?? {};
    const seenVersion: number = seen[event.type] ?? 0;
    if (event.taskversion < seenVersion) {
      return "outdated";
    }
    if (event.taskversion === seenVersion || document.notifications.some(({ event_id }) => event_id === event.id)) {
      return "repeated";
    }
    const added: Notification = {
      id: randomUUID(),
      event_id: event.id,
      type: event.type,
      task_id: taskId,
      message,
      created_at: event.time,
      notified_at: new Date().toISOString(),
    };
    const changed: Document = {
      notifications: inOrder(added, document.notifications).slice(0, kept),
      seen: [
        { task_id: taskId, versions: { ...seen, [event.type]: event.taskversion } },
        ...document.seen.filter(({ task_id }) => task_id !== taskId),
      ].slice(0, keptSeen),
    };
    if (await dapr.saveState(userId, { value: changed, etag })) {
      return "told";
    }
    await sleep(randomInt(1, 5 * attempt + 1));
  }
  throw new ConflictError(`The notifications of user ${userId} were written by others ${attempts} times in a row`);
}

/** Puts one in its place, by time: that of a task's changes grows with their versions. */
function inOrder(added: Notification, others: readonly Notification[]): Notification[] {
  const time = Date.parse(added.created_at);
  const next = others.findIndex(({ created_at }) => Date.parse(created_at) <= time);
  return others.toSpliced(next === -1 ? others.length : next, 0, added);
}
