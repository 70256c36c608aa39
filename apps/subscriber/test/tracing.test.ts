import { randomBytes, randomUUID } from "node:crypto";
import { createSubscriber } from "@event-flow/subscriber";
import { afterEach, beforeEach, expect, test } from "vitest";
import { asSidecar } from "../../../test/servers/client.ts";
import { eventOf } from "../../../test/servers/events.ts";
import { type OtlpSink, startOtlpSink } from "../../../test/servers/otlp-sink.ts";
import { appApiToken } from "../../../test/servers/service.ts";
import { users } from "../../../test/servers/token.ts";

let sink: OtlpSink;
beforeEach(async () => {
  sink = await startOtlpSink();
});
afterEach(() => {
  sink.stop();
});

function step(traceId = randomBytes(16).toString("hex")) {
  const spanId = randomBytes(8).toString("hex");
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-01` };
}

/** Delivers one event, and returns the spans of its receipt and of its handling. */
async function deliver(
  event: { traceparent?: string | undefined },
  headers: { traceparent?: string },
  title = "A task",
) {
  const app = await createSubscriber({
    identity: { appId: "tracing-test", name: "tracing-test", port: 8098 },
    title: "A subscriber",
    description: "For tests.",
    config: {
      LOG_LEVEL: "silent",
      ...users,
      APP_API_TOKEN: appApiToken,
      // Nobody is there.
      DAPR_HTTP_PORT: 9,
      OTEL_EXPORTER_OTLP_ENDPOINT: sink.url,
    },
    handlers: {
      task_created: ({ data }) =>
        data.title === "broken" ? Promise.reject(new TypeError("It is broken")) : Promise.resolve("repeated"),
    },
  });
  const data = { task_id: 1, user_id: randomUUID(), title, priority_id: null, due_date: null };
  const payload = {
    ...eventOf("task_created", { ...data, created_at: new Date().toISOString() }),
    traceparent: undefined,
    ...event,
  };
  const answer = await app.inject({
    method: "POST",
    url: "/events/task-created",
    headers: { ...headers, ...asSidecar },
    payload,
  });
  await app.close();
  const received = sink.spans.find(({ name }) => name === "POST /events/task-created");
  const handled = sink.spans.find(({ name }) => name === "process task-events.task_created");
  if (received === undefined || handled === undefined) throw new Error("It was not told");
  expect(sink.spans).toHaveLength(2);
  return { answer, received, handled };
}

test("what is done with an event is a part of its delivery", async () => {
  const published = step();
  const delivery = step(published.traceId);
  const { traceparent } = published;
  const { received, handled } = await deliver({ traceparent }, { traceparent: delivery.traceparent });
  expect(received).toMatchObject({ traceId: published.traceId, parentSpanId: delivery.spanId });
  expect(handled).toMatchObject({ traceId: published.traceId, parentSpanId: received.spanId, status: { code: 0 } });
});

test.each([
  ["in another trace", { traceparent: step().traceparent }],
  ["in none", {}],
])("it's in the event's trace where the delivery is %s", async (_what, headers) => {
  const published = step();
  const { received, handled } = await deliver({ traceparent: published.traceparent }, headers);
  expect(received.traceId).not.toBe(published.traceId);
  expect(handled).toMatchObject({ traceId: published.traceId, parentSpanId: published.spanId });
  expect(handled.links).toMatchObject([{ traceId: received.traceId, spanId: received.spanId }]);
});

test.each([undefined, "garbage", `00-${"0".repeat(32)}-b7ad6b7169203331-01`])(
  "an event whose traceparent is %s is no worse for it",
  async (traceparent) => {
    const delivery = step();
    const { answer, received, handled } = await deliver({ traceparent }, { traceparent: delivery.traceparent });
    expect(answer.json()).toEqual({ status: "SUCCESS" });
    expect(handled).toMatchObject({ traceId: delivery.traceId, parentSpanId: received.spanId });
  },
);

test("a failure is told with its kind", async () => {
  const { answer, handled } = await deliver({}, {}, "broken");
  expect(answer.json()).toEqual({ status: "RETRY" });
  expect(handled.status).toEqual({ code: 2, message: "It is broken" });
});
