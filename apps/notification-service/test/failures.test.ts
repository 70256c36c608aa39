import { randomUUID } from "node:crypto";
import { services, type CloudEvent } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { appApiToken, runService, startService, type Service } from "../../../test/servers/service.ts";
import { startValkey, type Valkey } from "../../../test/servers/valkey.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import type { Notification } from "../src/notifications.ts";

const { brokers } = inject("servers");
const user = randomUUID();
let valkey: Valkey;
let daprd: Daprd;
let service: Service;
let environment: Record<string, string>;
let port: number;

beforeAll(async () => {
  port = await freePort();
  valkey = await startValkey();
  // An app id of its own is a consumer group of its own: it gets every event, also those of other test files.
  daprd = await startDaprd({ appId: "notification-failures", appPort: port, brokers, valkey });
  environment = { DAPR_HTTP_PORT: String(daprd.httpPort) };
  service = await startService(services.notificationService.name, port, environment);
});

afterAll(async () => {
  await Promise.all([service.stop(), daprd.stop()]);
  await valkey.stop();
});

function taskDeleted(taskId: number): CloudEvent<"task_deleted"> {
  return eventOf("task_deleted", { task_id: taskId, user_id: user, deleted_at: new Date().toISOString() });
}

function notifications() {
  return call<Notification[]>("GET", `${service.url}/api/${user}/notifications`, { user });
}

async function notified(eventId: string): Promise<void> {
  await waitFor(`the notification of ${eventId}`, 60, async () => {
    const { status, body } = await notifications();
    return status === 200 && body.some(({ event_id }) => event_id === eventId) ? true : undefined;
  });
}

test("while the state store is down events are retried, and once it is back they are there", async () => {
  const before = taskDeleted(1);
  await publish(daprd, before);
  await notified(before.id);
  await valkey.kill();

  const event = taskDeleted(2);
  await publish(daprd, event);
  const line = await service.logged("the retry", (entry) => entry["eventId"] === event.id);
  expect(line).toMatchObject({ level: 40, msg: "Event to be retried: task_deleted", taskId: 2, userId: user });
  const direct = await call("POST", `${service.url}/events/task-deleted`, { headers: asSidecar, body: taskDeleted(3) });
  expect([direct.status, direct.body]).toEqual([200, { status: "RETRY" }]);
  const list = await notifications();
  expect(list.body).toEqual({
    statusCode: 503,
    error: "Service Unavailable",
    message: "A backing service cannot be reached; try again later",
  });

  expect((await call("GET", `${service.url}/ready`)).body).toMatchObject({ message: "Not ready: stateStore" });

  await valkey.start();
  await notified(event.id);
  const { body } = await notifications();
  expect(body.map(({ task_id }) => task_id)).toEqual([2, 1]);
});

test("an event that comes while the service restarts is delivered afterwards", async () => {
  expect(await service.stop()).toBe(0);
  const event = taskDeleted(4);
  await publish(daprd, event);
  service = await startService(services.notificationService.name, port, environment);
  await notified(event.id);
});

test("without its sidecar it is not ready, and lives", async () => {
  await daprd.kill();
  expect((await call("GET", `${service.url}/ready`)).body).toMatchObject({ message: "Not ready: sidecar, stateStore" });
  expect((await call("GET", `${service.url}/health`)).status).toBe(200);
  await daprd.start();
  expect((await call("GET", `${service.url}/ready`)).status).toBe(200);
});

test("a wrong environment ends the process with every problem named", async () => {
  const env = { JWT_SECRET: "too short", APP_API_TOKEN: "" };
  expect(await runService(services.notificationService.name, env)).toEqual({
    exitCode: 1,
    output: "",
    errors: `The environment is not valid:
  JWT_SECRET is not valid; it must be at least 32 bytes long
  APP_API_TOKEN is not valid; it must be at least 32 bytes long
`,
  });
});

test("a port that is taken ends the process", async () => {
  const { exitCode, output } = await runService(services.notificationService.name, {
    JWT_SECRET: "0123456789abcdef0123456789abcdef",
    APP_API_TOKEN: appApiToken,
    PORT: String(port),
  });
  expect(exitCode).toBe(1);
  expect(JSON.parse(output)).toMatchObject({ level: 60, msg: "Cannot start", err: { code: "EADDRINUSE" } });
});
