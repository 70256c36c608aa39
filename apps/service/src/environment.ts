import { daprHttpPort, tokens } from "@event-flow/events";
import { z } from "zod";
import { tracingEnvironment } from "./tracing.ts";

/** The environment does not say what a service needs to know. The message lists every problem, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** A TCP port given as text. */
export function port(fallback: number) {
  const allowed = "must be an integer from 1 to 65535";
  return z
    .string()
    .regex(/^\d{1,5}$/, allowed)
    .transform(Number)
    .pipe(z.number(allowed).min(1, allowed).max(65535, allowed))
    .default(fallback);
}

/** The mechanisms by which services sign in to a broker. */
export function saslMechanism() {
  return z.enum(["SCRAM-SHA-256", "SCRAM-SHA-512"], "must be SCRAM-SHA-256 or SCRAM-SHA-512");
}

/** Marks a variable whose value no error and no log line may show. */
export const secret = { secret: true };

/** What may stand in a header of HTTP: anything else would fail with each call, and not at the start. */
const inHeader = /^[!-~]*$/;

/** A token that is shown where it is asked for. */
function token() {
  return z
    .string()
    .min(1, "must not be empty")
    .regex(inHeader, "must be of ASCII's visible characters")
    .optional()
    .meta(secret);
}

/** A token that services share, by which one knows the other. */
export function sharedToken() {
  return z
    .string("must be a token of at least 32 bytes")
    .refine((value) => Buffer.byteLength(value) >= 32, "must be at least 32 bytes long")
    .regex(inHeader, "must be of ASCII's visible characters")
    .meta(secret);
}

/** A key that signs users' bearer tokens. */
function signingKey() {
  return z
    .string("must be the key, of at least 32 bytes, that signs users' bearer tokens (HS256)")
    .refine((value) => Buffer.byteLength(value) >= 32, "must be at least 32 bytes long")
    .meta(secret);
}

/** The variables that every service reads; `defaultPort` is where it listens unless PORT says otherwise. */
export function serviceEnvironment(defaultPort: number) {
  return {
    PORT: port(defaultPort),
    LOG_LEVEL: z
      .enum(["trace", "debug", "info", "warn", "error", "fatal"], {
        error: "must be trace, debug, info, warn, error or fatal",
      })
      .default("info"),
    JWT_SECRET: signingKey(),
    // Of tokens that were signed before the key was changed.
    JWT_SECRET_PREVIOUS: signingKey().optional().meta(secret),
    JWT_ISSUER: z.string().min(1, "must not be empty").default(tokens.issuer),
    JWT_AUDIENCE: z.string().min(1, "must not be empty").default(tokens.audience),
    RATE_LIMIT_PER_MINUTE: z
      .string()
      .regex(/^[1-9]\d{0,8}$/, "must be an integer from 1 to 999999999")
      .transform(Number)
      .default(600),
    // The injector sets the port; it gives neither token to the service.
    DAPR_HTTP_PORT: port(daprHttpPort),
    DAPR_API_TOKEN: token(),
    /** What the sidecar shows with each call. Without it, everybody could deliver events: no service starts so. */
    APP_API_TOKEN: sharedToken(),
    ...tracingEnvironment(),
  };
}

function describe(name: string, value: string | undefined, isSecret: boolean, allowed: string): string {
  if (value === undefined) {
    return `${name} is not set; it ${allowed}`;
  }
  return isSecret ? `${name} is not valid; it ${allowed}` : `${name} is ${quoted(value)}; it ${allowed}`;
}

/** No message is made longer than this by a value. */
const shownLength = 200;

/** A value as it may stand in a terminal: what isn't ASCII's visible characters by its code, and no more than its beginning. */
function quoted(value: string): string {
  const escaped = (text: string) =>
    text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return value.length <= shownLength
    ? escaped(JSON.stringify(value))
    : `${escaped(JSON.stringify(value.slice(0, shownLength)))}… (${value.length} characters)`;
}

/**
 * Reads and checks all the variables of `shape` at once, so that one failed start shows everything there is to mend.
 * The messages of `shape` complete the sentence "it …".
 */
export function readEnvironment<S extends z.ZodRawShape>(shape: S, environment: NodeJS.ProcessEnv) {
  const result = z.object(shape).safeParse(environment);
  if (result.success) {
    return result.data;
  }
  const secrets = new Set(
    Object.entries(shape)
      .filter(([, schema]) => (schema as z.ZodType).meta()?.["secret"] === true)
      .map(([name]) => name),
  );
  // Of what is wrong with one variable, the first says enough.
  const firsts = new Map(result.error.issues.map(({ path, message }) => [String(path[0]), message] as const).reverse());
  const problems = [...firsts]
    .reverse()
    .map(([name, message]) => describe(name, environment[name], secrets.has(name), message));
  throw new ConfigError(`The environment is not valid:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
}
