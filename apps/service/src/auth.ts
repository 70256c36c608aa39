import { createHash, timingSafeEqual } from "node:crypto";
import { daprTokenHeader } from "@event-flow/events";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { HttpError } from "./errors.ts";

/** The `{user_id}` of a path. Lower case, as PostgreSQL writes a uuid and as events therefore carry it. */
export const userIdSchema = z.uuid().toLowerCase().describe("The user's id, the `sub` of the bearer token");

/** What a route with `requireOwner` adds to its OpenAPI operation. */
export const bearerSecurity = [{ bearer: [] }];

const claimsSchema = z.object({ sub: z.string(), scope: z.string().catch("") });
const ownerSchema = z.object({ user_id: z.string() });

async function verify(request: FastifyRequest) {
  try {
    return claimsSchema.parse(await request.jwtVerify());
  } catch (error) {
    // Not every error of the JWT plugin is a 401: a token signed with another algorithm would become a 500.
    throw new HttpError(401, "A valid bearer token is required", { cause: error });
  }
}

/** An `onRequest` hook for routes under `{user_id}`: lets in only a bearer token of that very user. */
export async function requireOwner(request: FastifyRequest): Promise<void> {
  const { sub } = await verify(request);
  const { user_id: userId } = ownerSchema.parse(request.params);
  if (sub.toLowerCase() !== userId.toLowerCase()) {
    throw new HttpError(403, "The bearer token is another user's");
  }
}

/**
 * An `onRequest` hook for routes that aren't a user's own: lets in only a bearer token whose claim `scope`, a list with spaces
 * between (https://www.rfc-editor.org/rfc/rfc8693#section-4.2), has this one. Who signs tokens decides on that.
 */
export function requireScope(needed: string) {
  return async (request: FastifyRequest): Promise<void> => {
    const { scope } = await verify(request);
    if (!scope.split(" ").includes(needed)) {
      throw new HttpError(403, `The bearer token hasn't the scope ${needed}`);
    }
  };
}

/**
 * Makes what tells whether a request shows a token that services share, in a time that says nothing of where it differs: digests
 * are of one length. That of the token is made once.
 */
export function tokenCheck(token: string): (shown: unknown) => boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  const expected = digest(token);
  return (shown) => typeof shown === "string" && timingSafeEqual(digest(shown), expected);
}

/** An `onRequest` hook for what only the sidecar may call: it shows the token of `dapr.io/app-token-secret` with each call. */
export function requireSidecar(appApiToken: string) {
  const isToken = tokenCheck(appApiToken);
  return (request: FastifyRequest, _reply: unknown, done: (error?: Error) => void): void => {
    const isSidecar = isToken(request.headers[daprTokenHeader]);
    done(isSidecar ? undefined : new HttpError(401, "Only the sidecar may call this"));
  };
}
