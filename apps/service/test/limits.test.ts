import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { dribble, exchange, firstAnswer } from "../../../test/servers/raw.ts";
import { startService, type Service } from "../../../test/servers/service.ts";

const limits = { headersMs: 600, requestMs: 1_200, stillMs: 1_500, keepAliveMs: 3_000 };

let service: Service;
/** One that waits for its clients for less long. */
let impatient: Service;

function start(env: Record<string, string> = {}): Promise<Service> {
  return freePort().then((port) =>
    startService("service", port, { SECRET: "a secret", ...env }, { entry: "test/failing-server.ts" }),
  );
}

beforeAll(async () => {
  [service, impatient] = await Promise.all([start(), start({ LIMITS: JSON.stringify(limits) })]);
});

afterAll(async () => {
  await Promise.all([service.stop(), impatient.stop()]);
});

const names: Readonly<Record<number, string>> = {
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Payload Too Large",
  415: "Unsupported Media Type",
  431: "Request Header Fields Too Large",
};

/** What every error looks like. */
function errorOf(status: number, message: unknown = expect.any(String)): object {
  return { status, body: { statusCode: status, error: names[status], message } };
}

describe("a body", () => {
  async function post(
    body: string | Buffer,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: unknown }> {
    const sent = { "content-type": "application/json", ...headers };
    const response = await fetch(`${service.url}/echo`, { method: "POST", headers: sent, body });
    return { status: response.status, body: await response.json() };
  }
  const named = (json: string) => `{"name":${json}}`;

  test.each([
    ["of 64 KiB", named(`"${"a".repeat(64 * 1024 - 11)}"`), "a".repeat(64 * 1024 - 11)],
    ["of characters beyond the first 65,536", named('"😀"'), "😀"],
    ["of such in JSON's escapes", named('"\\ud83d\\ude00"'), "😀"],
    ["of many brackets that nest nothing", named(`"${"[".repeat(1_000)}\\"${"{".repeat(1_000)}"`), undefined],
  ])("is taken %s", async (_what, body, name) => {
    const answer = await post(body);
    expect(answer.status).toBe(200);
    if (name !== undefined) expect(answer.body).toEqual({ name });
  });

  test.each<[string, string | Buffer, Record<string, string>, number, string]>([
    ["that is too large", named(`"${"a".repeat(64 * 1024)}"`), {}, 413, "Request body is too large"],
    ["that is nested too deep", "[".repeat(33) + "]".repeat(33), {}, 400, "body: is nested more than 32 levels deep"],
    ["that is nothing but depth", '{"a":['.repeat(10_000), {}, 400, "body: is nested more than 32 levels deep"],
    ["that meddles with prototypes", '{"name":"a","__proto__":{"b":1}}', {}, 400, "not valid JSON"],
    ["that meddles with constructors", '{"name":"a","constructor":{"prototype":{"b":1}}}', {}, 400, "not valid JSON"],
    ["that is none, though announced", "", {}, 400, "Body cannot be empty"],
    ["that is broken off", '{"name":"a', {}, 400, "not valid JSON"],
    ["that is compressed", named('"a"'), { "content-encoding": "gzip" }, 415, "compressed"],
    [
      "in UTF-16",
      Buffer.from(named('"a"'), "utf16le"),
      { "content-type": "application/json; charset=utf-16" },
      415,
      "UTF-8",
    ],
    [
      "in Latin-1",
      Buffer.from(named('"ä"'), "latin1"),
      { "content-type": 'application/json;Charset="latin1"' },
      415,
      "UTF-8",
    ],
    ["that isn't UTF-8", Buffer.from(named('"ä"'), "latin1"), {}, 400, "body: is not UTF-8"],
    [
      "that writes a character in too many bytes",
      Buffer.from([...Buffer.from('{"name":"'), 0xc0, 0xaf, 0x22, 0x7d]),
      {},
      400,
      "body: is not UTF-8",
    ],
    ["with half a surrogate pair", named('"\\ud800"'), {}, 400, "surrogate"],
    ["with the other half", named('"a\\udc00"'), {}, 400, "surrogate"],
    ["with half a pair in a name", '{"\\ud800":1,"name":"a"}', {}, 400, "surrogate"],
    ["of no JSON", "name=a", { "content-type": "application/x-www-form-urlencoded" }, 415, "Unsupported Media Type"],
    ["of text", "a", { "content-type": "text/plain" }, 415, "Unsupported Media Type"],
  ])("is refused %s", async (_what, body, headers, status, message) => {
    expect(await post(body, headers)).toEqual(errorOf(status, expect.stringContaining(message)));
  });

  test("is refused that is too large and doesn't say so", async () => {
    const answer = await exchange(service.url, (socket) => {
      socket.write(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
      );
      for (let nth = 0; nth < 9; nth += 1) socket.write(`2000\r\n${"a".repeat(8_192)}\r\n`);
    });
    expect(firstAnswer(answer)).toEqual(errorOf(413, "Request body is too large"));
    expect(answer.closed).toBe(true);
  });
});

describe("a request that is none of ours", () => {
  test.each<[string, string, number, string]>([
    ["no HTTP", "HELO mail.example\r\n\r\n", 400, "The request is no HTTP"],
    ["a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "The request is no HTTP"],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "The request is no HTTP"],
    [
      "with two lengths",
      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      400,
      "The request is no HTTP",
    ],
    [
      "with a length and chunks",
      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
      "The request is no HTTP",
    ],
    ["with a NUL in a header", "GET /health HTTP/1.1\r\nHost: a\r\nX-A: a\0b\r\n\r\n", 400, "The request is no HTTP"],
    [
      "with a folded header",
      "GET /health HTTP/1.1\r\nHost: a\r\nX-A: a\r\n b: c\r\n : d\r\n\r\n",
      400,
      "The request is no HTTP",
    ],
    [
      "with a header that is too long",
      `GET /health HTTP/1.1\r\nHost: a\r\nX-A: ${"a".repeat(17 * 1024)}\r\n\r\n`,
      431,
      "The request line and the headers may have 16 KiB together",
    ],
    [
      "with a path that is too long",
      `GET /${"a".repeat(17 * 1024)} HTTP/1.1\r\nHost: a\r\n\r\n`,
      431,
      "The request line and the headers may have 16 KiB together",
    ],
    [
      "with a flood of headers",
      `GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${"A: b\r\n".repeat(200)}\r\n`,
      431,
      "A request may have 100 headers",
    ],
    [
      "with a path that is none",
      "GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      400,
      "'/%zz' is not a valid url component",
    ],
  ])("%s", async (_what, text, status, message) => {
    const answer = await exchange(service.url, (socket) => void socket.write(text, "latin1"));
    expect(firstAnswer(answer)).toEqual(errorOf(status, message));
    expect(answer.closed).toBe(true);
  });

  test("is told which methods there are, before its body is read", async () => {
    const { status, headers, body } = await call("PUT", `${service.url}/echo?a=1`, {
      headers: { "content-type": "a/b" },
    });
    expect({ status, body }).toEqual(errorOf(405, "/echo knows no PUT"));
    expect(headers.get("allow")).toBe("POST");
    const nowhere = await call("POST", `${service.url}/nowhere`, { body: {}, headers: { "content-type": "a/b" } });
    expect({ status: nowhere.status, body: nowhere.body }).toEqual(errorOf(404, "There is no route POST /nowhere"));
  });
});

describe("a client that is slow", () => {
  test.each<[string, (socket: Socket) => Promise<void>]>([
    ["with its headers", (socket) => dribble(socket, `GET /health HTTP/1.1\r\nX-A: ${"a".repeat(200)}`, 50)],
    [
      "with its body",
      (socket) =>
        dribble(
          socket,
          "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n",
          1,
        ).then(() => dribble(socket, "a".repeat(200), 50)),
    ],
  ])("%s is told so and cut off", async (_how, speak) => {
    const begun = performance.now();
    const answer = await exchange(impatient.url, speak);
    expect(firstAnswer(answer)).toEqual(errorOf(408, "The request didn't come in time"));
    expect(answer.closed).toBe(true);
    expect(performance.now() - begun).toBeLessThan(8_000);
  });

  test("to say anything is cut off", async () => {
    expect((await exchange(impatient.url, () => undefined)).closed).toBe(true);
  });

  test("to read is cut off, and what it was sent is not kept", async () => {
    const socket = connect(Number(new URL(impatient.url).port), "127.0.0.1");
    socket.on("error", () => undefined);
    try {
      await once(socket, "connect");
      socket.pause();
      socket.write("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
      await impatient.logged("the end of the stream", ({ msg }) => msg === "The stream is closed");
    } finally {
      socket.destroy();
    }
  });

  test("holds no other up", async () => {
    const slow = Array.from({ length: 200 }, () => connect(Number(new URL(service.url).port), "127.0.0.1"));
    try {
      await Promise.all(slow.map((socket) => once(socket, "connect")));
      for (const socket of slow) socket.write("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
      expect((await call("GET", `${service.url}/health`)).status).toBe(200);
    } finally {
      for (const socket of slow) socket.destroy();
    }
  });
});

test("an answer says what it is, and isn't kept anywhere", async () => {
  const { headers } = await call("GET", `${service.url}/health`);
  const shown = ["x-content-type-options", "cache-control", "access-control-allow-origin", "server", "x-powered-by"];
  expect(shown.map((name) => headers.get(name))).toEqual(["nosniff", "no-store", null, null, null]);
  const docs = await fetch(`${service.url}/docs/`);
  expect(docs.headers.get("content-security-policy")).toContain("default-src 'self'");
});
