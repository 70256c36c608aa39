import { createHmac } from "node:crypto";
import { jwtSecret } from "./service.ts";

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}

/** A JSON Web Token (RFC 7519) signed with HS256. */
export function token(claims: object, secret = jwtSecret): string {
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** The header by which a user shows who he is, for the next ten minutes unless told otherwise. */
export function bearer(userId: string, seconds = 600): { authorization: string } {
  return { authorization: `Bearer ${token({ sub: userId, exp: Math.floor(Date.now() / 1_000) + seconds })}` };
}
