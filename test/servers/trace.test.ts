/** The whole event flow as processes, with what the program emits for tracing, and a real OpenTelemetry Collector. */
import { randomBytes, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { perService, services, topic } from "@event-flow/events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { otelCollector } from "../tools/go-tools.ts";
import { buildTools } from "../tools/index.ts";
import { waitFor } from "../tools/progress.ts";
import { type Answer, call } from "./client.ts";
import { kinds, type CollectedSpan, startOtelCollector, statusError, type OtelCollector } from "./otel-collector.ts";
import { startSystem, type Pod, type System } from "./system.ts";

let collector: OtelCollector;
let system: System;
let backend: Pod;
let notificationService: Pod;

beforeAll(async () => {
  await buildTools([otelCollector]);
  collector = await startOtelCollector();
  const followed: readonly string[] = ["backend", "notificationService"];
  system = await startSystem({
    collector: collector.url,
    replicas: perService((service) => (followed.includes(service) ? 1 : 0)),
  });
  const [[first], [second]] = [system.pods.backend, system.pods.notificationService];
  if (first === undefined || second === undefined) throw new Error("There is no such service");
  [backend, notificationService] = [first, second];
}, 600_000);

afterAll(async () => {
  await system.stop();
  await collector.stop();
});

interface Task {
  readonly id: number;
}
interface Notification {
  readonly event_id: string;
  readonly task_id: number;
}

const created = topic("task_created");

function callersStep(flags = "01") {
  const [traceId, spanId] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-${flags}` } };
}

async function createTask(user: string, headers: Record<string, string> = {}): Promise<Answer<Task>> {
  const answer = await call<Task>("POST", `${backend.app.url}/api/${user}/tasks`, {
    user,
    headers,
    body: { title: "Follow it" },
  });
  expect(answer.status).toBe(201);
  return answer;
}

/** Waits until a user was told of as many tasks. */
function told(user: string, count = 1): Promise<Notification[]> {
  return waitFor(`${count} notifications of ${user}`, 60, async () => {
    const url = `${notificationService.app.url}/api/${user}/notifications`;
    // Not to be found among the traces.
    const { headers } = callersStep("00");
    const { status, body } = await call<Notification[]>("GET", url, { user, headers });
    return status === 200 && body.length >= count ? body : undefined;
  });
}

const spansOf = (traceId: string) => collector.spans().filter((span) => span.traceId === traceId);

function show(spans: readonly CollectedSpan[]): string {
  return spans
    .map(({ service, scope, name, spanId, parentSpanId }) =>
      [service, scope, name, `${spanId} of ${parentSpanId}`].join(" | "),
    )
    .join("\n");
}

/** Waits until the collector has spans of a trace that match. */
function traced(traceId: string, what: string, isThere: (spans: CollectedSpan[]) => boolean): Promise<CollectedSpan[]> {
  return waitFor(
    `the trace ${traceId} to have ${what}`,
    45,
    () => {
      const spans = spansOf(traceId);
      return Promise.resolve(isThere(spans) ? spans : undefined);
    },
    () => show(spansOf(traceId)),
  );
}

const fromDapr = ({ scope }: CollectedSpan) => scope === "dapr-diagnostics";
const fromApp = (span: CollectedSpan) => !fromDapr(span);

function one(spans: readonly CollectedSpan[], what: string, matches: (span: CollectedSpan) => boolean): CollectedSpan {
  const found = spans.filter(matches);
  if (found[0] === undefined || found.length > 1) {
    throw new Error(`There are ${found.length} spans of ${what} in\n${show(spans)}`);
  }
  return found[0];
}

/** A request's trace, when nothing is missing any more: the sidecar that publishes and state's, told last, are in it. */
function wholeTrace(traceId: string): Promise<CollectedSpan[]> {
  return traced(traceId, "all parts", (spans) => {
    const named = (name: string) => spans.some((span) => span.name === name);
    const byDaprOf = (service: string) => spans.filter((span) => fromDapr(span) && span.service === service);
    return (
      named("POST /api/:user_id/tasks") &&
      named(`publish ${created}`) &&
      named(`process ${created}`) &&
      byDaprOf(services.backend.appId).length >= 2 &&
      // The delivery, a read and a write of the state store.
      byDaprOf(services.notificationService.appId).length >= 3
    );
  });
}

/** What a request's trace has to look like from one end to the other. */
function expectChain(spans: readonly CollectedSpan[], callersSpanId: string): void {
  const [appIds, names] = [
    { backend: services.backend.appId, notificationService: services.notificationService.appId },
    { backend: services.backend.name, notificationService: services.notificationService.name },
  ];
  const request = one(spans, "the request", ({ name }) => name === "POST /api/:user_id/tasks");
  expect(request).toMatchObject({ parentSpanId: callersSpanId, service: names.backend, kind: kinds.server });
  const commit = one(spans, "the commit", ({ name }) => name === "commit task_created");
  expect(commit).toMatchObject({ parentSpanId: request.spanId, service: names.backend, kind: kinds.client });
  const publish = one(spans, "publishing", ({ name }) => name === `publish ${created}`);
  expect(publish).toMatchObject({ parentSpanId: request.spanId, service: names.backend, kind: kinds.producer });

  const publishing = spans.filter((span) => fromDapr(span) && span.service === appIds.backend);
  const publishCall = one(publishing, "the call", ({ parentSpanId }) => parentSpanId === publish.spanId);
  one(publishing, "the event in the call", ({ parentSpanId }) => parentSpanId === publishCall.spanId);

  const delivery = one(spans, "the delivery", ({ name }) => name === `pubsub/${created}`);
  expect(fromDapr(delivery)).toBe(true);
  expect(delivery).toMatchObject({ parentSpanId: publish.spanId, service: appIds.notificationService });
  const received = one(spans, "its receipt", ({ name }) => name === "POST /events/task-created");
  expect(received).toMatchObject({
    parentSpanId: delivery.spanId,
    service: names.notificationService,
    kind: kinds.server,
  });
  const handled = one(spans, "handling", ({ name }) => name === `process ${created}`);
  expect(handled).toMatchObject({
    parentSpanId: received.spanId,
    service: names.notificationService,
    kind: kinds.consumer,
    status: { code: 0 },
  });
  const states = spans.filter(
    (span) => fromDapr(span) && span.service === appIds.notificationService && span !== delivery,
  );
  expect(new Set(states.map(({ parentSpanId }) => parentSpanId))).toEqual(new Set([handled.spanId]));
  // Nothing else, and nothing whose parent is missing.
  const known = new Set([callersSpanId, ...spans.map(({ spanId }) => spanId)]);
  expect(spans.filter(({ parentSpanId }) => !known.has(parentSpanId))).toEqual([]);
}

test("goes from a caller's request through both sidecars to the handler", async () => {
  const { traceId, spanId, headers } = callersStep();
  await createTask(randomUUID(), headers);
  expectChain(await wholeTrace(traceId), spanId);
});

test("begins with the request where the caller has no trace", async () => {
  const user = randomUUID();
  await createTask(user);
  const [notification] = await told(user);
  const isHandling = ({ name, attributes }: CollectedSpan) =>
    name === `process ${created}` && attributes["messaging.message.id"] === notification?.event_id;
  const { traceId } = await waitFor("its handling to be told", 45, () =>
    Promise.resolve(collector.spans().find(isHandling)),
  );
  expectChain(await wholeTrace(traceId), "");
});

test("keeps the traces of events apart that are published in one call", async () => {
  const user = randomUUID();
  const steps = Array.from({ length: 20 }, () => callersStep());
  await Promise.all(steps.map(({ headers }) => createTask(user, headers)));
  for (const { traceId, spanId } of steps) {
    const spans = await traced(traceId, "its handling", (all) => {
      const named = (name: string) => all.find((span) => span.name === name);
      return named(`process ${created}`) !== undefined && named(`pubsub/${created}`) !== undefined;
    });
    const publish = one(spans, "publishing", ({ name }) => name === `publish ${created}`);
    const delivery = one(spans, "the delivery", ({ name }) => name === `pubsub/${created}`);
    expect(delivery.parentSpanId).toBe(publish.spanId);
    const root = one(spans, "the request", ({ name }) => name === "POST /api/:user_id/tasks");
    expect(root.parentSpanId).toBe(spanId);
    // The call itself is in the trace of one of them, which the others name.
    const [link] = publish.links;
    if (link !== undefined) expect(steps.map((step) => step.traceId)).toContain(link.traceId);
  }
});

test("tells nothing of what the caller doesn't want to be traced", async () => {
  const user = randomUUID();
  const unwanted = callersStep("00");
  await createTask(user, unwanted.headers);
  await told(user);
  // What came later is there.
  const wanted = callersStep();
  await createTask(user, wanted.headers);
  await wholeTrace(wanted.traceId);
  expect(show(spansOf(unwanted.traceId))).toBe("");
});

test("shows where handling failed", async () => {
  const { traceId, headers } = callersStep();
  const user = randomUUID();
  await system.valkey.kill();
  await createTask(user, headers);
  const handling = (spans: readonly CollectedSpan[]) => spans.filter(({ name }) => name === `process ${created}`);
  const failed = await traced(traceId, "a failed handling", (spans) => handling(spans).length > 0);
  expect(handling(failed)[0]).toMatchObject({ status: { code: statusError } });
  expect(handling(failed)[0]?.status.message).toContain("Dapr could not read from statestore");
  await system.valkey.start();
  await told(user);
  // Each try is a delivery of its own, told later by the sidecar.
  const deliveryOf = (handled: CollectedSpan, spans: readonly CollectedSpan[]) => {
    const received = spans.find(({ spanId }) => spanId === handled.parentSpanId);
    return spans.find(({ spanId }) => spanId === received?.parentSpanId);
  };
  const spans = await traced(
    traceId,
    "a handling that didn't fail, and the deliveries of all",
    (all) =>
      handling(all).some(({ status }) => status.code === 0) &&
      handling(all).every((handled) => deliveryOf(handled, all) !== undefined),
  );
  const publish = one(spans, "publishing", ({ name }) => name === `publish ${created}`);
  const deliveries = new Set(handling(spans).map((handled) => deliveryOf(handled, spans)));
  expect(deliveries.size).toBe(handling(spans).length);
  expect(new Set([...deliveries].map((delivery) => delivery?.parentSpanId))).toEqual(new Set([publish.spanId]));
});

test("shows where publishing failed", async () => {
  const { traceId, headers } = callersStep();
  await backend.daprd.kill();
  await createTask(randomUUID(), headers);
  const publishing = (spans: readonly CollectedSpan[]) => spans.filter(({ name }) => name === `publish ${created}`);
  const failed = await traced(traceId, "a failed publishing", (all) => publishing(all).length > 0);
  expect(publishing(failed)[0]).toMatchObject({ status: { code: statusError } });
  await backend.daprd.start();
  const spans = await wholeTrace(traceId);
  // The one that got through is what led to the delivery.
  const publish = one(publishing(spans), "publishing that didn't fail", ({ status }) => status.code === 0);
  const delivery = one(spans, "the delivery", ({ name }) => name === `pubsub/${created}`);
  expect(delivery.parentSpanId).toBe(publish.spanId);
});

test("tells nothing of probes, or of what else belongs to no trace", () => {
  const spans = collector.spans();
  expect(show(spans.filter((span) => fromDapr(span) && span.parentSpanId === ""))).toBe("");
  const roots = spans.filter((span) => fromApp(span) && span.parentSpanId === "").map(({ name }) => name);
  expect(new Set(roots)).toEqual(new Set(["POST /api/:user_id/tasks"]));
});

describe("without its collector", () => {
  const slowestMs = 2_000;

  async function worksAsBefore(): Promise<void> {
    const user = randomUUID();
    const count = 100;
    let slowest = 0;
    for (let nth = 0; nth < count; nth += 1) {
      const begun = performance.now();
      await createTask(user);
      slowest = Math.max(slowest, performance.now() - begun);
    }
    expect(slowest).toBeLessThan(slowestMs);
    const notifications = await told(user, count);
    expect(new Set(notifications.map(({ event_id }) => event_id)).size).toBe(count);
  }

  test("all goes on, and the log says that it's missing", async () => {
    await collector.kill();
    await worksAsBefore();
    const { log } = backend.app;
    await waitFor("the backend to complain", 60, async () =>
      (await readFile(log, "utf8")).includes("Traces could not be sent to the collector") ? true : undefined,
    );
    await collector.start();
  });

  test("all goes on when it takes spans and never answers, and the services stop in time", async () => {
    collector.pause();
    await worksAsBefore();
    const begun = performance.now();
    const exitCodes = await Promise.all([backend, notificationService].map(({ app }) => app.terminate()));
    expect(exitCodes).toEqual([0, 0]);
    // Below the 20 s that a service has for all of it.
    expect(performance.now() - begun).toBeLessThan(15_000);
    collector.resume();
  });

  test("what is left is sent by a service that stops", async () => {
    await Promise.all([backend, notificationService].map(({ app }) => app.start()));
    await system.ready();
    const { traceId, headers } = callersStep();
    await createTask(randomUUID(), headers);
    await backend.app.terminate();
    await traced(traceId, "the request and its publishing", (all) => {
      const named = (name: string) => all.some((span) => span.name === name);
      return named("POST /api/:user_id/tasks") && named(`publish ${created}`);
    });
  });
});
