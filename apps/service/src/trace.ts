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

/** The id by which all logs know a trace. */
export function traceId(traceparent: string | undefined): string | undefined {
  return traceparentPattern.exec(traceparent ?? "")?.[1];
}
