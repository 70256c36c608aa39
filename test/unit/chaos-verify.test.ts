/** The verifier of `make chaos`, on logs that are made up: each promise that is broken is found. */
import { type EventType, topic } from "@event-flow/events";
import { describe, expect, test } from "vitest";
import { topicsFrom } from "../chaos/evidence.ts";
import { type LoadLine, type Method, requestsOf, typeOf } from "../chaos/load-log.ts";
import { NotificationLog } from "../chaos/notification-log.ts";
import { rowsOf } from "../chaos/report.ts";
import { type Evidence, type Message, type SavedTask, verify } from "../chaos/verify.ts";

const user = "5e5e1ac5-2d3d-4a78-b9d5-3c4dbf0e7d6c";
const start = Date.parse("2026-01-01T00:00:00Z");

/** A change as the load logs it; without `status` it wasn't answered. */
interface Asked {
  readonly task: number;
  readonly version: number;
  readonly method: Method;
  readonly status?: number;
  readonly seen?: boolean;
}

const asked: readonly Asked[] = [
  { task: 1, version: 1, method: "POST", status: 201 },
  { task: 1, version: 2, method: "PUT", status: 200 },
  { task: 1, version: 3, method: "PATCH", status: 200 },
  { task: 1, version: 4, method: "PUT", status: 200 },
  { task: 2, version: 1, method: "POST", status: 201 },
  { task: 2, version: 2, method: "DELETE", status: 204 },
];

function loadLog(changes: readonly Asked[]): LoadLine[] {
  return changes.flatMap(({ task, version, method, status, seen = false }, index): LoadLine[] => {
    const request = index + 1;
    const at = start + index;
    const intent = { what: "intent", request, at, user, method, version, ...(method !== "POST" && { task }) } as const;
    const made = status !== undefined && status < 300;
    const answer = {
      what: "answer",
      request,
      at,
      ...(status !== undefined && { status }),
      ...(made && { task }),
    } as const;
    return [intent, answer, ...(seen ? [{ what: "seen", request, at } as const] : [])];
  });
}

interface Told {
  readonly task: number;
  readonly version: number;
  readonly type: EventType;
  readonly outcome?: string;
  readonly ms?: number;
}

const eventId = ({ task, version }: { task: number; version: number }) => `event-${task}-${version}`;

function line({ task, version, type, outcome = "told", ms = 0 }: Told): string {
  const facts = { eventId: eventId({ task, version }), type, taskId: task, taskVersion: version, userId: user };
  return JSON.stringify({ level: 30, time: start + ms, ...facts, outcome, msg: "…" });
}

function logOf(lines: readonly string[], source = "notification-service.log"): NotificationLog {
  const log = new NotificationLog(source);
  for (const text of lines) log.add(text);
  return log;
}

const told: readonly Told[] = asked.map(({ task, version, method }, index) => {
  return { task, version, type: typeOf[method], ms: 10 * index };
});

const messages: readonly Message[] = told.map(({ task, version, type }, offset) => {
  return { topic: topic(type), partition: task % 3, offset, eventId: eventId({ task, version }), type, task, version };
});

/** What is there after a run in which all went well. */
function evidence({
  changes = asked,
  tasks = [{ id: 1, version: 4 }],
  lines = told.map(line),
  ...others
}: Partial<Evidence> & {
  changes?: readonly Asked[];
  tasks?: readonly SavedTask[];
  lines?: readonly string[];
} = {}): Evidence {
  const { handlings, givenUp } = logOf(lines);
  const { messages: published, deadLetters } = { messages, deadLetters: [] };
  return {
    requests: requestsOf(loadLog(changes)),
    tasks,
    outbox: [],
    messages: published,
    handlings,
    givenUp,
    deadLetters,
    ...others,
  };
}

const found = (given: Evidence) => verify(given).map(({ kind, task, version }) => [kind, task, version]);
const without = <T extends { task: number; version: number }>(items: readonly T[], task: number, version: number) =>
  items.filter((item) => item.task !== task || item.version !== version);

test("a run in which all went well has no violation", () => {
  expect(verify(evidence())).toEqual([]);
});

test("the figures are made of every change, and of nothing else", () => {
  const counted = asked.map(({ task, version }) => ({ task, version }));
  expect(verify(evidence({ counted }))).toEqual([]);
  expect(found(evidence({ counted: [...without(counted, 1, 2), { task: 3, version: 1 }] }))).toEqual([
    ["counted wrongly", 1, 2],
    ["counted wrongly", 3, 1],
  ]);
});

describe("what was acknowledged is in the database", () => {
  test("a task is missing", () => {
    expect(found(evidence({ tasks: [] }))).toEqual([["not saved", 1, 4]]);
  });

  test("a change is missing", () => {
    expect(found(evidence({ tasks: [{ id: 1, version: 3 }] }))).toEqual([
      ["not saved", 1, 4],
      ["never saved, but told", 1, 4],
    ]);
  });

  test("a deletion is missing", () => {
    const tasks = [
      { id: 1, version: 4 },
      { id: 2, version: 1 },
    ];
    expect(found(evidence({ tasks }))).toEqual([
      ["not saved", 2, 2],
      ["never saved, but told", 2, 2],
    ]);
  });

  test("a change was made twice", () => {
    expect(found(evidence({ tasks: [{ id: 1, version: 5 }] }))).toEqual([
      ["saved unasked", 1, 5],
      ["lost", 1, 5],
      ["not published", 1, 5],
    ]);
  });

  test("a task was made that nobody asked for", () => {
    const tasks = [
      { id: 1, version: 4 },
      { id: 3, version: 1 },
    ];
    const third = { task: 3, version: 1, type: "task_created" } as const;
    const message = { ...third, topic: topic(third.type), partition: 0, offset: 9, eventId: eventId(third) };
    const lines = [...told, third].map(line);
    expect(found(evidence({ tasks, lines, messages: [...messages, message] }))).toEqual([
      ["saved unasked", undefined, undefined],
    ]);
    // Nor is it a violation if a creation was asked for and not answered.
    const changes = [...asked, { task: 3, version: 1, method: "POST" } as const];
    expect(found(evidence({ changes, tasks, lines, messages: [...messages, message] }))).toEqual([]);
  });
});

describe("what nobody acknowledged may have been made or not", () => {
  const unanswered = asked.map((change) => (change.version === 4 ? { ...change, status: 503 } : change));

  test("it was made, and is told", () => {
    expect(found(evidence({ changes: unanswered }))).toEqual([]);
  });

  test("it was made, and must be told", () => {
    const lines = without(told, 1, 4).map(line);
    expect(found(evidence({ changes: unanswered, lines }))).toEqual([["lost", 1, 4]]);
  });

  test("it wasn't made", () => {
    const given = { lines: without(told, 1, 4).map(line), messages: without(messages, 1, 4) };
    expect(found(evidence({ changes: unanswered, tasks: [{ id: 1, version: 3 }], ...given }))).toEqual([]);
  });

  test("a deletion was made, and must be told", () => {
    const changes = asked.map((change) => (change.method === "DELETE" ? { ...change, status: 503 } : change));
    expect(found(evidence({ changes }))).toEqual([]);
    expect(found(evidence({ changes, lines: without(told, 2, 2).map(line) }))).toEqual([["lost", 2, 2]]);
  });

  test("what was seen later counts as acknowledged", () => {
    const changes = unanswered.map((change) => (change.version === 4 ? { ...change, seen: true } : change));
    expect(found(evidence({ changes, tasks: [{ id: 1, version: 3 }] }))).toContainEqual(["not saved", 1, 4]);
  });
});

describe("each change has its event handled once", () => {
  test("no replica was given it", () => {
    expect(found(evidence({ lines: without(told, 1, 2).map(line) }))).toEqual([["lost", 1, 2]]);
  });

  test("it was ignored as outdated at its first delivery", () => {
    const lines = told.map((each) =>
      line(each.version === 2 && each.task === 1 ? { ...each, outcome: "outdated" } : each),
    );
    expect(verify(evidence({ lines }))).toEqual([
      { kind: "lost", task: 1, version: 2, text: "its first delivery was ignored as outdated" },
    ]);
  });

  test("it was told, and comes again", () => {
    const again = ["repeated", "outdated"].map((outcome) =>
      line({ task: 1, version: 2, type: "task_updated", outcome, ms: 90 }),
    );
    expect(found(evidence({ lines: [...told.map(line), ...again] }))).toEqual([]);
  });

  test("it was told by a replica that was killed before it could log that", () => {
    const lines = told.map((each) =>
      line(each.version === 2 && each.task === 1 ? { ...each, outcome: "repeated" } : each),
    );
    expect(found(evidence({ lines: ['{"level":30,"ti', ...lines] }))).toEqual([]);
  });

  test("it was told twice", () => {
    const lines = [...told, ...told.slice(1, 2)].map(line);
    expect(found(evidence({ lines }))).toEqual([["doubled", 1, 2]]);
  });

  test("it was told of another type", () => {
    const lines = told.map((each) => line(each.version === 3 ? { ...each, type: "task_updated" } : each));
    expect(found(evidence({ lines }))).toEqual([["never saved, but told", 1, 3]]);
  });
});

describe("the order of each task", () => {
  test("two of a type were told the wrong way round", () => {
    const lines = told.map((each) => line(each.version === 4 ? { ...each, ms: 5 } : each));
    expect(found(evidence({ lines }))).toEqual([["told out of order", 1, 2]]);
  });

  test("two of different types may be told the wrong way round", () => {
    const lines = told.map((each) => line(each.version === 3 ? { ...each, ms: 95 } : each));
    expect(found(evidence({ lines }))).toEqual([]);
  });

  test("a replica that froze before it could log counts from when another one met its event", () => {
    const second = { task: 1, version: 2, type: "task_updated" } as const;
    const lines = [...without(told, 1, 2), { ...second, outcome: "repeated", ms: 10 }, { ...second, ms: 95 }].map(line);
    expect(found(evidence({ lines }))).toEqual([]);
  });

  test("two of a type first appear the wrong way round on their topic", () => {
    const swapped = messages.map((each) => {
      if (each.task !== 1 || each.type !== "task_updated") return each;
      return { ...each, offset: each.version === 2 ? 3 : 1 };
    });
    expect(found(evidence({ messages: swapped }))).toEqual([["published out of order", 1, 2]]);
    // What appears again may do so anywhere.
    const again = messages.filter(({ version }) => version === 2).map((each) => ({ ...each, offset: 9 }));
    expect(found(evidence({ messages: [...messages, ...again] }))).toEqual([]);
  });

  test("a task's events of one type are on two partitions", () => {
    const split = messages.map((each) => (each.version === 4 ? { ...each, partition: 2 } : each));
    expect(found(evidence({ messages: split }))).toEqual([["published out of order", 1, undefined]]);
  });

  test("a clock that was set changes nothing", () => {
    const hour = 3_600_000;
    const lines = told.map((each, index) => line({ ...each, ms: 10 * index + (index >= 2 && index < 4 ? -hour : 0) }));
    expect(logOf(lines).handlings.map(({ at }) => at - start)).toEqual([0, 10, 20, 30, 40, 50]);
    const forward = told.map((each, index) => line({ ...each, ms: 10 * index + (index === 3 ? hour : 0) }));
    expect(found(evidence({ lines: forward }))).toEqual([]);
  });
});

test("what is left over is found", () => {
  const deadLetter = JSON.stringify({ level: 50, time: start, msg: "Dead letter: task_created" });
  const given = evidence({ outbox: ["{}"], lines: [...told.map(line), deadLetter], deadLetters: ["{}"] });
  expect(found(given).map(([kind]) => kind)).toEqual(["not published", "dead letter", "dead letter"]);
  expect(found(evidence({ messages: without(messages, 1, 2) }))).toEqual([["not published", 1, 2]]);
});

test("a client gets no answer that says the fault is its own, or unknown", () => {
  const changes = asked.map((change) => (change.version === 4 ? { ...change, status: 500 } : change));
  expect(found(evidence({ changes }))).toEqual([["answered wrongly", 1, 4]]);
});

test("what Kafka's console consumer prints is read", () => {
  const event = { id: "a", type: "task_updated", taskversion: 2, data: { task_id: 7 } };
  const output = [
    `Partition:1\tOffset:5\t${JSON.stringify(event)}`,
    'Partition:0\tOffset:0\t{"cause":"It does not follow its schema"}',
    "org.apache.kafka.common.errors.TimeoutException",
  ].join("\n");
  expect(topicsFrom(output)).toEqual({
    messages: [
      {
        ...{ topic: "task-events.task_updated", partition: 1, offset: 5 },
        ...{ eventId: "a", type: "task_updated", task: 7, version: 2 },
      },
    ],
    deadLetters: ['Partition:0\tOffset:0\t{"cause":"It does not follow its schema"}'],
  });
});

test("the figures of a fault are of what was acknowledged until the system recovered from it", () => {
  const { requests, handlings } = evidence({ lines: [...without(told, 1, 3), ...told.slice(1, 2)].map(line) });
  const fault = { fault: "kill: broker", kills: 1, begun: start + 1, ended: start + 1, recovered: start + 3 };
  const [row, whole] = rowsOf([fault], { requests, handlings });
  expect(row).toEqual({
    ...{ fault: "kill: broker", times: 1, kills: 1, acknowledged: 3, handled: 2, lost: 1, doubled: 1 },
    ...{ median: 2, longest: 2 },
  });
  expect(whole).toMatchObject({ fault: "the whole run", acknowledged: 6, handled: 5, lost: 1, doubled: 1 });
});
