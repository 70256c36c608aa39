import { randomUUID } from "node:crypto";
import { metrics } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { readMetrics, valueOf } from "../../../test/servers/metrics.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase, startPostgres, type Postgres } from "../../../test/servers/postgres.ts";
import { startService, type Service } from "../../../test/servers/service.ts";
import { waitFor } from "../../../test/tools/progress.ts";

const { brokers } = inject("servers");
let postgres: Postgres;
let backend: Service;
let daprd: Daprd | undefined;

beforeAll(async () => {
  // One of its own, to be killed.
  postgres = await startPostgres();
  await createDatabase(postgres.port, "metrics");
});

afterAll(async () => {
  await backend.stop();
  await Promise.all([daprd?.stop(), postgres.stop()]);
});

test("events are counted as they are refused, wait and are published; without a database the rest is shown yet", async () => {
  const [port, httpPort] = [await freePort(), await freePort()];
  backend = await startService("backend", port, {
    DATABASE_URL: postgres.url("metrics"),
    DAPR_HTTP_PORT: String(httpPort),
  });
  const read = async (name: string, labels?: Record<string, string>) =>
    valueOf(await readMetrics(backend.url), name, labels);
  const ofType = { type: "task_created" };
  // A counter that isn't there before its first event hides that one from `increase`.
  expect(await read(metrics.published, ofType)).toBe(0);
  expect(await read(metrics.refused, ofType)).toBe(0);
  expect([await read(metrics.outboxEvents), await read(metrics.outboxAge)]).toEqual([0, 0]);

  const user = randomUUID();
  const { status } = await call("POST", `${backend.url}/api/${user}/tasks`, { user, body: { title: "Measure" } });
  expect(status).toBe(201);
  await waitFor("the event to be refused and to grow old", 30, async () => {
    const [refused, events, age] = [
      await read(metrics.refused, ofType),
      await read(metrics.outboxEvents),
      await read(metrics.outboxAge),
    ];
    return (refused ?? 0) >= 2 && events === 1 && (age ?? 0) > 1 ? true : undefined;
  });
  expect(await read(metrics.published, ofType)).toBe(0);
  expect(await read(metrics.outboxSize)).toBeGreaterThan(8_000);

  daprd = await startDaprd({ appId: "metrics-backend", appPort: port, httpPort, brokers });
  await waitFor("the event to be published", 60, async () =>
    (await read(metrics.published, ofType)) === 1 && (await read(metrics.outboxEvents)) === 0 ? true : undefined,
  );
  expect(await read(metrics.outboxAge)).toBe(0);
  expect(await read(metrics.published)).toBe(1);

  await postgres.kill();
  const samples = await readMetrics(backend.url);
  expect(valueOf(samples, metrics.outboxEvents)).toBeUndefined();
  expect(valueOf(samples, metrics.outboxAge)).toBeUndefined();
  expect(valueOf(samples, metrics.published, ofType)).toBe(1);
  await postgres.start();
  await waitFor("the outbox to be shown again", 30, async () =>
    (await read(metrics.outboxEvents)) === 0 ? true : undefined,
  );
});
