import { randomUUID } from "node:crypto";
import { metrics } from "@event-flow/events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { readMetrics, valueOf } from "../../../test/servers/metrics.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startService, type Service } from "../../../test/servers/service.ts";

let service: Service;

beforeAll(async () => {
  service = await startService("service", await freePort(), { SECRET: "hunter2" }, { entry: "test/failing-server.ts" });
});

afterAll(async () => {
  await service.stop();
});

test("requests are counted and timed by the template of their route and by their status", async () => {
  const users = [randomUUID(), randomUUID()];
  for (const user of users) await call("GET", `${service.url}/of/${user}`, { user });
  await call("GET", `${service.url}/of/${users[0]}`);
  await call("GET", `${service.url}/nowhere/${users[1]}`);
  await call("GET", `${service.url}/unknown`);

  const samples = await readMetrics(service.url);
  const count = (route: string, status_code: string) =>
    valueOf(samples, `${metrics.requestDuration}_count`, { method: "GET", route, status_code });
  expect(count("/of/:user_id", "200")).toBe(2);
  expect(count("/of/:user_id", "401")).toBe(1);
  expect(count("none", "404")).toBe(1);
  expect(count("/unknown", "500")).toBe(1);
  const seconds = valueOf(samples, `${metrics.requestDuration}_sum`, { route: "/of/:user_id", status_code: "200" });
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThan(2);
  // A label's value for each user would fill Prometheus' memory.
  for (const user of users) expect(JSON.stringify(samples)).not.toContain(user);
});

test("the process shows its memory, its CPU time and how late its event loop is", async () => {
  const samples = await readMetrics(service.url);
  expect(valueOf(samples, "process_resident_memory_bytes")).toBeGreaterThan(20_000_000);
  expect(valueOf(samples, "process_cpu_seconds_total")).toBeGreaterThan(0);
  expect(valueOf(samples, "nodejs_eventloop_lag_p99_seconds")).toBeGreaterThan(0);
});

test("what comes by a load balancer is shown nothing, and the API's documentation doesn't speak of it", async () => {
  const forwarded = await call("GET", `${service.url}/metrics`, { headers: { "x-forwarded-for": "203.0.113.7" } });
  expect([forwarded.status, forwarded.body]).toEqual([
    404,
    { statusCode: 404, error: "Not Found", message: "There is no route GET /metrics" },
  ]);
  const { body } = await call<{ paths: object }>("GET", `${service.url}/docs/json`);
  expect(Object.keys(body.paths)).toContain("/ready");
  expect(Object.keys(body.paths)).not.toContain("/metrics");
});
