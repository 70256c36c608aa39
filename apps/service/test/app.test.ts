import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { jwtSecret, startService, type Service } from "../../../test/servers/service.ts";
import { bearer, token } from "../../../test/servers/token.ts";

const secret = 'postgres://user:a"b\\c-hunter2@db/tasks';
const user = randomUUID();
const soon = Math.floor(Date.now() / 1_000) + 60;
let service: Service;

async function start(): Promise<Service> {
  return startService("service", await freePort(), { SECRET: secret }, { entry: "test/failing-server.ts" });
}

beforeAll(async () => {
  service = await start();
});

afterAll(async () => {
  await service.stop();
});

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}

function signed(header: object, hash: string): string {
  const text = `${encode(header)}.${encode({ sub: user, exp: soon })}`;
  return `${text}.${createHmac(hash, jwtSecret).update(text).digest("base64url")}`;
}

test.each<[string, Record<string, string>]>([
  ["none", {}],
  ["no bearer", { authorization: "Basic dXNlcjpwYXNz" }],
  ["an empty one", { authorization: "Bearer " }],
  ["no JWT", { authorization: "Bearer abc" }],
  ["an expired one", { authorization: `Bearer ${token({ sub: user, exp: soon - 120 })}` }],
  ["one that never expires", { authorization: `Bearer ${token({ sub: user })}` }],
  ["one of nobody", { authorization: `Bearer ${token({ exp: soon })}` }],
  ["one that is not valid yet", { authorization: `Bearer ${token({ sub: user, exp: soon, nbf: soon - 1 })}` }],
  ["another key's", { authorization: `Bearer ${token({ sub: user, exp: soon }, "x".repeat(32))}` }],
  ["another algorithm's", { authorization: `Bearer ${signed({ alg: "HS512", typ: "JWT" }, "sha512")}` }],
  ["an unsigned one", { authorization: `Bearer ${encode({ alg: "none" })}.${encode({ sub: user, exp: soon })}.` }],
])("the bearer token may not be %s", async (_what, headers) => {
  const answer = await call("GET", `${service.url}/of/${user}`, { headers });
  expect(answer.body).toEqual({
    statusCode: 401,
    error: "Unauthorized",
    message: "A valid bearer token is required",
  });
  expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
});

test("the bearer token has to be that user's", async () => {
  const own = await call("GET", `${service.url}/of/${user.toUpperCase()}`, { user });
  expect([own.status, own.body]).toEqual([200, { user_id: user }]);
  const another = await call("GET", `${service.url}/of/${randomUUID()}`, { headers: bearer(user) });
  expect(another.body).toEqual({ statusCode: 403, error: "Forbidden", message: "The bearer token is another user's" });
});

test.each([
  ["/known", { statusCode: 503, error: "Service Unavailable", message: "Come back later" }],
  [
    "/dapr",
    {
      statusCode: 503,
      error: "Service Unavailable",
      message: "A backing service cannot be reached; try again later",
    },
  ],
  ["/unknown", { statusCode: 500, error: "Internal Server Error", message: "Something went wrong inside" }],
  ["/nowhere?a=1", { statusCode: 404, error: "Not Found", message: "There is no route GET /nowhere" }],
])("GET %s answers in the one shape of errors", async (path, body) => {
  const answer = await call("GET", `${service.url}${path}`);
  expect([answer.status, answer.body]).toEqual([body.statusCode, body]);
});

test("a malformed request is answered with the fields that are wrong", async () => {
  const answer = await call("POST", `${service.url}/echo`, { body: { name: "", nickname: "a" } });
  expect(answer.body).toEqual({
    statusCode: 400,
    error: "Bad Request",
    message: 'body/name: Too small: expected string to have >=1 characters; body: Unrecognized key: "nickname"',
    details: [
      { field: "body/name", message: "Too small: expected string to have >=1 characters" },
      { field: "body", message: 'Unrecognized key: "nickname"' },
    ],
  });
  const noJson = await call("POST", `${service.url}/echo`, { headers: { "content-type": "text/csv" } });
  expect(noJson.body).toMatchObject({ statusCode: 415, error: "Unsupported Media Type" });
});

test("a request continues its caller's trace, or begins one", async () => {
  const trace = "0af7651916cd43dd8448eb211c80319c";
  const traced = async (traceparent?: string) => {
    const headers = traceparent === undefined ? {} : { traceparent };
    return (await call<{ traceparent: string }>("GET", `${service.url}/trace`, { headers })).body.traceparent;
  };
  const continued = await traced(`00-${trace}-b7ad6b7169203331-00`);
  expect(continued).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`));
  expect(continued).not.toContain("b7ad6b7169203331");
  await service.logged("the trace", (line) => line.msg === "traced" && line["traceparent"] === continued);
  for (const none of [undefined, "", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, `ff-${trace}-b7ad6b7169203331-01`]) {
    const begun = await traced(none);
    expect(begun).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(begun).not.toContain(trace);
  }
});

test("the documentation says which body may be left out", async () => {
  const { body } = await call<{ paths: Record<string, { post: { requestBody: { required: boolean } } }> }>(
    "GET",
    `${service.url}/docs/json`,
  );
  const required = ["/optional", "/echo"].map((path) => body.paths[path]?.post.requestBody.required);
  expect(required).toEqual([false, true]);
});

test("readiness names what is not ready, liveness does not care", async () => {
  expect((await call("GET", `${service.url}/ready`)).body).toEqual({ status: "ready", seconds: 2 });
  await call("GET", `${service.url}/break`);
  const broken = await call("GET", `${service.url}/ready`);
  expect(broken.body).toEqual({ statusCode: 503, error: "Service Unavailable", message: "Not ready: first" });
  expect((await call("GET", `${service.url}/health`)).body).toEqual({ status: "healthy" });
  await service.logged("why", (line) => JSON.stringify(line).includes("the first is broken"));
});

test("an unexpected error stops the service, and no line of its log shows a secret", async () => {
  const crashing = await start();
  await call("GET", `${crashing.url}/unknown`);
  await call("GET", `${crashing.url}/known`);
  await call("GET", `${crashing.url}/crash`);
  const line = await crashing.logged("why it stops", ({ level }) => level === 60);
  expect(line).toMatchObject({
    msg: "Stopping after an unexpected error",
    err: { message: "[redacted] is not what was expected" },
  });
  expect(await crashing.stop()).toBe(1);
  expect(crashing.output()).toContain("connecting to [redacted] was not possible");
  for (const shown of ["hunter2", jwtSecret]) {
    expect(crashing.output()).not.toContain(shown);
  }
});

test("a service that stops doesn't wait for connections that were opened for later", async () => {
  const stopping = await start();
  const socket = connect(Number(new URL(stopping.url).port), "127.0.0.1");
  try {
    await once(socket, "connect");
    // The service has taken it up once it answers on another.
    await call("GET", `${stopping.url}/health`);
    const closed = once(socket, "close");
    socket.resume();
    expect(await stopping.stop()).toBe(0);
    await closed;
  } finally {
    socket.destroy();
  }
});

test("a service that stops answers on connections that it has, and closes each with the answer", async () => {
  const stopping = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async () => {
    const [answer] = (await once(get(`${stopping.url}/health`, { agent }), "response")) as [IncomingMessage];
    answer.resume();
    await once(answer, "end");
    return { status: answer.statusCode, connection: answer.headers.connection };
  };
  expect(await ask()).toEqual({ status: 200, connection: "keep-alive" });
  const stopped = stopping.stop();
  for (;;) {
    const { status, connection } = await ask();
    expect(status).toBe(200);
    if (connection === "close") break;
  }
  expect(await stopped).toBe(0);
  agent.destroy();
});

test("a service that is killed leaves every line in its log that it wrote before", async () => {
  const killed = await start();
  await expect(call("GET", `${killed.url}/killed`)).rejects.toThrow("fetch failed");
  await killed.stop();
  const lines = killed.log.filter(({ msg }) => msg === "Done before the end").map((line) => line["line"]);
  expect(lines).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});
