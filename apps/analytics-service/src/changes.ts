import type { EventData, EventType } from "@event-flow/events";
import type { Handler, Handlers } from "@event-flow/subscriber";
import type { Database } from "./database.ts";

/** What an event says of how a change left its task. */
interface State {
  /** Null if it's gone. */
  readonly completed: boolean | null;
  /** Undefined if the event doesn't say. */
  readonly due_date?: string | null | undefined;
}

const stateOf: { readonly [T in EventType]: (data: EventData<T>) => State } = {
  task_created: ({ due_date }) => ({ completed: false, due_date }),
  task_updated: ({ completed, due_date }) => ({ completed, due_date }),
  task_completed: ({ completed, due_date }) => ({ completed, due_date }),
  task_deleted: () => ({ completed: null }),
};

/**
 * Notes each change under its task and its number. That is all: what was noted before changes nothing, and as the figures are
 * worked out of the changes in their numbers' order when they are asked for, it makes no difference in which order these came.
 */
export function noteChanges(database: Database): Handlers {
  const note =
    <T extends EventType>(type: T): Handler<T> =>
    async ({ taskversion: version, time, data }) => {
      const { completed, due_date } = stateOf[type](data);
      const noted = await database
        .insertInto("changes")
        .values({
          ...{ user_id: data.user_id, task_id: data.task_id, version, type, at: time, completed },
          ...{ due_known: due_date !== undefined, due_date: due_date ?? null },
        })
        .onConflict((conflict) => conflict.doNothing())
        .returning("version")
        .executeTakeFirst();
      if (noted === undefined) return "repeated";
      return { outcome: "counted", message: `COUNTED: ${type}, change ${version} of task ${data.task_id}` };
    };
  return {
    task_created: note("task_created"),
    task_updated: note("task_updated"),
    task_completed: note("task_completed"),
    task_deleted: note("task_deleted"),
  };
}
