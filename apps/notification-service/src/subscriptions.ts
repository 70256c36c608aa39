import { timingSafeEqual } from "node:crypto";
import { cloudEventSchema, components, eventTypes, topic, type CloudEvent, type EventType } from "@event-flow/events";
import { HttpError, type App, type DaprClient } from "@event-flow/service";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { messages } from "./messages.ts";
import { notify } from "./notifications.ts";

/** What a handler tells Dapr to do with a message (https://docs.dapr.io/reference/api/pubsub_api/). */
const success = { status: "SUCCESS" };
/** Deliver it again. */
const retry = { status: "RETRY" };
/** Never deliver it again. */
const drop = { status: "DROP" };

function route(type: EventType): string {
  return `/events/${type.replaceAll("_", "-")}`;
}

/**
 * What the sidecar calls: which topics to subscribe to, and a route for each. A handler always answers 200 with a
 * status chosen on purpose. Other answers would be retried without end (any 4xx but 404) or lost (404).
 */
export function subscriptionRoutes(
  scope: App,
  { dapr, appApiToken }: { dapr: DaprClient; appApiToken: string | undefined },
): void {
  // Dapr delivers CloudEvents as application/cloudevents+json, which Fastify does not take by itself.
  scope.addContentTypeParser(
    /^application\/([\w.-]+\+)?json(;|$)/,
    { parseAs: "string" },
    scope.getDefaultJsonParser("error", "error"),
  );

  if (appApiToken !== undefined) {
    scope.addHook("onRequest", (request, _reply, done) => {
      done(isFromSidecar(request, appApiToken) ? undefined : new HttpError(401, "Only the sidecar may call this"));
    });
  }

  scope.get("/dapr/subscribe", { schema: { hide: true } }, () =>
    eventTypes.map((type) => ({ pubsubname: components.pubsub, topic: topic(type), route: route(type) })),
  );

  for (const type of eventTypes) {
    subscribe(scope, dapr, type);
  }
}

function subscribe(scope: App, dapr: DaprClient, type: EventType): void {
  scope.post(
    route(type),
    {
      schema: { hide: true },
      errorHandler: (error, request, reply) => {
        if (error instanceof HttpError) {
          throw error;
        }
        // The request could not be read (too large, no JSON): no later delivery of it can be.
        request.log.error({ err: error, type }, `Dropped event: ${type} could not be read`);
        void reply.code(200).send(drop);
      },
    },
    async ({ body, log }) => {
      const result = read(type, body);
      if (!result.success) {
        const issues = result.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
        log.error({ eventId: eventId(body), type, issues }, `Dropped event: ${type} does not follow its schema`);
        return drop;
      }
      const { event, message } = result;
      const facts = { eventId: event.id, type, taskId: event.data.task_id, userId: event.data.user_id };
      try {
        const isNew = await notify(dapr, event, message);
        const sinceEventMs = Date.now() - Date.parse(event.time);
        log.info({ ...facts, sinceEventMs }, isNew ? message : `Ignored event: ${type} was delivered before`);
        return success;
      } catch (err) {
        log.warn({ ...facts, err }, `Event to be retried: ${type}`);
        return retry;
      }
    },
  );
}

type Read<T extends EventType> =
  { success: true; event: CloudEvent<T>; message: string } | { success: false; error: z.ZodError };

/** Checks a delivered CloudEvent against the contract, and words what its user is told. */
function read<T extends EventType>(type: T, body: unknown): Read<T> {
  const { success, data: event, error } = cloudEventSchema(type).safeParse(body);
  return success ? { success, event, message: messages[type](event.data) } : { success, error };
}

function eventId(body: unknown): string | undefined {
  return z.object({ id: z.string() }).safeParse(body).data?.id;
}

/** daprd shows the token of `dapr.io/app-token-secret` with each call to its app. */
function isFromSidecar(request: FastifyRequest, appApiToken: string): boolean {
  const shown = request.headers["dapr-api-token"];
  const expected = Buffer.from(appApiToken);
  const actual = Buffer.from(typeof shown === "string" ? shown : "");
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}
