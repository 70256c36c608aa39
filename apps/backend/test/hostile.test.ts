import { randomUUID } from "node:crypto";
import { services } from "@event-flow/events";
import fc from "fast-check";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase } from "../../../test/servers/postgres.ts";
import { exchange } from "../../../test/servers/raw.ts";
import { type Service, startService } from "../../../test/servers/service.ts";
import { bearer } from "../../../test/servers/token.ts";

const { postgresPort } = inject("servers");
const user = randomUUID();
let backend: Service;

beforeAll(async () => {
  const DATABASE_URL = await createDatabase(postgresPort, "tasks_hostile");
  backend = await startService(services.backend.name, await freePort(), { DATABASE_URL });
});

afterAll(async () => {
  expect(await backend.stop()).toBe(0);
});

function tasks(path = "", options: Parameters<typeof call>[2] = {}, method = "GET") {
  return call<Record<string, unknown>>(method, `${backend.url}/api/${user}/tasks${path}`, { user, ...options });
}

test.each([
  ["0", 400],
  ["-1", 400],
  ["1.5", 400],
  ["1e3", 400],
  ["1e400", 400],
  ["0x1", 400],
  ["+1", 400],
  ["01", 400],
  ["%201", 400],
  ["1%00", 400],
  ["%F0%9F%98%80", 400],
  ["NaN", 400],
  ["Infinity", 400],
  ["null", 400],
  ["1;drop table tasks", 400],
  ["2147483647", 404],
  ["2147483648", 404],
  [String(Number.MAX_SAFE_INTEGER), 404],
  [String(2 ** 53), 400],
  ["99999999999999999999", 400],
  ["1".repeat(5_000), 400],
])("there is no task %s", async (id, status) => {
  expect((await tasks(`/${id}`)).status).toBe(status);
});

test.each([
  ["?limit=0", 400],
  ["?limit=101", 400],
  ["?limit=", 400],
  ["?limit=1e1", 400],
  ["?limit=1&limit=2", 400],
  ["?limit[a]=1", 400],
  ["?after=-1", 400],
  ["?after=%00", 400],
  [`?after=${Number.MAX_SAFE_INTEGER}`, 200],
  ["?completed=yes", 400],
  ["?__proto__=1", 400],
  ["?a=1", 400],
])("of tasks%s the answer is %i", async (query, status) => {
  expect((await tasks(query)).status).toBe(status);
});

test.each([
  ["beyond the first 65,536 characters", "😀".repeat(200)],
  ["from right to left, with marks", "\u202eabc\u200f e\u0301"],
  ["of control characters", "a\u0001b\u001f\u007f"],
  ["of SQL", "'; drop table tasks; --"],
  ["of HTML", "<script>alert(1)</script>"],
  ["of what isn't a character", "a\ufffe\uffff"],
])("text is kept and given back %s", async (_what, title) => {
  const description = title.repeat(2);
  const { status, body } = await tasks("", { body: { title, description } }, "POST");
  expect([status, body["title"], body["description"]]).toEqual([201, title, description]);
  const read = await tasks(`/${String(body["id"])}`);
  expect([read.body["title"], read.body["description"]]).toEqual([title, description]);
});

test.each([
  ["a NUL", { title: "a\0b" }],
  ["a NUL further on", { title: "a", description: "\0" }],
  ["half of a character", { title: "a\ud800" }],
  ["one character too many", { title: "😀".repeat(201) }],
  ["nothing but blanks", { title: "\u00a0\u2003 \t" }],
  ["a priority beyond all numbers", { title: "a", priority_id: 1e300 }],
  ["a due date that is none", { title: "a", due_date: "2027-02-30T00:00:00Z" }],
])("no task is made with %s", async (_what, body) => {
  const answer = await tasks("", { body }, "POST");
  expect([answer.status, answer.body["statusCode"]]).toEqual([400, 400]);
});

test("a due date is kept whatever its offset", async () => {
  const { status, body } = await tasks("", { body: { title: "a", due_date: "2030-06-01T00:00:00-21:31" } }, "POST");
  expect([status, body["due_date"]]).toEqual([201, "2030-06-01T21:31:00.000Z"]);
});

/** Something like HTTP, of which any part may be anything. */
function requests(): fc.Arbitrary<Uint8Array> {
  const word = fc.string({ maxLength: 40, unit: "binary" });
  const path = fc.oneof(word, fc.constantFrom("/health", `/api/${user}/tasks`, "/docs/json", "*", "http://a/health"));
  const header = fc.oneof(
    fc.tuple(word, word).map(([name, value]) => `${name}: ${value}`),
    fc.constantFrom(
      "Host: a",
      "Content-Length: 5",
      "Content-Length: -1",
      "Transfer-Encoding: chunked",
      "Connection: upgrade",
      "Upgrade: h2c",
      "Expect: 100-continue",
      "Content-Type: application/json",
      `Authorization: ${bearer(user).authorization}`,
    ),
  );
  const end = fc.constantFrom("\r\n", "\n", "\r", "");
  const request = fc
    .record({
      method: fc.oneof(word, fc.constantFrom("GET", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PRI", "QUERY")),
      path,
      version: fc.oneof(word, fc.constantFrom("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9")),
      headers: fc.array(header, { maxLength: 8 }),
      end,
      body: fc.oneof(word, fc.constantFrom("{}", '{"title":"a"}', "5\r\n{}   \r\n0\r\n\r\n")),
    })
    .map(({ method, path, version, headers, end, body }) =>
      Buffer.from([`${method} ${path} ${version}`, ...headers, "", body].join(end)),
    );
  return fc.oneof({ weight: 3, arbitrary: request }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 2_000 }) });
}

test("whatever comes on a connection, the backend answers it in one shape or not at all, and goes on", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(requests(), { minLength: 1, maxLength: 3 }), async (texts) => {
      const { received } = await exchange(backend.url, (socket) => {
        for (const text of texts) socket.write(text);
        socket.end();
      });
      for (const [, status] of received.matchAll(/^HTTP\/1\.1 (\d{3})/gm)) {
        expect(Number(status), received).toBeLessThan(500);
      }
    }),
    { numRuns: 400, seed: 1 },
  );
  expect((await call("GET", `${backend.url}/health`)).body).toEqual({ status: "healthy" });
  expect((await tasks()).status).toBe(200);
  expect(backend.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
