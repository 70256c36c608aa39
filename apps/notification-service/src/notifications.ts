import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { eventTypes, type CloudEvent, type EventType } from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
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

/** One user's document in the state store, under the user's id: the most recent event first. */
const documentSchema = z.object({ notifications: z.array(notificationSchema) });

/** How many of a user's notifications are kept. */
export const kept = 100;

// Each attempt that fails is another's that succeeded, and a user's events are handled one per topic and replica.
const attempts = 20;

/** Too many others wrote the user's document at the same time. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

export async function listNotifications(dapr: DaprClient, userId: string): Promise<Notification[]> {
  const { value } = await dapr.getState(userId);
  return value === undefined ? [] : documentSchema.parse(value).notifications;
}

/**
 * Notes an event in its user's document. Returns false if it is there already, or is older than all that is kept,
 * which is how an event looks that was delivered a second time much later.
 */
export async function notify<T extends EventType>(
  dapr: DaprClient,
  event: CloudEvent<T>,
  message: string,
): Promise<boolean> {
  const { user_id: userId, task_id: taskId } = event.data;
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const { value, etag } = await dapr.getState(userId);
    const current = value === undefined ? [] : documentSchema.parse(value).notifications;
    if (current.some(({ event_id }) => event_id === event.id)) {
      return false;
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
    const notifications = [added, ...current].sort(byTimeDescending).slice(0, kept);
    if (!notifications.includes(added)) {
      return false;
    }
    if (await dapr.saveState(userId, { value: { notifications }, etag })) {
      return true;
    }
    await sleep(randomInt(1, 5 * attempt + 1));
  }
  throw new ConflictError(`The notifications of user ${userId} were written by others ${attempts} times in a row`);
}

function byTimeDescending(a: Notification, b: Notification): number {
  return Date.parse(b.created_at) - Date.parse(a.created_at);
}
