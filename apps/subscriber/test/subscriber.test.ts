import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { components, metrics, type CloudEvent } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { readMetrics, valueOf } from "../../../test/servers/metrics.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startService, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";

const { brokers, valkey } = inject("servers");
const command = join(import.meta.dirname, "..", "..", "..", "commands", "dead-letters.ts");
let daprd: Daprd;
let service: Service;

beforeAll(async () => {
  const port = await freePort();
  daprd = await startDaprd({ appId: "subscriber-test", appPort: port, brokers, valkey });
  const env = { DAPR_HTTP_PORT: String(daprd.httpPort) };
  service = await startService("subscriber", port, env, { entry: "test/fixture.ts" });
});

afterAll(async () => {
  await Promise.all([service.stop(), daprd.stop()]);
});

let lastTask = 2_000_000;

function created(title: string): CloudEvent<"task_created"> {
  lastTask += 1;
  const data = { task_id: lastTask, user_id: randomUUID(), title, priority_id: null, due_date: null };
  return eventOf("task_created", { ...data, created_at: new Date().toISOString() });
}

function handled({ id }: { readonly id: string }) {
  return service.logged(`event ${id}`, (line) => line["eventId"] === id && line["outcome"] !== undefined);
}

test("it subscribes to what it has handlers for, with dead letters of its own", async () => {
  const { body } = await call("GET", `${service.url}/dapr/subscribe`, { headers: asSidecar });
  const deadLetters = { deadLetterTopic: "task-events.dead-letter.subscriber-test" };
  const pubsubname = components.pubsub;
  expect(body).toEqual([
    { pubsubname, topic: "task-events.task_created", route: "/events/task-created", ...deadLetters },
    { pubsubname, topic: "task-events.task_deleted", route: "/events/task-deleted", ...deadLetters },
    { pubsubname, topic: "subscriber-test.remarks", route: "/events/remarks", ...deadLetters },
    {
      pubsubname,
      topic: "task-events.dead-letter.subscriber-test",
      route: "/events/dead-letter",
      metadata: { rawPayload: "true" },
    },
  ]);
});

test("what a handler made of an event is logged with the event's facts", async () => {
  const event = created("fine");
  await publish(daprd, event);
  expect(await handled(event)).toMatchObject({
    level: 30,
    msg: "Counted: fine",
    outcome: "counted",
    type: "task_created",
    taskId: event.data.task_id,
    taskVersion: 1,
    userId: event.data.user_id,
    traceId: event.traceparent?.split("-")[1],
    sinceEventMs: expect.any(Number) as number,
  });

  const { task_id, user_id } = event.data;
  const deleted = eventOf("task_deleted", { task_id, user_id, deleted_at: event.time }, { taskversion: 2 });
  await publish(daprd, deleted);
  expect(await handled(deleted)).toMatchObject({
    outcome: "outdated",
    msg: "Ignored event: task_deleted is older than what was seen of its task",
  });
});

async function remark(text: string, time = new Date()): Promise<{ readonly id: string }> {
  const id = randomUUID();
  const remark = { id, specversion: "1.0", source: "test", type: "remark", time: time.toISOString(), data: { text } };
  const response = await fetch(
    `http://127.0.0.1:${daprd.httpPort}/v1.0/publish/${components.pubsub}/subscriber-test.remarks`,
    {
      method: "POST",
      headers: { "content-type": "application/cloudevents+json" },
      body: JSON.stringify({ ...remark, datacontenttype: "application/json" }),
    },
  );
  expect(response.status).toBe(204);
  return { id };
}

test("a topic of another kind is handled like those of events", async () => {
  expect(await handled(await remark("well done"))).toMatchObject({ outcome: "heard", msg: "Remark: well done" });
});

test("what isn't an event's fault is tried for as long as it takes", async () => {
  const event = created("busy");
  await publish(daprd, event);
  await handled(event);
  const lines = service.log.filter((line) => line["eventId"] === event.id).map(({ msg }) => msg);
  expect(lines).toEqual([...Array<string>(7).fill("Event to be retried: task_created"), "Counted: busy"]);
});

test("what is an event's fault ends as a dead letter of this subscriber", async () => {
  const event = created("broken");
  const [before, after] = [event, created("fine")].map((one) => ({ ...one, data: { ...one.data, task_id: 7 } }));
  await publish(daprd, before ?? event);
  await publish(daprd, after ?? event);
  await handled(after ?? event);
  const url = `--dapr=http://127.0.0.1:${daprd.httpPort}`;
  const list = await waitFor("the dead letter", 60, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [command, "list", url]);
    return stdout.includes(event.id) ? stdout : undefined;
  });
  expect(list).toContain("It failed 5 times: It is broken");
});

const measured = async (name: string, labels: Record<string, string>) =>
  valueOf(await readMetrics(service.url), name, labels);

test("each event is counted by what became of it, and timed once", async () => {
  // Of the topic that only this test publishes to.
  const type = "remarks";
  const counts = () =>
    Promise.all([
      measured(metrics.handled, { type, outcome: "heard" }),
      measured(metrics.retried, { type }),
      measured(metrics.deadLettered, { type, reason: "failed" }),
      measured(metrics.deadLettered, { type, reason: "schema" }),
      measured(`${metrics.endToEnd}_bucket`, { type, le: "60" }),
      measured(`${metrics.endToEnd}_bucket`, { type, le: "300" }),
      measured(`${metrics.endToEnd}_count`, { type }),
    ]);
  const differences = async (after: readonly (number | undefined)[]) =>
    (await counts()).map((count, nth) => (count ?? 0) - (after[nth] ?? 0));

  const before = await counts();
  // A minute and a half before: above the bucket of a minute, in that of five.
  await handled(await remark("late", new Date(Date.now() - 90_000)));
  expect(await differences(before)).toEqual([1, 0, 0, 0, 0, 1, 1]);

  const handledOnce = await counts();
  await remark("broken");
  await waitFor("the broken one to be given up", 60, async () =>
    (await differences(handledOnce))[2] === 1 ? true : undefined,
  );
  expect(await differences(handledOnce)).toEqual([0, 4, 1, 0, 0, 0, 0]);

  const outdated = (await measured(metrics.handled, { type: "task_deleted", outcome: "outdated" })) ?? 0;
  expect(outdated).toBeGreaterThan(0);
  expect(await measured(`${metrics.endToEnd}_count`, { type: "task_deleted" })).toBeUndefined();
});
