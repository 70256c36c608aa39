import { isUtf8 } from "node:buffer";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpError } from "./errors.ts";

/** How deep a body may be nested: some times what any route reads. */
export const deepest = 32;

/** Takes JSON only as RFC 8259 has it between systems, in UTF-8, and refuses what PostgreSQL couldn't keep or programs trip over. */
export function takeJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeContentTypeParser(["application/json", "text/plain"]);
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, bytes: Buffer, done) => {
    const refusal = encodingRefusal(request) ?? (isUtf8(bytes) ? undefined : new HttpError(400, "body: is not UTF-8"));
    if (refusal !== undefined) {
      done(refusal);
      return;
    }
    const text = bytes.toString("utf8");
    const tooDeep = isTooDeep(text);
    if (tooDeep) {
      done(new HttpError(400, `body: is nested more than ${deepest} levels deep`));
      return;
    }
    void parse(request, text, (error, value: unknown) => {
      // UTF-8 itself can't write half a character, JSON's escapes can.
      if (error === null && text.includes("\\u") && !isWellFormed(value)) {
        done(new HttpError(400, "body: has half of a surrogate pair (\\ud800 to \\udfff)"));
      } else {
        done(error, value);
      }
    });
  });
}

/** Why a body is refused before it's read as JSON. */
function encodingRefusal({ headers }: FastifyRequest): HttpError | undefined {
  const { "content-encoding": encoding = "identity", "content-type": type = "" } = headers;
  if (encoding.toLowerCase() !== "identity") {
    return new HttpError(415, "A body may not be compressed (Content-Encoding)");
  }
  const [, charset = "utf-8"] = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(type) ?? [];
  return /^utf-?8$/i.test(charset) ? undefined : new HttpError(415, "A body must be in UTF-8");
}

/** Told before it's parsed, so that it costs next to nothing. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (inString) {
      if (char === backslash) at += 1;
      else if (char === quote) inString = false;
    } else if (char === quote) {
      inString = true;
    } else if (char === bracket || char === brace) {
      depth += 1;
      if (depth > deepest) return true;
    } else if (char === bracket + 2 || char === brace + 2) {
      depth -= 1;
    }
  }
  return false;
}

const quote = 0x22;
const backslash = 0x5c;
/** The closing ones are two further on. */
const bracket = 0x5b;
const brace = 0x7b;

function isWellFormed(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, each]) => key.isWellFormed() && isWellFormed(each));
}
