import type { EventData, EventType } from "@event-flow/events";
import type { Handler } from "@event-flow/subscriber";
import { messages } from "./messages.ts";
import { notify } from "./notifications.ts";

function tell<T extends EventType>(wording: (data: EventData<T>) => string): Handler<T> {
  return async (event, { dapr }) => {
    const message = wording(event.data);
    const outcome = await notify(dapr, event, message);
    return outcome === "told" ? { outcome, message } : outcome;
  };
}

/** Tells the user of every event. */
export const handlers: { readonly [T in EventType]: Handler<T> } = {
  task_created: tell(messages.task_created),
  task_updated: tell(messages.task_updated),
  task_completed: tell(messages.task_completed),
  task_deleted: tell(messages.task_deleted),
};
