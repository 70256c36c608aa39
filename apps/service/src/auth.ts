import { createHash, timingSafeEqual } from "node:crypto";
import { daprTokenHeader } from "@event-flow/events";
import fastifyRateLimit from "@fastify/rate-limit";
import { createVerifier, TokenError } from "fast-jwt";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { HttpError } from "./errors.ts";

/** The `{user_id}` of a path. Lower case, as PostgreSQL writes a uuid and as events therefore carry it. */
export const userIdSchema = z.uuid().toLowerCase().describe("The user's id, the `sub` of the bearer token");

/** An integer in a path or a query, written in digits only: `Number` would also take "", " 1", "1e3" and "0x1". */
export function integerText(schema: z.ZodInt) {
  return z.preprocess(
    (text) => (typeof text === "string" && /^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : text),
    schema,
  );
}

/** What a route with `requireOwner` adds to its OpenAPI operation. */
export const bearerSecurity = [{ bearer: [] }];

const claimsSchema = z.object({ sub: z.string().min(1), exp: z.number(), scope: z.string().catch("") });
const ownerSchema = z.object({ user_id: z.string() });

/** Who a request is of, by its bearer token. */
export type User = z.infer<typeof claimsSchema>;

/** What of the environment tokens are checked by. */
export interface UsersConfig {
  readonly JWT_SECRET: string;
  readonly JWT_SECRET_PREVIOUS?: string | undefined;
  readonly JWT_ISSUER: string;
  readonly JWT_AUDIENCE: string;
  /** How many requests a user may make in a minute, in each replica. */
  readonly RATE_LIMIT_PER_MINUTE: number;
}

/** How far apart the clocks may be of who signs tokens and of who reads them. */
const clockToleranceMs = 5_000;

/** For how long a token may be good. Nothing here keeps a list of revoked ones: one without an end could never be taken back. */
const longestMs = 31 * 24 * 3_600 * 1_000;

/** Makes what reads a bearer token, and throws if it's not good. */
export function tokenReader({ JWT_SECRET, JWT_SECRET_PREVIOUS, JWT_ISSUER, JWT_AUDIENCE }: UsersConfig) {
  // What a token says of its key (`kid`, `jwk`, `jku`) is the attacker's word: each key is tried.
  const verifiers = [JWT_SECRET, JWT_SECRET_PREVIOUS].flatMap((key) =>
    key === undefined
      ? []
      : createVerifier({
          key,
          algorithms: ["HS256"],
          requiredClaims: ["sub", "exp", "iss", "aud"],
          allowedIss: JWT_ISSUER,
          allowedAud: JWT_AUDIENCE,
          clockTolerance: clockToleranceMs,
        }),
  );
  const read = (token: string): unknown => {
    for (const [nth, verify] of verifiers.entries()) {
      try {
        return verify(token);
      } catch (error) {
        const isAnothers = error instanceof TokenError && error.code === TokenError.codes.invalidSignature;
        if (!isAnothers || nth === verifiers.length - 1) throw error;
      }
    }
    throw new Error("There is no key");
  };
  return (authorization: string | undefined): User => {
    const [, token] = /^Bearer ([\w.-]+)$/i.exec(authorization ?? "") ?? [];
    if (token === undefined) throw new Error("There is no bearer token");
    const user = claimsSchema.parse(read(token));
    if (user.exp * 1_000 > Date.now() + longestMs) throw new Error("It is good for too long");
    return user;
  };
}

/** Knows users by their tokens, and counts their requests. In memory: what a user may do, he may in each replica. */
export async function knowUsers(app: FastifyInstance, config: UsersConfig): Promise<void> {
  const read = tokenReader(config);
  app.decorateRequest("user");
  await app.register(fastifyRateLimit, {
    // Who isn't known has no right to anything, and is refused for less than it takes to count him. By his address nobody is
    // known, behind a load balancer.
    global: false,
    max: config.RATE_LIMIT_PER_MINUTE,
    timeWindow: "1 minute",
    store: Minutes,
    keyGenerator: ({ user }) => user.sub.toLowerCase(),
  });
  const count = app.createRateLimit();
  app.decorate("authenticate", async (request) => {
    try {
      request.user = read(request.headers.authorization);
    } catch (error) {
      throw new HttpError(401, "A valid bearer token is required", { cause: error });
    }
    const counted = await count(request);
    if (!counted.isAllowed && counted.isExceeded) {
      throw new HttpError(429, `A user may make ${config.RATE_LIMIT_PER_MINUTE} requests a minute`, {
        headers: { "retry-after": String(Math.max(1, counted.ttlInSeconds)) },
      });
    }
    return request.user;
  });
}

/** As many as make one request each in less than a minute; some 100 bytes for each. */
const mostUsersCounted = 100_000;

/**
 * Counts by the monotonic clock. The plugin's own store goes by the clock on the wall: were that set back, a user who had used up
 * his minute would have to wait until it shows the time again that it had.
 */
class Minutes {
  #counts = new Map<string, number>();
  #ends = 0;

  incr(user: string, told: (error: null, result: { current: number; ttl: number }) => void, windowMs: number): void {
    const now = performance.now();
    if (now >= this.#ends || this.#counts.size >= mostUsersCounted) {
      this.#counts = new Map();
      this.#ends = now + windowMs;
    }
    const current = (this.#counts.get(user) ?? 0) + 1;
    this.#counts.set(user, current);
    told(null, { current, ttl: this.#ends - now });
  }

  child(): this {
    return this;
  }
}

declare module "fastify" {
  interface FastifyRequest {
    /** Who made it; there is one only behind `requireOwner` and `requireScope`. */
    user: User;
  }
  interface FastifyInstance {
    /** Refuses a request without a good bearer token, and of a user who made too many. */
    readonly authenticate: (request: FastifyRequest) => Promise<User>;
  }
}

/** An `onRequest` hook for routes under `{user_id}`: lets in only a bearer token of that very user. */
export async function requireOwner(request: FastifyRequest): Promise<void> {
  const { sub } = await request.server.authenticate(request);
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
    const { scope } = await request.server.authenticate(request);
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
