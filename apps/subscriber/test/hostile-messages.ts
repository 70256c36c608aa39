/** What an attacker, or a program with a fault, might write into the topics of events. */
import { randomUUID } from "node:crypto";
import type { CloudEvent, EventData, EventType } from "@event-flow/events";
import { eventOf } from "../../../test/servers/events.ts";

export interface Message {
  readonly name: string;
  /** As it's written; null is what deletes a key in a compacted topic. */
  readonly value: Buffer | null;
  readonly key?: Buffer;
  readonly headers?: ReadonlyMap<string, string>;
  /** Whether it's an event like any other, in spite of what is odd about it. */
  readonly isSound: boolean;
  /** Whether it's told in the log only, as Dapr can't deliver it as a dead letter either. */
  readonly isLost?: boolean;
}

const data: { readonly [T in EventType]: (task_id: number, user_id: string, time: string) => EventData<T> } = {
  task_created: (task_id, user_id, created_at) => ({
    ...{ task_id, user_id, title: "a", priority_id: null, due_date: null, created_at },
  }),
  task_updated: (task_id, user_id, updated_at) => ({
    ...{
      task_id,
      user_id,
      title: "a",
      completed: true,
      priority_id: null,
      due_date: null,
      recurrence: null,
      updated_at,
    },
  }),
  task_completed: (task_id, user_id, completed_at) => ({
    ...{ task_id, user_id, completed: true, due_date: null, recurrence: null, completed_at },
  }),
  task_deleted: (task_id, user_id, deleted_at) => ({ task_id, user_id, deleted_at }),
};

let lastTask = 2_000_000;

/** An event that nothing is wrong with, of a task of its own. */
export function soundEvent<T extends EventType>(
  type: T,
  user: string,
  changes: Partial<CloudEvent<T>> = {},
): CloudEvent<T> {
  lastTask += 1;
  return eventOf(type, data[type](lastTask, user, new Date().toISOString()), changes);
}

const kilobytes = (count: number) => "x".repeat(count * 1_024);

/** As large as a message may be by Kafka's default, less what it's wrapped in. */
const largest = 1_048_588 - 200;

export function hostileMessages(type: EventType, user: string): Message[] {
  const raw = (name: string, value: Buffer | string | null): Message => ({
    name,
    value: typeof value === "string" ? Buffer.from(value) : value,
    isSound: false,
  });
  const json = (name: string, value: unknown) => raw(name, JSON.stringify(value));
  /** An event of which something is otherwise. */
  const changed = (name: string, changes: object) => json(name, { ...soundEvent(type, user), ...changes });
  const withData = (name: string, changes: object) => {
    const event = soundEvent(type, user);
    return json(name, { ...event, data: { ...event.data, ...changes } });
  };
  /** A sound event in the text of which something is replaced. */
  const spelled = (name: string, from: RegExp, to: string) =>
    raw(name, JSON.stringify(soundEvent(type, user)).replace(from, to));
  const withHeaders = (name: string, headers: readonly (readonly [string, string])[], key = "1"): Message => ({
    ...json(name, soundEvent(type, user)),
    key: Buffer.from(key),
    headers: new Map(headers),
    isSound: true,
  });
  const sound = (message: Message): Message => ({ ...message, isSound: true });
  const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
  /** Exactly as long as it may be. */
  const asLongAs = (length: number) => {
    const text = JSON.stringify({ ...soundEvent(type, user), data: "" });
    return text.replace('"data":""', `"data":"${"x".repeat(length - text.length)}"`);
  };

  return [
    raw("nothing", ""),
    raw("a tombstone", null),
    raw("no JSON", "gibberish"),
    raw("half of an event", JSON.stringify(soundEvent(type, user)).slice(0, 60)),
    raw("no UTF-8", Buffer.from([0xff, 0xfe, 0x00, 0xc3, 0x28])),
    raw("UTF-8 but for a byte", Buffer.concat([Buffer.from('{"id":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])),
    ...["null", "1", "true", '"text"', "[]", "{}"].map((text) => raw(text, text)),
    json("a list of events", [soundEvent(type, user)]),
    raw("data alone", JSON.stringify(soundEvent(type, user).data)),
    changed("CloudEvents 0.3", { specversion: "0.3" }),
    changed("CloudEvents 2.0", { specversion: "2.0" }),
    changed("no version of CloudEvents", { specversion: undefined }),
    changed("an unknown type", { type: "task_stolen" }),
    changed("the type of another topic", { type: type === "task_created" ? "task_deleted" : "task_created" }),
    changed("another content type", { datacontenttype: "text/xml" }),
    changed("no data", { data: undefined }),
    changed("data in base64", { data: undefined, data_base64: Buffer.from("{}").toString("base64") }),
    changed("data in base64 that isn't", { data: undefined, data_base64: "***" }),
    changed("data as text", { data: "{}" }),
    changed("no id", { id: undefined }),
    changed("an empty id", { id: "" }),
    changed("an id that is a number", { id: 1 }),
    changed("an id of 300 KB", { id: kilobytes(300) }),
    changed("a source of 300 KB", { source: kilobytes(300) }),
    changed("a time of 300 KB", { time: `2026-01-01T00:00:00.${"0".repeat(300_000)}Z` }),
    changed("a time of the year 0", { time: "0000-01-01T00:00:00Z" }),
    changed("a time of the year 9999", { time: "9999-12-31T23:59:59Z" }),
    changed("no time", { time: "yesterday" }),
    changed("the version 0", { taskversion: 0 }),
    changed("a version that isn't whole", { taskversion: 1.5 }),
    changed("a version that PostgreSQL doesn't have", { taskversion: 2 ** 31 }),
    changed("a version of 2^53", { taskversion: 2 ** 53 }),
    spelled("a version beyond all numbers", /"taskversion":1/, '"taskversion":1e999'),
    withData("a task of no number", { task_id: "1; DROP TABLE changes" }),
    withData("a task below 0", { task_id: -1 }),
    spelled("a task of 2^63", /"task_id":\d+/, '"task_id":9223372036854775808'),
    withData("a user who is none", { user_id: "../../deliverers" }),
    withData("a user of another key", { user_id: "dead-letters" }),
    spelled("a prototype", /^\{/, '{"__proto__":{"admin":true},'),
    spelled("a prototype in the data", /"data":\{/, '"data":{"__proto__":{"admin":true},'),
    spelled("a constructor's prototype", /^\{/, '{"constructor":{"prototype":{"admin":true}},'),
    spelled("4,000 levels in the data", /"user_id":"[^"]*"/, `"user_id":0,"deep":${nested(4_000)}`),
    spelled("9,000 levels in the data", /"user_id":"[^"]*"/, `"user_id":0,"deep":${nested(9_000)}`),
    sound(spelled("9,000 levels of what nobody reads", /"data":\{/, `"data":{"deep":${nested(9_000)},`)),
    raw("100,000 levels", nested(100_000)),
    sound(spelled("a key 10,000 times", /"data":\{/, `"data":{${'"task_id":"x",'.repeat(10_000)}`)),
    raw("as long as the broker takes it", asLongAs(largest)),
    raw("as long as the sidecar publishes it", asLongAs(999_000)),
    changed("an expired one", { expiration: "2001-01-01T00:00:00Z" }),
    changed("a trace of 300 KB", { traceparent: kilobytes(300), id: "" }),
    ...(type === "task_created"
      ? [
          withData("a title of 300 KB", { title: kilobytes(300) }),
          sound(
            withData("a title with a NUL, half a character and escapes", { title: "\0\ud800\u001b[2J\r\nBcc: a@b" }),
          ),
        ]
      : []),
    sound(spelled("a trace that is none", /"traceparent":"[^"]*"/, '"traceparent":"\\r\\nx: y"')),
    { ...withHeaders("a key of 100 KB", [], kilobytes(100)), isSound: false, isLost: true },
    withHeaders("a key of two lines", [], "1\r\nx: y"),
    withHeaders("a key with a NUL", [], "\0"),
    withHeaders(
      "3,000 headers",
      Array.from({ length: 3_000 }, (_, index) => [`a${index}`, "x"] as const),
    ),
    withHeaders("a header of 100 KB", [["large", kilobytes(100)]]),
    withHeaders("a header whose name has a blank", [["a b", "x"]]),
    withHeaders("a header without a name", [["", "x"]]),
    withHeaders("a header of two lines", [["lines", "x\r\ny: z"]]),
    withHeaders("a token", [["dapr-api-token", "guessed"]]),
    withHeaders("a content type", [["content-type", "text/plain"]]),
    withHeaders("a length", [["content-length", "5"]]),
    withHeaders("an encoding", [
      ["transfer-encoding", "chunked"],
      ["content-encoding", "gzip"],
    ]),
    withHeaders("an expectation", [["expect", "the-unexpected"]]),
    withHeaders("another protocol", [
      ["connection", "upgrade"],
      ["upgrade", "websocket"],
    ]),
    withHeaders("another place in the broker", [
      ["__topic", "a/b"],
      ["__partition", "-1"],
      ["__offset", randomUUID()],
    ]),
  ];
}
