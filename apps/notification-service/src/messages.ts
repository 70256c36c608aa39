import type { EventData, EventType } from "@event-flow/events";

/** What a user is told about each event. */
export const messages: { readonly [T in EventType]: (data: EventData<T>) => string } = {
  task_created: ({ title, user_id }) => `NEW TASK: ${title} (User: ${user_id})`,
  task_updated: ({ task_id }) => `TASK UPDATED: ID ${task_id}`,
  task_completed: ({ task_id, completed }) => `TASK ${completed ? "COMPLETED" : "REOPENED"}: ID ${task_id}`,
  task_deleted: ({ task_id }) => `TASK DELETED: ID ${task_id}`,
};
