import { STATUS_CODES } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { z } from "zod";
import { DaprError } from "./dapr.ts";

/** An answer other than success, whose message is meant for the caller. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly statusCode: number;

  constructor(statusCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.statusCode = statusCode;
  }
}

const errorSchema = z.object({
  statusCode: z.int(),
  error: z.string().describe("The name of the status code"),
  message: z.string(),
});

const validationErrorSchema = errorSchema.extend({
  details: z
    .array(z.object({ field: z.string().describe("Where in the request, e.g. `body/title`"), message: z.string() }))
    .optional(),
});

const errors = {
  400: validationErrorSchema.describe("The request is malformed"),
  401: errorSchema.describe("No valid bearer token"),
  403: errorSchema.describe("The token is another user's"),
  404: errorSchema.describe("There is no such resource"),
  429: errorSchema.describe("Too many at once"),
  503: errorSchema.describe("A backing service cannot be reached; try again later"),
};

/** The error responses that a route documents. */
export function errorResponses<S extends keyof typeof errors>(...statusCodes: S[]): Pick<typeof errors, S> {
  return Object.fromEntries(statusCodes.map((code) => [code, errors[code]])) as Pick<typeof errors, S>;
}

function body(statusCode: number, message: string) {
  return { statusCode, error: STATUS_CODES[statusCode] ?? "Error", message };
}

/** Answers every error of every route in one shape, and shows the caller nothing of what failed inside. */
export function handleError(error: Error & { statusCode?: number }, request: FastifyRequest, reply: FastifyReply) {
  if (hasZodFastifySchemaValidationErrors(error)) {
    const details = error.validation.map(({ instancePath, message }) => ({
      field: `${error.validationContext ?? "request"}${instancePath === "/" ? "" : instancePath}`,
      message: message ?? "is not valid",
    }));
    const message = details.map((detail) => `${detail.field}: ${detail.message}`).join("; ");
    return reply.code(400).send({ ...body(400, message), details });
  }

  const statusCode = error instanceof DaprError ? 503 : (error.statusCode ?? 500);
  if (statusCode >= 500) {
    request.log.error({ err: error }, `${request.method} ${request.routeOptions.url ?? ""} failed`);
  }
  if (statusCode === 401) {
    reply.header("www-authenticate", "Bearer");
  }
  const meantForCaller = statusCode < 500 || error instanceof HttpError;
  return reply
    .code(statusCode)
    .send(body(statusCode, meantForCaller ? error.message : (internalMessages[statusCode] ?? internalMessages[500])));
}

const internalMessages: Record<number, string> & { 500: string } = {
  500: "Something went wrong inside",
  503: "A backing service cannot be reached; try again later",
};

export function handleNotFound(request: FastifyRequest, reply: FastifyReply) {
  return reply.code(404).send(body(404, `There is no route ${request.method} ${request.url.split("?", 1)[0] ?? ""}`));
}
