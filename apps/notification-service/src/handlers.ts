import type { EventData, EventType } from "@event-flow/events";
import type { Handler } from "@event-flow/subscriber";
import type { Deliverer } from "./deliverer.ts";
import { messages } from "./messages.ts";
import { notify } from "./notifications.ts";

/** What is told that a user was notified, and takes a user's deliveries. */
export interface Reach {
  readonly deliverer: Pick<Deliverer, "add">;
  readonly told: (userId: string) => void;
}

/** Handlers that tell the user of every event. `reach` is asked when the first comes. */
export function handlers(reach: () => Reach): { readonly [T in EventType]: Handler<T> } {
  function tell<T extends EventType>(wording: (data: EventData<T>) => string): Handler<T> {
    return async (event, { dapr }) => {
      const { deliverer, told } = reach();
      const message = wording(event.data);
      const outcome = await notify(dapr, event, message, deliverer);
      if (outcome !== "told") return outcome;
      told(event.data.user_id);
      return { outcome, message };
    };
  }
  return {
    task_created: tell(messages.task_created),
    task_updated: tell(messages.task_updated),
    task_completed: tell(messages.task_completed),
    task_deleted: tell(messages.task_deleted),
  };
}
