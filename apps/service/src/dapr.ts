import { components, topic, type CloudEvent, type EventType } from "@event-flow/events";
import { Pool, type Dispatcher } from "undici";

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

interface Options {
  readonly port: number;
  /** The token that the sidecar expects when `dapr.io/api-token-secret` is set. */
  readonly apiToken?: string | undefined;
  /**
   * How long one call may take, in milliseconds.
   * @default 5000
   */
  readonly timeout?: number;
}

/** Calls the HTTP API of this pod's sidecar over a pool of kept-alive connections. */
export class DaprClient {
  readonly #pool: Pool;
  readonly #headers: Record<string, string>;
  readonly #timeout: number;

  constructor({ port, apiToken, timeout = 5_000 }: Options) {
    this.#pool = new Pool(`http://127.0.0.1:${port}`);
    this.#headers = apiToken === undefined ? {} : { "dapr-api-token": apiToken };
    this.#timeout = timeout;
  }

  /** Publishes a CloudEvent. Resolves once the broker has it; events of one `partitionKey` keep their order. */
  async publish<T extends EventType>(event: CloudEvent<T>, partitionKey: string): Promise<void> {
    await this.#call(`publish to ${topic(event.type)}`, {
      method: "POST",
      path: `/v1.0/publish/${components.pubsub}/${topic(event.type)}`,
      query: { "metadata.partitionKey": partitionKey },
      headers: { "content-type": "application/cloudevents+json" },
      body: JSON.stringify(event),
    });
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
      // JSON.parse quotes what it could not read.
      throw new DaprError(operation, "the value is not JSON", { status });
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

  /** Resolves if the sidecar can be called: its Components are loaded (it may still wait for the app's own port). */
  async checkOutbound(): Promise<void> {
    await this.#call("report its health", { method: "GET", path: "/v1.0/healthz/outbound" });
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #call(
    operation: string,
    { headers, ...options }: Omit<Dispatcher.RequestOptions, "headers"> & { headers?: Record<string, string> },
  ): Promise<{ status: number; etag: string | undefined; text: string }> {
    let response: Dispatcher.ResponseData;
    let text: string;
    try {
      response = await this.#pool.request({
        ...options,
        headers: { ...this.#headers, ...headers },
        signal: AbortSignal.timeout(this.#timeout),
      });
      text = await response.body.text();
    } catch (error) {
      throw new DaprError(operation, transportReason(error, this.#timeout), { cause: error });
    }
    const status = response.statusCode;
    if (status < 200 || status > 299) {
      const { errorCode, message } = daprReason(text);
      throw new DaprError(operation, `${errorCode ?? `HTTP ${status}`}${message === undefined ? "" : `: ${message}`}`, {
        status,
        ...(errorCode !== undefined && { errorCode }),
      });
    }
    const { etag } = response.headers;
    return { status, etag: typeof etag === "string" ? etag : undefined, text };
  }
}

function transportReason(error: unknown, timeout: number): string {
  if (error instanceof Error && error.name === "TimeoutError") {
    return `no answer within ${timeout} ms`;
  }
  return error instanceof Error ? error.message : "the connection failed";
}

/** Dapr's errors are `{ "errorCode": …, "message": … }`. */
function daprReason(text: string): { errorCode?: string; message?: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return {};
  }
  if (typeof parsed !== "object" || parsed === null) {
    return {};
  }
  const { errorCode, message } = parsed as { errorCode?: unknown; message?: unknown };
  return {
    ...(typeof errorCode === "string" && { errorCode }),
    ...(typeof message === "string" && { message }),
  };
}
