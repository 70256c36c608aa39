import {
  components,
  daprTokenHeader,
  topic,
  type CloudEvent,
  type DeadLetter,
  type EventType,
} from "@event-flow/events";
import { Pool, type Dispatcher } from "undici";
import { isSampled, untracedTrace } from "./trace.ts";
import { currentTraceparent, type Tracing } from "./tracing.ts";

/** A call to the sidecar that failed. It names the operation and Dapr's own error, and never holds what was sent. */
export class DaprError extends Error {
  override readonly name = "DaprError";
  readonly operation: string;
  /** Dapr's answer, or undefined if there was none: no sidecar, or no answer in time. */
  readonly status: number | undefined;
  /** Dapr's error code, e.g. `ERR_PUBSUB_PUBLISH_MESSAGE`. */
  readonly errorCode: string | undefined;

  constructor(
    operation: string,
    reason: string,
    { status, errorCode, ...options }: ErrorOptions & { status?: number; errorCode?: string } = {},
  ) {
    super(`Dapr could not ${operation}: ${reason}`, options);
    this.operation = operation;
    this.status = status;
    this.errorCode = errorCode;
  }
}

/** A value of the state store with the ETag that a later save must present. Both are undefined if there is no value. */
export interface Versioned {
  readonly value: unknown;
  readonly etag: string | undefined;
}

/** A call of another service's HTTP API. */
export interface Invocation {
  readonly method: "GET" | "PUT";
  /** The path, with its slash. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. @default none */
  readonly body?: object;
}

/** An event that was not published, and why. */
export interface Refusal {
  readonly eventId: string;
  readonly error: DaprError;
}

/** What an output binding is to do (https://docs.dapr.io/reference/api/bindings_api/). */
export interface BindingCall {
  readonly operation: string;
  readonly data: string;
  readonly metadata: Readonly<Record<string, string>>;
}

interface Options {
  readonly port: number;
  /** The token that the sidecar expects when `dapr.io/api-token-secret` is set. */
  readonly apiToken?: string | undefined;
  /**
   * How long one call may take, in milliseconds.
   * @default 5000
   */
  readonly timeout?: number;
  /** Whether the sidecar traces what it does, then as a part of what calls it. @default it doesn't */
  readonly tracing?: Tracing | undefined;
}

/** Calls the HTTP API of this pod's sidecar over a pool of kept-alive connections. */
export class DaprClient {
  readonly #pool: Pool;
  readonly #headers: Record<string, string>;
  readonly #timeout: number;
  readonly #isTraced: boolean;

  constructor({ port, apiToken, timeout = 5_000, tracing }: Options) {
    // Dapr repeats the list of what it could not publish in a header.
    this.#pool = new Pool(`http://127.0.0.1:${port}`, { maxHeaderSize: 1024 * 1024 });
    this.#headers = apiToken === undefined ? {} : { [daprTokenHeader]: apiToken };
    this.#timeout = timeout;
    this.#isTraced = tracing !== undefined;
  }

  /**
   * Publishes events of one type in one call. Resolves to those that the broker doesn't have, as far as is known: an
   * event can be refused and still get there.
   */
  async publish<T extends EventType>(type: T, events: readonly CloudEvent<T>[]): Promise<Refusal[]> {
    const operation = `publish to ${topic(type)}`;
    let answer: Answer;
    try {
      answer = await this.#request(operation, {
        method: "POST",
        path: `/v1.0/publish/bulk/${components.pubsub}/${topic(type)}`,
        headers: { "content-type": "application/json" },
        // The sidecar's spans of a call are of one trace, though its events may be of several.
        traceparent: (events.find((event) => isSampled(event.traceparent)) ?? events[0])?.traceparent,
        body: JSON.stringify(
          events.map((event) => ({
            entryId: event.id,
            // Dapr puts a trace of its own in the place of `traceparent` unless there is the older `traceid`, too.
            event: { ...event, traceid: event.traceparent },
            contentType: "application/cloudevents+json",
            // Events of one task keep their order.
            metadata: { partitionKey: String(event.data.task_id) },
          })),
        ),
      });
    } catch (error) {
      return events.map(({ id }) => ({ eventId: id, error: error as DaprError }));
    }
    if (answer.status < 300) {
      return [];
    }
    // What is not listed was published; without a list nothing was.
    const { failedEntries } = parseObject(answer.text) as { failedEntries?: { entryId: string; error?: string }[] };
    const whole = failure(operation, answer);
    return failedEntries === undefined || failedEntries.length === 0
      ? events.map(({ id }) => ({ eventId: id, error: whole }))
      : failedEntries.map(({ entryId, error }) => ({
          eventId: entryId,
          error: error === undefined ? whole : new DaprError(operation, error, { status: answer.status }),
        }));
  }

  /** Publishes a message that was given up on, as it is: what is wrong with it may be that it is no CloudEvent. */
  async publishDeadLetter(deadLetterTopic: string, letter: DeadLetter): Promise<void> {
    await this.#call(`publish to ${deadLetterTopic}`, {
      method: "POST",
      path: `/v1.0/publish/${components.pubsub}/${deadLetterTopic}`,
      query: { "metadata.rawPayload": "true", "metadata.partitionKey": letter.id },
      headers: { "content-type": "application/json" },
      body: JSON.stringify(letter),
    });
  }

  /**
   * Calls another service through both sidecars. Resolves to what it answered, be that an error of the caller's; rejects if it
   * can't be reached, doesn't answer in time, or itself fails (5xx).
   */
  async invoke(appId: string, { method, path, headers, body }: Invocation): Promise<{ status: number; body: unknown }> {
    const operation = `call ${appId}`;
    const answer = await this.#request(operation, {
      method,
      path: `/v1.0/invoke/${appId}/method${path}`,
      headers: { ...headers, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    // A sidecar that refuses a call says so in the place of the service.
    if (answer.status >= 500 || daprReason(answer.text).errorCode !== undefined) {
      throw failure(operation, answer);
    }
    return { status: answer.status, body: parseObject(answer.text) };
  }

  async getState(key: string): Promise<Versioned> {
    const operation = `read from ${components.stateStore}`;
    const { status, etag, text } = await this.#call(operation, {
      method: "GET",
      path: `/v1.0/state/${components.stateStore}/${encodeURIComponent(key)}`,
      query: { consistency: "strong" },
    });
    if (status === 204) {
      return { value: undefined, etag: undefined };
    }
    try {
      return { value: JSON.parse(text) as unknown, etag };
    } catch {
      // JSON.parse quotes what it could not read. No DaprError: another call would fare no better.
      throw new Error(`Dapr could ${operation}, but the value is not JSON`);
    }
  }

  /**
   * Saves a value if nobody else did since `getState`: first write wins.
   * Returns false on a conflict, after which the caller reads again.
   */
  async saveState(key: string, { value, etag }: Versioned): Promise<boolean> {
    try {
      await this.#call(`save to ${components.stateStore}`, {
        method: "POST",
        path: `/v1.0/state/${components.stateStore}`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify([{ key, value, etag, options: { concurrency: "first-write", consistency: "strong" } }]),
      });
      return true;
    } catch (error) {
      if (error instanceof DaprError && (error.status === 409 || (await this.#wasCreated(key, etag)))) {
        return false;
      }
      throw error;
    }
  }

  /** Without an ETag to compare, Dapr reports that another was first with a new key as a failure of the store (500). */
  async #wasCreated(key: string, etag: string | undefined): Promise<boolean> {
    return etag === undefined && (await this.getState(key)).etag !== undefined;
  }

  /** Deletes a value, whoever wrote it last. */
  async deleteState(key: string): Promise<void> {
    await this.#call(`delete from ${components.stateStore}`, {
      method: "DELETE",
      path: `/v1.0/state/${components.stateStore}/${encodeURIComponent(key)}`,
    });
  }

  /**
   * Has an output binding do something. May take longer than other calls: what is given up is done nonetheless, and done
   * twice when it is tried again.
   */
  async invokeBinding(binding: string, call: BindingCall, timeout = 60_000): Promise<void> {
    await this.#call(
      `invoke ${binding}`,
      {
        method: "POST",
        path: `/v1.0/bindings/${binding}`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(call),
      },
      timeout,
    );
  }

  /** Resolves if the sidecar can be called: its Components are loaded (it may still wait for the app's own port). */
  async checkOutbound(): Promise<void> {
    await this.#call("report its health", { method: "GET", path: "/v1.0/healthz/outbound" });
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #call(operation: string, options: CallOptions, timeout?: number): Promise<Answer> {
    const answer = await this.#request(operation, options, timeout);
    if (answer.status < 200 || answer.status > 299) {
      throw failure(operation, answer);
    }
    return answer;
  }

  async #request(
    operation: string,
    { headers, traceparent, ...options }: CallOptions,
    timeout = this.#timeout,
  ): Promise<Answer> {
    try {
      const response = await this.#pool.request({
        ...options,
        headers: {
          ...this.#headers,
          // A call that is no part of a trace would be one of its own to the sidecar: of each probe, for example.
          ...(this.#isTraced && { traceparent: traceparent ?? currentTraceparent() ?? untracedTrace() }),
          ...headers,
        },
        signal: AbortSignal.timeout(timeout),
      });
      const text = await response.body.text();
      const { etag } = response.headers;
      return { status: response.statusCode, etag: typeof etag === "string" ? etag : undefined, text };
    } catch (error) {
      throw new DaprError(operation, transportReason(error, timeout), { cause: error });
    }
  }
}

type CallOptions = Omit<Dispatcher.RequestOptions, "headers"> & {
  headers?: Record<string, string>;
  /** What the sidecar's work is a part of. @default what calls it is */
  traceparent?: string | undefined;
};

interface Answer {
  readonly status: number;
  readonly etag: string | undefined;
  readonly text: string;
}

function failure(operation: string, { status, text }: Answer): DaprError {
  const { errorCode, message } = daprReason(text);
  return new DaprError(operation, `${errorCode ?? `HTTP ${status}`}${message === undefined ? "" : `: ${message}`}`, {
    status,
    ...(errorCode !== undefined && { errorCode }),
  });
}

function transportReason(error: unknown, timeout: number): string {
  if (error instanceof Error && error.name === "TimeoutError") {
    return `no answer within ${timeout} ms`;
  }
  return error instanceof Error ? error.message : "the connection failed";
}

/** Dapr's errors are `{ "errorCode": …, "message": … }`. */
function daprReason(text: string): { errorCode?: string; message?: string } {
  const { errorCode, message } = parseObject(text);
  return {
    ...(typeof errorCode === "string" && { errorCode }),
    ...(typeof message === "string" && { message }),
  };
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
