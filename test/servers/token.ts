import { createHmac } from "node:crypto";
import { tokens } from "@event-flow/events";
import { jwtSecret } from "./service.ts";

/** What services read of their environment to know tests' users. */
export const users = {
  JWT_SECRET: jwtSecret,
  JWT_ISSUER: tokens.issuer,
  JWT_AUDIENCE: tokens.audience,
  RATE_LIMIT_PER_MINUTE: 600,
};

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}

/** A JSON Web Token (RFC 7519) for the services, signed with HS256. What `claims` has as undefined is left out. */
export function token(claims: object, secret = jwtSecret): string {
  const { issuer: iss, audience: aud } = tokens;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ iss, aud, ...claims })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** The header by which a user shows who he is, for the next ten minutes unless told otherwise. */
export function bearer(userId: string, seconds = 600): { authorization: string } {
  return { authorization: `Bearer ${token({ sub: userId, exp: Math.floor(Date.now() / 1_000) + seconds })}` };
}
