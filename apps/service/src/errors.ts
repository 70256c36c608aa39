import { STATUS_CODES } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { z } from "zod";
import { DaprError } from "./dapr.ts";

/** An answer other than success, whose message is meant for the caller. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly statusCode: number;
  /** What is answered besides. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    statusCode: number,
    message: string,
    { headers = {}, ...options }: ErrorOptions & { readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message, options);
    this.statusCode = statusCode;
    this.headers = headers;
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
  413: errorSchema.describe("The body is too large"),
  415: errorSchema.describe("The body is not JSON in UTF-8, or it is compressed"),
  429: errorSchema.describe("Too many requests; `Retry-After` says for how many seconds"),
  503: errorSchema.describe("A backing service cannot be reached; try again later"),
};

/** The error responses that a route documents. */
export function errorResponses<S extends keyof typeof errors>(...statusCodes: S[]): Pick<typeof errors, S> {
  return Object.fromEntries(statusCodes.map((code) => [code, errors[code]])) as Pick<typeof errors, S>;
}

export function errorBody(statusCode: number, message: string) {
  return { statusCode, error: STATUS_CODES[statusCode] ?? "Error", message };
}

/** Those of every route that is a user's, and further ones of this one. */
export function userErrors<S extends keyof typeof errors>(...more: S[]) {
  return { ...errorResponses(400, 401, 403, 429, 503), ...errorResponses(...more) };
}

/** Answers every error of every route in one shape, and shows the caller nothing of what failed inside. */
export function handleError(error: Error & { statusCode?: number }, request: FastifyRequest, reply: FastifyReply) {
  if (hasZodFastifySchemaValidationErrors(error)) {
    const details = error.validation.map(({ instancePath, message }) => ({
      field: `${error.validationContext ?? "request"}${instancePath === "/" ? "" : instancePath}`,
      message: message ?? "is not valid",
    }));
    const message = details.map((detail) => `${detail.field}: ${detail.message}`).join("; ");
    return reply.code(400).send({ ...errorBody(400, message), details });
  }

  const statusCode = error instanceof DaprError ? 503 : (error.statusCode ?? 500);
  if (statusCode >= 500) {
    request.log.error({ err: error }, `${request.method} ${request.routeOptions.url ?? ""} failed`);
  }
  if (statusCode === 401) {
    reply.header("www-authenticate", "Bearer");
  }
  if (error instanceof HttpError) {
    reply.headers(error.headers);
  }
  const meantForCaller = statusCode < 500 || error instanceof HttpError;
  return reply
    .code(statusCode)
    .send(
      errorBody(statusCode, meantForCaller ? error.message : (internalMessages[statusCode] ?? internalMessages[500])),
    );
}

const internalMessages: Record<number, string> & { 500: string } = {
  500: "Something went wrong inside",
  503: "A backing service cannot be reached; try again later",
};

/** What is used of an OpenAPI document. */
export interface OpenApi {
  readonly paths?: Record<string, Record<string, Operation>>;
}

interface Operation {
  requestBody?: { required?: boolean; content: Record<string, { schema: { anyOf?: { type?: string }[] } }> };
  responses?: Record<string, { headers?: Record<string, object>; content?: Record<string, unknown> }>;
}

/** The headers that errors come with. */
const errorHeaders: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  401: { "WWW-Authenticate": { description: "How to show who one is", required: true, schema: { const: "Bearer" } } },
  429: { "Retry-After": { description: "In how many seconds to try again", schema: { type: "integer", minimum: 1 } } },
};

/** Documents the headers of errors, and that they are JSON also where success isn't. */
export function documentErrors({ paths = {} }: OpenApi): void {
  for (const { responses = {} } of Object.values(paths).flatMap((operations) => Object.values(operations))) {
    for (const [statusCode, response] of Object.entries(responses)) {
      const headers = errorHeaders[statusCode];
      if (headers !== undefined) response.headers = { ...response.headers, ...headers };
      if (Number(statusCode) >= 400 && response.content !== undefined) {
        response.content = { "application/json": Object.values(response.content)[0] };
      }
    }
  }
}
