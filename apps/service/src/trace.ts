import { randomBytes } from "node:crypto";
import { traceparentPattern } from "@event-flow/events";

/**
 * The `traceparent` of one's own work: another step of the caller's trace, or the first of a new one if the caller's
 * header is missing or no `traceparent`.
 */
export function continueTrace(header: unknown): string {
  const step = randomBytes(8).toString("hex");
  if (typeof header === "string" && traceparentPattern.test(header)) {
    return `${header.slice(0, 36)}${step}${header.slice(52)}`;
  }
  return `00-${randomBytes(16).toString("hex")}-${step}-01`;
}

/** A `traceparent` of a trace that is nobody's, and that nobody is to tell of. */
export function untracedTrace(): string {
  return `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-00`;
}

/** Whether the caller wants to be told of the trace. */
export function isSampled(traceparent: string | undefined): boolean {
  return traceparent !== undefined && (Number.parseInt(traceparent.slice(53), 16) & 1) === 1;
}

/** The id by which all logs know a trace. */
export function traceId(traceparent: string | undefined): string | undefined {
  return traceparentPattern.exec(traceparent ?? "")?.[1];
}
