import { HttpError, type App } from "@event-flow/service";

/** SQLSTATEs (https://www.postgresql.org/docs/17/errcodes-appendix.html) of a database that can't serve right now. */
const unavailableStates = /^(08|53|57P0[1-5]|57014$|55P03$|25006$|25P03$)/;

const unavailableErrnos = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

// pg and pg-pool give these errors no code.
const unavailableMessages = [
  "Connection terminated",
  "Query read timeout",
  "timeout exceeded when trying to connect",
  "Client has encountered a connection error and is not queryable",
  "Client was closed and is not queryable",
];

/** Whether an error says that the database cannot be reached or cannot serve, rather than that a query is wrong. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof AggregateError) {
    return error.errors.some(isUnavailable);
  }
  if (!(error instanceof Error)) {
    return false;
  }
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return (
    unavailableErrnos.has(code) ||
    unavailableStates.test(code) ||
    unavailableMessages.some((message) => error.message.startsWith(message))
  );
}

/** Has the routes of a scope answer 503 while the database is away. */
export function answerUnavailable(scope: App): void {
  scope.setErrorHandler((error) => {
    if (isUnavailable(error)) {
      throw new HttpError(503, "The database cannot be reached; try again later", { cause: error });
    }
    throw error;
  });
}
