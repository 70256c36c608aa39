/** Tasks' lives by chance, and the figures of them, worked out in another way than the service does. */
import { randomUUID } from "node:crypto";
import type { CloudEvent, EventType } from "@event-flow/events";
import type { Random } from "../../../test/chaos/random.ts";
import { eventOf } from "../../../test/servers/events.ts";
import type { Stats } from "../src/stats.ts";

export type TaskEvent = { [T in EventType]: CloudEvent<T> }[EventType];

const hour = 3_600_000;

/** What there is to tell of a task: the events of its changes, in their order. */
export function life(random: Random, userId: string, taskId: number, span: { from: number; to: number }): TaskEvent[] {
  const of = { task_id: taskId, user_id: userId };
  let at = random.int(span.from, span.to);
  let completed = false;
  let version = 0;
  const due = () => (random.int(1, 3) === 1 ? null : new Date(at + random.int(-2, 30) * hour).toISOString());
  const about = () => ({ taskversion: (version += 1), time: new Date(at).toISOString() });
  const time = () => new Date(at).toISOString();
  const events: TaskEvent[] = [
    eventOf("task_created", { ...of, title: "a", priority_id: null, due_date: due(), created_at: time() }, about()),
  ];
  for (let left = random.int(0, 6); left > 0; left -= 1) {
    at += random.int(1, 20 * hour);
    if (random.int(1, 8) === 1) {
      events.push(eventOf("task_deleted", { ...of, deleted_at: time() }, about()));
      break;
    }
    if (random.int(1, 3) === 1) {
      completed = !completed;
      events.push(eventOf("task_completed", { ...of, completed, completed_at: time() }, about()));
    } else {
      completed = random.int(1, 3) === 1 ? !completed : completed;
      // Older events don't say by when a task is due.
      const due_date = random.int(1, 3) === 1 ? {} : { due_date: due() };
      const data = { ...of, title: "b", completed, priority_id: null, ...due_date, updated_at: time() };
      events.push(eventOf("task_updated", data, about()));
    }
  }
  return events;
}

/** Some users' tasks. */
export function lives(random: Random, count: number, span: { from: number; to: number }) {
  const users = Array.from({ length: 3 }, () => randomUUID());
  return Array.from({ length: count }, (_, index) => life(random, random.pick(users), index + 1, span));
}

interface Seen {
  readonly exists: boolean;
  readonly completed: boolean;
  readonly due: number;
}

/** How a task was right before a time. */
function before(events: readonly TaskEvent[], time: number): Seen {
  let seen: Seen = { exists: false, completed: false, due: Infinity };
  for (const event of events.filter((each) => Date.parse(each.time) < time)) {
    const known = event.type === "task_deleted" ? undefined : event.data.due_date;
    const due = known === undefined ? seen.due : known === null ? Infinity : Date.parse(known);
    seen = { exists: event.type !== "task_deleted", completed: isCompleted(event), due };
  }
  return seen;
}

function isCompleted(event: TaskEvent): boolean {
  return "completed" in event.data && event.data.completed;
}

/** The figures of the days in UTC from the first to the last. */
export function figures(tasks: readonly (readonly TaskEvent[])[], from: string, to: string): Stats {
  const first = Date.parse(from);
  const end = Date.parse(to) + 24 * hour;
  const at = (time: number) => {
    const open = tasks.map((events) => before(events, time)).filter(({ exists, completed }) => exists && !completed);
    return { open: open.length, overdue: open.filter(({ due }) => due < time).length };
  };
  const turns = tasks.flatMap((events) =>
    events.map((event, index) => {
      const last = events[index - 1];
      const was = last !== undefined && isCompleted(last);
      const now = isCompleted(event);
      const turn = now && !was ? "completed" : was && !now && event.type !== "task_deleted" ? "reopened" : undefined;
      return { time: Date.parse(event.time), type: event.type, turn };
    }),
  );
  const changes = (since: number, until: number) => {
    const some = turns.filter(({ time }) => time >= since && time < until);
    return {
      created: some.filter(({ type }) => type === "task_created").length,
      completed: some.filter(({ turn }) => turn === "completed").length,
      reopened: some.filter(({ turn }) => turn === "reopened").length,
      deleted: some.filter(({ type }) => type === "task_deleted").length,
    };
  };
  const days = Array.from({ length: (end - first) / (24 * hour) }, (_, nth) => {
    const [begin, over] = [first + nth * 24 * hour, first + (nth + 1) * 24 * hour];
    return { date: new Date(begin).toISOString().slice(0, 10), ...changes(begin, over), ...at(over) };
  });
  const seconds = tasks
    .flatMap((events) => {
      const alive = events.filter(({ type }) => type !== "task_deleted");
      // The first of the last ones in a row that say that it's completed.
      const completion = alive.slice(alive.findLastIndex((event) => !isCompleted(event)) + 1).at(0);
      const [creation] = events;
      const time = Date.parse(completion?.time ?? "");
      if (creation === undefined || !(time >= first && time < end)) return [];
      return [(time - Date.parse(creation.time)) / 1_000];
    })
    .sort((a, b) => a - b);
  const middle = seconds.slice(Math.ceil(seconds.length / 2) - 1, Math.floor(seconds.length / 2) + 1);
  const average = (values: readonly number[]) =>
    values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    ...{ from, to, time_zone: "UTC", ...at(Date.now()), ...changes(first, end), days },
    time_to_completion: {
      tasks: seconds.length,
      average_seconds: average(seconds),
      median_seconds: average(middle),
    },
  };
}
