import { maxHeaderSize, STATUS_CODES, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { errorBody } from "./errors.ts";

/** How much of one client's a service takes, and for how long it waits for one. */
export interface Limits {
  /** Of a body, in bytes: over twice the longest task, whose characters JSON may write in twelve bytes each. */
  readonly bodyBytes: number;
  /** How soon a request's headers have to be there, in milliseconds. */
  readonly headersMs: number;
  /** How soon a whole request has to be there: a phone with little signal takes its time, but not half a minute for 64 KiB. */
  readonly requestMs: number;
  /** How long a connection may lie still: who reads none of an answer is gone. A stream says something each 15 s. */
  readonly stillMs: number;
  /** How long a connection is kept for its next request: longer than a load balancer, which would be cut off in one (60 s). */
  readonly keepAliveMs: number;
}

export const defaultLimits: Limits = {
  bodyBytes: 64 * 1024,
  headersMs: 10_000,
  requestMs: 30_000,
  stillMs: 90_000,
  keepAliveMs: 72_000,
};

/** More headers than any client sends. How long they are together is limited by Node (16 KiB). */
export const mostHeaders = 100;

/** How Fastify and Node are told of limits. */
export function serverOptions({ bodyBytes, headersMs, requestMs, stillMs, keepAliveMs }: Limits) {
  return {
    bodyLimit: bodyBytes,
    requestTimeout: requestMs,
    connectionTimeout: stillMs,
    keepAliveTimeout: keepAliveMs,
    http: {
      headersTimeout: headersMs,
      // How often Node looks for those that are late.
      connectionsCheckingInterval: Math.min(5_000, headersMs / 2),
    },
    // What is too long is told by the path's schema; no route here has a pattern of its own that could take long to match.
    routerOptions: { maxParamLength: maxHeaderSize },
    clientErrorHandler,
  };
}

/** What Node says of requests that it doesn't take, and what clients are told. */
const refusals: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, `The request line and the headers may have ${maxHeaderSize / 1024} KiB together`],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "The request didn't come in time"],
};

/** Answers what is no HTTP, or comes too slowly, in the one shape of errors. */
function clientErrorHandler(error: Error & { code?: string }, socket: Socket): void {
  // Either nobody is there to read it, or it would be taken for a part of the answer under way.
  const { _httpMessage: underWay } = socket as Socket & { _httpMessage?: { headersSent: boolean } | null };
  if (error.code === "ECONNRESET" || !socket.writable || underWay?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [statusCode, message] = refusals[error.code ?? ""] ?? [400, "The request is no HTTP"];
  const body = JSON.stringify(errorBody(statusCode, message));
  socket.end(
    [
      `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode] ?? ""}`,
      "content-type: application/json; charset=utf-8",
      `content-length: ${Buffer.byteLength(body)}`,
      "connection: close",
      "",
      body,
    ].join("\r\n"),
    // Who doesn't take the answer, or goes on sending, is not waited for.
    () => socket.destroy(),
  );
}

/** Whether a request has so many headers that it's no client of ours. */
export function hasTooManyHeaders({ rawHeaders }: IncomingMessage): boolean {
  return rawHeaders.length > 2 * mostHeaders;
}
