import { secret } from "@event-flow/service";
import { parse } from "pg-connection-string";
import { z } from "zod";

const databaseUrl = "must be a URL like postgres://user:password@host:5432/database";
const itsOptions =
  "may have no options but sslmode, sslrootcert and the like, with values that there are, and files that can be read";

/** What may be said of a connection in the URL's query. Any other could lead elsewhere than the URL says (`host`, `port`). */
const options = new Set(["sslmode", "sslrootcert", "sslcert", "sslkey", "uselibpqcompat"]);
const sslmodes = new Set(["disable", "prefer", "require", "verify-ca", "verify-full", "no-verify"]);

function hasSoundOptions(value: string): boolean {
  const { searchParams } = new URL(value);
  if ([...searchParams.keys()].some((name) => !options.has(name))) return false;
  const sslmode = searchParams.get("sslmode");
  if (sslmode !== null && !sslmodes.has(sslmode)) return false;
  try {
    // Reads the files, as it will when connecting.
    parse(value);
    return true;
  } catch {
    return false;
  }
}

function isPostgresUrl(value: string): boolean {
  try {
    const url = new URL(value);
    // A percent sign that encodes nothing would fail only when connecting.
    decodeURIComponent(`${url.username}${url.password}${url.pathname}`);
    return ["postgres:", "postgresql:"].includes(url.protocol) && url.hostname !== "" && url.pathname.length > 1;
  } catch {
    return false;
  }
}

/** The environment variables of a service that has a database. */
export const databaseEnvironment = {
  DATABASE_URL: z
    .string(databaseUrl)
    .refine(isPostgresUrl, { error: databaseUrl, abort: true })
    .refine(hasSoundOptions, itsOptions)
    .meta(secret),
  /** How long to wait at the start for a database that is not there yet. */
  DATABASE_START_TIMEOUT_SECONDS: z
    .string()
    .regex(/^\d{1,4}$/, "must be a whole number of seconds, at most 9999")
    .transform(Number)
    .default(60),
};

/** What no log line may show of a database's URL. */
export function databaseSecrets(url: string): string[] {
  return [url, decodeURIComponent(new URL(url).password)];
}
