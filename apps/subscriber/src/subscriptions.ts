import { randomUUID } from "node:crypto";
import {
  cloudEventSchema,
  components,
  deadLetterTopic,
  eventTypes,
  topic,
  traceparentPattern,
  type CloudEvent,
  type EventType,
  type ServiceIdentity,
} from "@event-flow/events";
import {
  HttpError,
  inSpan,
  requireSidecar,
  traceId,
  type App,
  type DaprClient,
  type Tracing,
} from "@event-flow/service";
import type { FastifyBaseLogger, FastifyRequest } from "fastify";
import { z } from "zod";
import { deadLetterOf, eventIdOf, isTooDeep, keepDeadLetter, readDeadLetter, type Origin } from "./dead-letters.ts";
import { createMeter, unknownType, type Meter, type Reason } from "./metrics.ts";
import { Tries } from "./tries.ts";

/** What a handler has besides its event. */
export interface Context {
  readonly dapr: DaprClient;
  readonly log: FastifyBaseLogger;
}

/**
 * What became of an event: what was done, in a word and as the log says it; or nothing, as it was delivered before or is older
 * than what was seen of its task.
 */
export type Outcome = "repeated" | "outdated" | { readonly outcome: string; readonly message: string };

/** Does something with an event, which is checked. It may come again, and in any order with those of other types. */
export type Handler<T extends EventType> = (event: CloudEvent<T>, context: Context) => Promise<Outcome>;

export type Handlers = { readonly [T in EventType]?: Handler<T> };

interface SubscriptionOptions<M> {
  /** What its messages are called, in the log and in the route. */
  readonly name: string;
  readonly topic: string;
  /** What a message follows, as Dapr delivers it. */
  readonly schema: z.ZodType<M>;
  /** What the log tells of each message. */
  readonly facts: (message: M) => object;
  /** When it came to be, in ISO 8601. */
  readonly time: (message: M) => string;
  readonly handle: (message: M, context: Context) => Promise<Outcome>;
}

/** A topic that is subscribed to, with what is done with its messages. */
export interface Subscription {
  readonly name: string;
  readonly topic: string;
  readonly route: string;
  /** Adds the route. */
  readonly register: (scope: App, subscriber: Subscriber) => void;
}

interface Subscriber {
  readonly dapr: DaprClient;
  readonly tracing: Tracing | undefined;
  readonly deadLetters: string;
  readonly tries: Tries;
  readonly meter: Meter;
  readonly isTransient: (error: unknown) => boolean;
}

interface SubscriptionRoutesOptions extends Pick<Subscriber, "dapr" | "tracing" | "isTransient"> {
  readonly identity: ServiceIdentity;
  readonly appApiToken: string;
  readonly subscriptions: readonly Subscription[];
}

/** What a subscriber tells Dapr to do with a message (https://docs.dapr.io/reference/api/pubsub_api/). */
const success = { status: "SUCCESS" };
/** Deliver it again. */
const retry = { status: "RETRY" };
/** Never deliver it again. */
const drop = { status: "DROP" };

const deadLetterRoute = "/events/dead-letter";

/** How often an event is tried whose failure is no backing service's. */
const triesOfOne = 5;

/** As much as the sidecar lets through (its `max-body-size`): a broker's limit is below it. */
const bodyLimit = 4 * 1024 * 1024;

/** The subscriptions to the events that there are handlers for. */
export function eventSubscriptions(handlers: Handlers): Subscription[] {
  return eventTypes.flatMap((type) => eventSubscription(type, handlers) ?? []);
}

function eventSubscription<T extends EventType>(type: T, handlers: Pick<Handlers, T>): Subscription | undefined {
  const handle: Handler<T> | undefined = handlers[type];
  return (
    handle &&
    subscription<CloudEvent<T>>({
      name: type,
      topic: topic(type),
      schema: cloudEventSchema(type).refine(isPast, { path: ["time"], message: "It is yet to come" }),
      facts: (event) => ({
        eventId: event.id,
        type,
        taskId: event.data.task_id,
        taskVersion: event.taskversion,
        userId: event.data.user_id,
        traceId: traceId(event.traceparent),
      }),
      time: (event) => event.time,
      handle,
    })
  );
}

/** More than clocks are ever wrong by. */
const clocksDifferMs = 24 * 3_600_000;

/** What has a time to come would be the latest for as long, whatever happens. */
function isPast({ time }: { readonly time: string }): boolean {
  return Date.parse(time) <= Date.now() + clocksDifferMs;
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
  { identity, dapr, tracing, appApiToken, subscriptions, isTransient }: SubscriptionRoutesOptions,
): void {
  // Dapr delivers CloudEvents as application/cloudevents+json. What is wrong with one is told by its status, not by HTTP.
  scope.removeContentTypeParser("application/json");
  scope.addContentTypeParser(
    /^application\/([\w.-]+\+)?json(;|$)/,
    { parseAs: "string" },
    scope.getDefaultJsonParser("error", "error"),
  );

  scope.addHook("onRequest", requireSidecar(appApiToken));

  const deadLetters = deadLetterTopic(identity);
  scope.get("/dapr/subscribe", { schema: { hide: true } }, () => [
    ...subscriptions.map(({ topic, route }) => ({
      pubsubname: components.pubsub,
      topic,
      route,
      deadLetterTopic: deadLetters,
    })),
    // Raw, as what is there need be no CloudEvent.
    { pubsubname: components.pubsub, topic: deadLetters, route: deadLetterRoute, metadata: { rawPayload: "true" } },
  ]);

  const tries = new Tries();
  const meter = createMeter(
    scope.metrics,
    subscriptions.map(({ name }) => name),
  );
  for (const { register } of subscriptions) {
    register(scope, { dapr, tracing, deadLetters, tries, meter, isTransient });
  }
  subscribeToDeadLetters(scope, { dapr, deadLetters, meter, topics: subscriptions.map(({ topic }) => topic) });
}

/** Subscribes to a topic, be it of events or of something else. */
export function subscription<M>(options: SubscriptionOptions<M>): Subscription {
  const { name, topic, schema, facts: factsOf, time, handle } = options;
  const route = `/events/${name.replaceAll("_", "-")}`;
  const register = (scope: App, { dapr, tracing, deadLetters, tries, meter, isTransient }: Subscriber) => {
    scope.post(
      route,
      {
        bodyLimit,
        config: { logsOutcome: true },
        schema: { hide: true },
        errorHandler: (error, request, reply) => {
          if (error instanceof HttpError) {
            throw error;
          }
          request.log.error({ err: error, type: name }, `Dropped event: ${name} could not be read`);
          void reply.code(200).send(drop);
        },
      },
      inTrace(tracing, topic, async ({ body, headers, log }, fail) => {
        const origin = originOf(headers, topic, eventIdOf(body));
        const giveUp = async (reason: Reason, facts: object, cause: string) => {
          fail(cause);
          if (isTooDeep(body)) {
            // Nothing could write it again, and trying would end as often as it's tried.
            log.error({ ...facts, cause }, `Dropped event: ${name} is nested too deep`);
            return drop;
          }
          try {
            await dapr.publishDeadLetter(deadLetters, deadLetterOf(origin, cause, body));
          } catch (err) {
            log.warn({ ...facts, err }, `Event to be retried: ${name} could not go to the dead letters`);
            meter.retried(name);
            return retry;
          }
          tries.done(origin.id);
          meter.deadLettered(name, reason);
          log.error({ ...facts, deadLetter: origin.id, cause }, `Dead letter: ${name}`);
          return success;
        };

        const { success: isSound, data: message, error } = schema.safeParse(body);
        if (!isSound) {
          const issues = error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
          return giveUp(
            "schema",
            { eventId: eventIdOf(body), type: name },
            `It does not follow its schema: ${issues.join("; ")}`,
          );
        }
        const facts = factsOf(message);
        try {
          const outcome = await handle(message, { dapr, log });
          tries.done(origin.id);
          const sinceEventMs = Date.now() - Date.parse(time(message));
          meter.handled(name, wordOf(outcome));
          // What comes again says nothing of how long it took.
          if (typeof outcome === "object") meter.reached(name, Math.max(sinceEventMs, 0) / 1_000);
          log.info({ ...facts, outcome: wordOf(outcome), sinceEventMs }, says(outcome, name));
          return success;
        } catch (err) {
          fail(err);
          if (!isTransient(err) && tries.failed(origin.id) >= triesOfOne) {
            return giveUp(
              "failed",
              facts,
              `It failed ${triesOfOne} times: ${err instanceof Error ? err.message : "unknown error"}`,
            );
          }
          meter.retried(name);
          log.warn({ ...facts, err }, `Event to be retried: ${name}`);
          return retry;
        }
      }),
    );
  };
  return { name, topic, route, register };
}

function wordOf(outcome: Outcome): string {
  return typeof outcome === "string" ? outcome : outcome.outcome;
}

function says(outcome: Outcome, name: string): string {
  switch (outcome) {
    case "repeated":
      return `Ignored event: ${name} was delivered before`;
    case "outdated":
      return `Ignored event: ${name} is older than what was seen of its task`;
    default:
      return outcome.message;
  }
}

/** Of a message without a value there are no data. */
const rawEventSchema = z.object({ data_base64: z.base64().default("") });

function subscribeToDeadLetters(
  scope: App,
  options: Pick<Subscriber, "dapr" | "deadLetters" | "meter"> & { topics: readonly string[] },
): void {
  const { dapr, deadLetters, meter, topics } = options;
  scope.post(deadLetterRoute, { bodyLimit: 2 * bodyLimit, schema: { hide: true } }, async ({ body, headers, log }) => {
    const { data_base64 } = rawEventSchema.parse(body);
    // What Dapr passed on says where it was before.
    const origin = originOf(headers, topics.find((topic) => topic === headers["__topic"]) ?? deadLetters);
    const letter = readDeadLetter(Buffer.from(data_base64, "base64"), origin);
    try {
      await keepDeadLetter(dapr, letter);
      // A letter that this service wrote itself was counted then, and has another id than the message that brought it.
      if (letter.id === origin.id) meter.deadLettered(unknownType, "undeliverable");
      return success;
    } catch (err) {
      log.warn({ deadLetter: letter.id, err }, "Dead letter to be kept later");
      return retry;
    }
  });
}

/**
 * The sidecar says where a message is in the broker, and by which key, in headers. The message's own headers stand beside them:
 * what isn't of the form is none of the sidecar's.
 */
function originOf(headers: FastifyRequest["headers"], topic: string, id: string = randomUUID()): Origin {
  const header = (name: string, form: RegExp) => {
    const value = headers[name];
    return typeof value === "string" && form.test(value) ? value : undefined;
  };
  const [partition, offset] = [header("__partition", /^\d{1,10}$/), header("__offset", /^\d{1,19}$/)];
  return {
    id: `${topic}/${partition ?? "-"}/${offset ?? id}`,
    topic,
    // None of the events' has a longer one.
    key: unescaped(header("__key", /^[!-~]{0,200}$/)),
  };
}

/** As Dapr escapes it (`escapeHeaders`). */
function unescaped(key: string | undefined): string | null {
  return key === undefined ? null : new URLSearchParams(`key=${key}`).get("key");
}

const tracedSchema = z.object({ traceparent: z.string().regex(traceparentPattern) });

/**
 * Makes a span of what is done with each message. It's a part of what the sidecar does, unless that is in another trace than the
 * message itself.
 */
function inTrace<T>(
  tracing: Tracing | undefined,
  topic: string,
  deliver: (request: FastifyRequest, fail: (reason: unknown) => void) => Promise<T>,
): (request: FastifyRequest) => Promise<T> {
  return (request) =>
    inSpan(
      tracing,
      () => {
        const origin = tracedSchema.safeParse(request.body).data?.traceparent;
        const inItsTrace = origin === undefined || traceId(origin) === traceId(request.id);
        const messageId = eventIdOf(request.body);
        return {
          name: `process ${topic}`,
          kind: "consumer",
          parent: inItsTrace ? request.id : origin,
          links: inItsTrace ? [] : [request.id],
          attributes: {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            ...(messageId !== undefined && { "messaging.message.id": messageId }),
          },
        };
      },
      (fail) => deliver(request, fail),
    );
}
