import { randomUUID } from "node:crypto";
import type { CloudEvent, EventType } from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
import type { Deliverer } from "./deliverer.ts";
import { changeDocument, readDocument, type Change, type Document, type Notification } from "./document.ts";

export { notificationSchema, type Notification } from "./document.ts";

/** How many of a user's notifications are kept. */
export const kept = 100;

/** Of how many tasks is known what was seen: more than the kept notifications can be of. */
const keptSeen = 2 * kept;

export async function listNotifications(dapr: DaprClient, userId: string): Promise<Notification[]> {
  return (await readDocument(dapr, userId)).document.notifications.map(withSequence);
}

/** What was told before notifications had numbers has none. */
export function withSequence(notification: Notification): Notification {
  return { ...notification, sequence: (notification as Partial<Notification>).sequence ?? 0 };
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
export async function notify<T extends EventType>(
  dapr: DaprClient,
  event: CloudEvent<T>,
  message: string,
  deliverer?: Pick<Deliverer, "add">,
): Promise<Outcome> {
  const { user_id: userId } = event.data;
  let end: Awaited<ReturnType<Deliverer["add"]>>["end"] | undefined;
  try {
    const outcome = await changeDocument(dapr, userId, async (document): Promise<Change<Outcome>> => {
      end?.(false);
      end = undefined;
      const { result, changed, added } = note(document, event, message);
      if (added === undefined || changed === undefined || deliverer === undefined) return { result, changed };
      const withDeliveries = await deliverer.add(userId, changed, added);
      end = withDeliveries.end;
      return { result, changed: withDeliveries.document };
    });
    end?.(true);
    return outcome;
  } catch (error) {
    // It may have been saved, and the answer lost.
    end?.("unknown");
    throw error;
  }
}

function note<T extends EventType>(
  document: Document,
  event: CloudEvent<T>,
  message: string,
): Change<Outcome> & { readonly added?: Notification } {
  const { task_id: taskId } = event.data;
  const seen = document.seen.find(({ task_id }) => task_id === taskId)?.versions ?? {};
  const seenVersion: number = seen[event.type] ?? 0;
  if (document.notifications.some(({ event_id }) => event_id === event.id)) {
    return { result: "repeated" };
  }
  if (event.taskversion <= seenVersion && !isLater(document, event)) {
    return { result: event.taskversion < seenVersion ? "outdated" : "repeated" };
  }
  const added: Notification = {
    id: randomUUID(),
    event_id: event.id,
    sequence: document.sequence + 1,
    type: event.type,
    task_id: taskId,
    message,
    created_at: event.time,
    notified_at: new Date().toISOString(),
  };
  const changed: Document = {
    ...document,
    notifications: inOrder(added, document.notifications).slice(0, kept),
    seen: [
      { task_id: taskId, versions: { ...seen, [event.type]: event.taskversion } },
      ...document.seen.filter(({ task_id }) => task_id !== taskId),
    ].slice(0, keptSeen),
    sequence: added.sequence,
  };
  return { result: "told", changed, added };
}

/**
 * Whether an event happened after what was told of its task and type. Those of the backend have a higher version then, too: of
 * two that don't agree in that, one is forged. A forged version, however high, must not conceal what comes later.
 */
function isLater<T extends EventType>({ notifications }: Document, { type, time, data }: CloudEvent<T>): boolean {
  // The latest is the first.
  const told = notifications.find((each) => each.task_id === data.task_id && each.type === type);
  return told !== undefined && Date.parse(time) > Date.parse(told.created_at);
}

/** Puts one in its place, by time: that of a task's changes grows with their versions. */
function inOrder(added: Notification, others: readonly Notification[]): Notification[] {
  const time = Date.parse(added.created_at);
  const next = others.findIndex(({ created_at }) => Date.parse(created_at) <= time);
  return others.toSpliced(next === -1 ? others.length : next, 0, added);
}
