import { randomUUID, timingSafeEqual } from "node:crypto";
import {
  cloudEventSchema,
  components,
  deadLetterTopic,
  eventTypes,
  services,
  topic,
  type CloudEvent,
  type EventType,
} from "@event-flow/events";
import { DaprError, HttpError, traceId, type App, type DaprClient } from "@event-flow/service";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { keepDeadLetter, readDeadLetter, type Origin } from "./dead-letters.ts";
import { messages } from "./messages.ts";
import { ConflictError, notify, type Outcome } from "./notifications.ts";

/** What a handler tells Dapr to do with a message (https://docs.dapr.io/reference/api/pubsub_api/). */
const success = { status: "SUCCESS" };
/** Deliver it again. */
const retry = { status: "RETRY" };
/** Never deliver it again. */
const drop = { status: "DROP" };

const deadLetters = deadLetterTopic(services.notificationService);
const deadLetterRoute = "/events/dead-letter";

/** How often an event is tried whose failure is no backing service's. */
const triesOfOne = 5;

/** As much as the sidecar lets through (its `max-body-size`): a broker's limit is below it. */
const bodyLimit = 4 * 1024 * 1024;

function route(type: EventType): string {
  return `/events/${type.replaceAll("_", "-")}`;
}

/**
 * What the sidecar calls: which topics to subscribe to, and a route for each. A handler always answers 200 with a status
 * chosen on purpose:
 *
 * - RETRY if a backing service failed. The sidecar then delivers the event again, in its place, for as long as it takes:
 *   nothing is wrong with the event, and the ones behind it would fare no better.
 * - SUCCESS if the event was handled, or can't be: that one goes to the dead letter topic, with the cause, and no further
 *   event waits for it. An event that doesn't follow its schema is such a one at once, any other failure after five tries.
 * - DROP if it can't even be read. The sidecar then passes it on to the dead letter topic, as it does what it can't deliver.
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

  scope.get("/dapr/subscribe", { schema: { hide: true } }, () => [
    ...eventTypes.map((type) => ({
      pubsubname: components.pubsub,
      topic: topic(type),
      route: route(type),
      deadLetterTopic: deadLetters,
    })),
    // Raw, as what is there need be no CloudEvent.
    { pubsubname: components.pubsub, topic: deadLetters, route: deadLetterRoute, metadata: { rawPayload: "true" } },
  ]);

  const tries = new Tries();
  for (const type of eventTypes) {
    subscribe(scope, { dapr, tries }, type);
  }
  subscribeToDeadLetters(scope, dapr);
}

/** How often each event failed. A restart forgets it, which makes a few tries more. */
class Tries {
  readonly #counts = new Map<string, number>();

  failed(id: string): number {
    const count = (this.#counts.get(id) ?? 0) + 1;
    this.#counts.delete(id);
    this.#counts.set(id, count);
    const [oldest] = this.#counts.keys();
    if (this.#counts.size > 1_000 && oldest !== undefined) {
      this.#counts.delete(oldest);
    }
    return count;
  }

  done(id: string): void {
    this.#counts.delete(id);
  }
}

function subscribe(scope: App, { dapr, tries }: { dapr: DaprClient; tries: Tries }, type: EventType): void {
  const schema = cloudEventSchema(type);
  scope.post(
    route(type),
    {
      bodyLimit,
      config: { logsOutcome: true },
      schema: { hide: true },
      errorHandler: (error, request, reply) => {
        if (error instanceof HttpError) {
          throw error;
        }
        request.log.error({ err: error, type }, `Dropped event: ${type} could not be read`);
        void reply.code(200).send(drop);
      },
    },
    async ({ body, headers, log }) => {
      const origin = originOf(headers, topic(type), eventId(body));
      const giveUp = async (facts: object, cause: string) => {
        try {
          await dapr.publishDeadLetter(deadLetters, {
            ...origin,
            cause,
            failed_at: new Date().toISOString(),
            event: body,
          });
        } catch (err) {
          log.warn({ ...facts, err }, `Event to be retried: ${type} could not go to the dead letters`);
          return retry;
        }
        tries.done(origin.id);
        log.error({ ...facts, deadLetter: origin.id, cause }, `Dead letter: ${type}`);
        return success;
      };

      const result = read(type, schema, body);
      if (!result.success) {
        const issues = result.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
        return giveUp({ eventId: eventId(body), type }, `It does not follow its schema: ${issues.join("; ")}`);
      }
      const { event, message } = result;
      const facts = {
        eventId: event.id,
        type,
        taskId: event.data.task_id,
        taskVersion: event.taskversion,
        userId: event.data.user_id,
        traceId: traceId(event.traceparent),
      };
      try {
        const outcome = await notify(dapr, event, message);
        tries.done(origin.id);
        const sinceEventMs = Date.now() - Date.parse(event.time);
        log.info({ ...facts, outcome, sinceEventMs }, says(outcome, type, message));
        return success;
      } catch (err) {
        if (!(err instanceof DaprError || err instanceof ConflictError) && tries.failed(origin.id) >= triesOfOne) {
          return giveUp(
            facts,
            `It failed ${triesOfOne} times: ${err instanceof Error ? err.message : "unknown error"}`,
          );
        }
        log.warn({ ...facts, err }, `Event to be retried: ${type}`);
        return retry;
      }
    },
  );
}

function says(outcome: Outcome, type: EventType, message: string): string {
  switch (outcome) {
    case "told":
      return message;
    case "repeated":
      return `Ignored event: ${type} was delivered before`;
    case "outdated":
      return `Ignored event: ${type} is older than what was seen of its task`;
  }
}

const rawEventSchema = z.object({ data_base64: z.base64() });

function subscribeToDeadLetters(scope: App, dapr: DaprClient): void {
  scope.post(deadLetterRoute, { bodyLimit: 2 * bodyLimit, schema: { hide: true } }, async ({ body, headers, log }) => {
    const { data_base64 } = rawEventSchema.parse(body);
    const letter = readDeadLetter(Buffer.from(data_base64, "base64"), originOf(headers, deadLetters));
    try {
      await keepDeadLetter(dapr, letter);
      return success;
    } catch (err) {
      log.warn({ deadLetter: letter.id, err }, "Dead letter to be kept later");
      return retry;
    }
  });
}

/** The sidecar says where a message is in the broker; of a dead letter, where it was before. */
function originOf(headers: FastifyRequest["headers"], byDefault: string, id: string = randomUUID()): Origin {
  const header = (name: string) => {
    const value = headers[name];
    return typeof value === "string" ? value : undefined;
  };
  const { topic, partition, offset } = {
    topic: header("__topic") ?? byDefault,
    partition: header("__partition"),
    offset: header("__offset"),
  };
  return { id: `${topic}/${partition ?? "-"}/${offset ?? id}`, topic, key: header("__key") ?? null };
}

type Read<T extends EventType> =
  { success: true; event: CloudEvent<T>; message: string } | { success: false; error: z.ZodError };

/** Checks a delivered CloudEvent against the contract, and words what its user is told. */
function read<T extends EventType>(type: T, schema: z.ZodType<CloudEvent<T>>, body: unknown): Read<T> {
  const { success, data: event, error } = schema.safeParse(body);
  return success ? { success, event, message: messages[type](event.data) } : { success, error };
}

const identifiedSchema = z.object({ id: z.string() });

function eventId(body: unknown): string | undefined {
  return identifiedSchema.safeParse(body).data?.id;
}

/** daprd shows the token of `dapr.io/app-token-secret` with each call to its app. */
function isFromSidecar(request: FastifyRequest, appApiToken: string): boolean {
  const shown = request.headers["dapr-api-token"];
  const expected = Buffer.from(appApiToken);
  const actual = Buffer.from(typeof shown === "string" ? shown : "");
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}
