import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { components, services, topic, type CloudEvent } from "@event-flow/events";
import { DaprClient } from "@event-flow/service";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startService, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import type { Notification } from "../src/notifications.ts";

const { brokers, valkey } = inject("servers");
const command = join(import.meta.dirname, "..", "..", "..", "commands", "dead-letters.ts");
let daprd: Daprd;
let dapr: DaprClient;
let service: Service;

beforeAll(async () => {
  const port = await freePort();
  // An app id of its own is a consumer group of its own.
  daprd = await startDaprd({ appId: "dead-letters-test", appPort: port, brokers, valkey });
  dapr = new DaprClient({ port: daprd.httpPort });
  service = await startService(services.notificationService.name, port, { DAPR_HTTP_PORT: String(daprd.httpPort) });
});

afterAll(async () => {
  await dapr.close();
  await Promise.all([service.stop(), daprd.stop()]);
});

async function deadLetters(...args: string[]): Promise<string> {
  const url = `http://127.0.0.1:${daprd.httpPort}`;
  return (await promisify(execFile)(process.execPath, [command, ...args, `--dapr=${url}`])).stdout;
}

/** Publishes anything at all, in the partition of a task. */
async function publishRaw(taskId: number, text: string, type: string): Promise<void> {
  const query = `metadata.partitionKey=${taskId}${type === "text/plain" ? "&metadata.rawPayload=true" : ""}`;
  const url = `http://127.0.0.1:${daprd.httpPort}/v1.0/publish/${components.pubsub}/${topic("task_deleted")}?${query}`;
  const response = await fetch(url, { method: "POST", headers: { "content-type": type }, body: text });
  expect(response.status).toBe(204);
}

let lastTask = 1_000_000;

function deletion(changes: Partial<CloudEvent<"task_deleted">> = {}): CloudEvent<"task_deleted"> {
  lastTask += 1;
  return eventOf(
    "task_deleted",
    { task_id: lastTask, user_id: randomUUID(), deleted_at: new Date().toISOString() },
    changes,
  );
}

function handled(event: CloudEvent<"task_deleted">) {
  return service.logged(`event ${event.id}`, (line) => line["eventId"] === event.id && line["outcome"] !== undefined);
}

/** The id of the dead letter whose description matches, once it is listed, and what is listed of it. */
function listed(what: string, pattern: RegExp): Promise<{ id: string; text: string }> {
  return waitFor(`the dead letter of ${what}`, 60, async () => {
    const letters = (await deadLetters("list")).split(/^(?=task-events)/m);
    const text = letters.find((letter) => pattern.test(letter));
    return text === undefined ? undefined : { text, id: text.split("\n", 1)[0] ?? "" };
  });
}

test("what follows no schema goes to the dead letters at once, with the cause, and what comes after it is handled", async () => {
  const after = deletion();
  const poison = { ...deletion(), data: { task_id: after.data.task_id, user_id: "nobody" } };
  await publishRaw(after.data.task_id, JSON.stringify(poison), "application/cloudevents+json");
  await publish(daprd, after);
  await handled(after);

  const { id, text } = await listed("the poison", new RegExp(poison.id));
  expect(id).toMatch(/^task-events\.task_deleted\/\d+\/\d+$/);
  expect(text).toContain("It does not follow its schema: data.user_id: Invalid UUID; data.deleted_at: Invalid input");
  expect(service.log.find((line) => line["eventId"] === poison.id)).toMatchObject({
    level: 50,
    msg: "Dead letter: task_deleted",
    deadLetter: id,
  });
});

test("what is no JSON goes there too, by way of the sidecar, which could not deliver it", async () => {
  const after = deletion();
  await publishRaw(after.data.task_id, `gibberish ${after.id}`, "text/plain");
  await publish(daprd, after);
  await handled(after);
  const { id } = await listed("the gibberish", /Dapr could not deliver it: it is no JSON/);
  expect((await dapr.getState(`dead-letter/${id}`)).value).toMatchObject({
    topic: "task-events.task_deleted",
    key: String(after.data.task_id),
    event: `gibberish ${after.id}`,
  });
  expect(await deadLetters("discard", id)).toBe(`discarded ${id}\n`);
  expect(await deadLetters("list")).not.toContain(id);
  expect((await dapr.getState(`dead-letter/${id}`)).value).toBeUndefined();
});

test("a stored document that can't be read holds its partition up for a few tries only, and a replay makes up for it", async () => {
  const event = deletion();
  const { user_id: user, task_id: taskId } = event.data;
  await dapr.saveState(user, { value: { notifications: "no list" }, etag: undefined });
  const after = deletion({ data: { ...deletion().data, task_id: taskId } });
  await publish(daprd, event);
  await publish(daprd, after);
  await handled(after);

  const tries = service.log.filter((line) => line["eventId"] === event.id).map(({ msg }) => msg);
  expect(tries).toEqual([
    ...Array.from({ length: 4 }, () => "Event to be retried: task_deleted"),
    "Dead letter: task_deleted",
  ]);
  const { id, text } = await listed("the event", new RegExp(event.id));
  expect(text).toContain("It failed 5 times: ");

  await dapr.deleteState(user);
  expect(await deadLetters("replay", id)).toBe(`replayed ${id}\n`);
  await handled(event);
  const list = await call<Notification[]>("GET", `${service.url}/api/${user}/notifications`, { user });
  expect(list.body.map(({ event_id }) => event_id)).toEqual([event.id]);
  expect(await deadLetters("list")).not.toContain(event.id);
});

test("the command says what it wants, and what there is not", async () => {
  await expect(deadLetters("replay")).rejects.toThrow("usage: dead-letters.ts list | (replay | discard)");
  await expect(deadLetters("replay", "nothing")).rejects.toThrow("There is no dead letter nothing");
});
