import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { inspect } from "node:util";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { DaprClient, DaprError } from "../src/index.ts";

const { valkey } = inject("servers");
let daprd: Daprd;
let dapr: DaprClient;

beforeAll(async () => {
  daprd = await startDaprd({ appId: "dapr-client-test", appPort: await freePort(), valkey });
  dapr = new DaprClient({ port: daprd.httpPort });
});

afterAll(async () => {
  await dapr.close();
  await daprd.stop();
});

const event = eventOf("task_deleted", {
  task_id: 424242,
  user_id: randomUUID(),
  deleted_at: new Date().toISOString(),
});

async function failure(promise: Promise<unknown>): Promise<DaprError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof DaprError)) {
    throw new Error("expected a DaprError", { cause: error });
  }
  return error;
}

test("a value is saved once per version: the first write wins", async () => {
  const key = randomUUID();
  expect(await dapr.getState(key)).toEqual({ value: undefined, etag: undefined });

  expect(await dapr.saveState(key, { value: { n: 1 }, etag: undefined })).toBe(true);
  expect(await dapr.saveState(key, { value: { n: 2 }, etag: undefined })).toBe(false);
  const first = await dapr.getState(key);
  expect(first.value).toEqual({ n: 1 });

  expect(await dapr.saveState(key, { value: { n: 3 }, etag: first.etag })).toBe(true);
  expect(await dapr.saveState(key, { value: { n: 4 }, etag: first.etag })).toBe(false);
  expect((await dapr.getState(key)).value).toEqual({ n: 3 });
});

test("of many that create a value at the same time one succeeds", async () => {
  const key = randomUUID();
  const saved = await Promise.all(
    Array.from({ length: 10 }, (_, n) => dapr.saveState(key, { value: n, etag: undefined })),
  );
  expect(saved.filter(Boolean)).toHaveLength(1);
  expect((await dapr.getState(key)).value).toBe(saved.indexOf(true));
});

test("the sidecar has the policies that the stack gives it", () => {
  const log = readFileSync(daprd.log, "utf8");
  expect(log).toContain("Loading Resiliency configuration: delivery");
  expect(log).not.toMatch(/Could not (read|parse) resiliency/);
});

test("of events that were refused each one is named", async () => {
  const events = Array.from({ length: 500 }, () => ({ ...event, id: randomUUID() }));
  const refusals = await dapr.publish("task_deleted", events);
  expect(refusals.map(({ eventId }) => eventId)).toEqual(events.map(({ id }) => id));
});

test("an error names the operation and what Dapr said, and not what was sent", async () => {
  const [refusal] = await dapr.publish("task_deleted", [event]);
  expect(refusal?.eventId).toBe(event.id);
  const error = await failure(Promise.reject(refusal?.error ?? new Error("published")));
  expect(error.message).toBe(
    "Dapr could not publish to task-events.task_deleted: ERR_PUBSUB_NOT_FOUND: pubsub kafka-pubsub is not found",
  );
  expect([error.operation, error.status, error.errorCode]).toEqual([
    "publish to task-events.task_deleted",
    404,
    "ERR_PUBSUB_NOT_FOUND",
  ]);
  expect(inspect(error)).not.toContain("424242");
});

test("without a sidecar there is no status", async () => {
  const port = await freePort();
  const alone = new DaprClient({ port });
  const error = await failure(alone.checkOutbound());
  expect(error.message).toBe(`Dapr could not report its health: connect ECONNREFUSED 127.0.0.1:${port}`);
  expect([error.status, error.errorCode]).toEqual([undefined, undefined]);
  await alone.close();
});

test("a sidecar that accepts and never answers is given up on", async () => {
  const silent = createServer(() => undefined).listen(await freePort(), "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { port: number };
  const client = new DaprClient({ port, timeout: 100 });
  expect((await failure(client.getState("key"))).message).toBe(
    "Dapr could not read from statestore: no answer within 100 ms",
  );
  await client.close();
  silent.close();
});
