import { createHmac, randomUUID } from "node:crypto";
import { tokens } from "@event-flow/events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { exchange, firstAnswer } from "../../../test/servers/raw.ts";
import { appApiToken, jwtSecret, startService, type Service } from "../../../test/servers/service.ts";
import { bearer, token, users } from "../../../test/servers/token.ts";
import { createApp, requireOwner } from "../src/index.ts";

const user = randomUUID();
const now = Math.floor(Date.now() / 1_000);
const claims = { iss: tokens.issuer, aud: tokens.audience, sub: user, exp: now + 600 };

async function start(env: Record<string, string> = {}): Promise<Service> {
  return startService("service", await freePort(), { SECRET: "a secret", ...env }, { entry: "test/failing-server.ts" });
}

function encode(part: unknown): string {
  return Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
}

/** A token of which everything can be wrong. */
function forge({
  header = { alg: "HS256", typ: "JWT" },
  payload = claims,
  hash = "sha256",
  key = jwtSecret,
}: { header?: unknown; payload?: unknown; hash?: string; key?: string } = {}): string {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${createHmac(hash, key).update(text).digest("base64url")}`;
}

function unsigned(alg: string): string {
  return `${encode({ alg })}.${encode(claims)}.`;
}

let service: Service;

beforeAll(async () => {
  service = await start();
});

afterAll(async () => {
  await service.stop();
});

function ask(authorization: string, to = service, owner = user) {
  return call("GET", `${to.url}/of/${owner}`, { headers: { authorization } });
}

test.each([
  ["as it should be", {}],
  ["that is for others as well", { payload: { ...claims, aud: ["others", tokens.audience] } }],
  // The key is ours to choose, whatever a token says of it.
  ["that names a key", { header: { alg: "HS256", kid: "../../dev/null", jku: "https://attacker.example/keys" } }],
])("a token is taken %s", async (_what, forgery) => {
  const { status, body } = await ask(`Bearer ${forge(forgery)}`);
  expect([status, body]).toEqual([200, { user_id: user }]);
});

test("a token is taken that has just expired by another clock", async () => {
  const exp = Math.floor(Date.now() / 1_000) - 1;
  expect((await ask(`Bearer ${forge({ payload: { ...claims, exp } })}`)).status).toBe(200);
});

const own = "attacker's own key, long enough as it is";

test.each([
  ["unsigned", unsigned("none")],
  ["unsigned, in other letters", unsigned("nOnE")],
  ["unsigned in name only", forge({ header: { alg: "none" } })],
  ["without its signature", forge().replace(/[^.]*$/, "")],
  ["with a part too few", forge().split(".").slice(0, 2).join(".")],
  ["with a part too many", `${forge()}.${encode("{}")}`],
  ["of another key", forge({ key: own })],
  ["of an empty key", forge({ key: "", header: { alg: "HS256", kid: "/dev/null" } })],
  ["of a key that it brings along", forge({ key: own, header: { alg: "HS256", jwk: { kty: "oct", k: encode(own) } } })],
  ["of another algorithm", forge({ header: { alg: "HS512" }, hash: "sha512" })],
  ["of another algorithm in name only", forge({ header: { alg: "RS256" } })],
  ["of several algorithms", forge({ header: { alg: ["HS256"] } })],
  ["of no algorithm", forge({ header: { typ: "JWT" } })],
  ["with an extension that must be understood", forge({ header: { alg: "HS256", crit: ["b64"], b64: false } })],
  ["of another issuer", forge({ payload: { ...claims, iss: "https://attacker.example" } })],
  ["of no issuer", forge({ payload: { ...claims, iss: undefined } })],
  ["for another audience", forge({ payload: { ...claims, aud: `${tokens.audience}-staging` } })],
  ["for no audience", forge({ payload: { ...claims, aud: undefined } })],
  ["for an empty list of audiences", forge({ payload: { ...claims, aud: [] } })],
  ["that expired", forge({ payload: { ...claims, exp: now - 60 } })],
  ["that never expires", forge({ payload: { ...claims, exp: undefined } })],
  ["that expires after 31 days", forge({ payload: { ...claims, exp: now + 32 * 24 * 3_600 } })],
  ["that expires at the end of time", forge({ payload: JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e400') })],
  ["that expired before the beginning of time", forge({ payload: { ...claims, exp: -1e300 } })],
  ["whose end is a text", forge({ payload: { ...claims, exp: String(now + 600) } })],
  ["that isn't valid yet", forge({ payload: { ...claims, nbf: now + 60 } })],
  ["of nobody", forge({ payload: { ...claims, sub: undefined } })],
  ["of an empty name", forge({ payload: { ...claims, sub: "" } })],
  ["of a number", forge({ payload: { ...claims, sub: 1 } })],
  ["of a list of users", forge({ payload: { ...claims, sub: [user] } })],
  ["of an object", forge({ payload: { ...claims, sub: { toString: user } } })],
  ["whose claims are a list", forge({ payload: [claims] })],
  ["whose claims are no JSON", forge({ payload: "{" })],
  ["whose header is no JSON", forge({ header: "{" })],
  ["whose header is null", forge({ header: "null" })],
  ["that is 10 KiB of nothing", "a".repeat(10 * 1024)],
  ["that is 10 KiB of dots", ".".repeat(10 * 1024)],
])("no token is taken %s", async (_what, forged) => {
  const { status, headers, body } = await ask(`Bearer ${forged}`);
  expect([status, headers.get("www-authenticate"), body]).toEqual([
    401,
    "Bearer",
    { statusCode: 401, error: "Unauthorized", message: "A valid bearer token is required" },
  ]);
});

test.each([
  ["of another scheme", `Basic ${forge()}`],
  ["without a scheme", forge()],
  ["twice", `Bearer ${forge()}, Bearer ${forge()}`],
  ["with something behind it", `Bearer ${forge()} ${forge()}`],
  ["with Unicode in it", `Bearer ${forge()}\u00e9`],
])("no header is taken %s", async (_what, authorization) => {
  expect((await ask(authorization)).status).toBe(401);
});

test("the scheme is taken in any letters", async () => {
  expect((await ask(`bearer ${forge()}`)).status).toBe(200);
});

test("a token is taken from the header only", async () => {
  const url = `${service.url}/of/${user}`;
  const answers = [
    await call("GET", `${url}?access_token=${forge()}&token=${forge()}`),
    await call("GET", url, { headers: { cookie: `token=${forge()}` } }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([401, 401]);
});

test("of two headers the first counts, so that a second one gets nobody further", async () => {
  const other = randomUUID();
  const send = (...users: string[]) =>
    exchange(service.url, (socket) => {
      const shown = users.map((each) => `Authorization: ${bearer(each).authorization}\r\n`).join("");
      socket.write(`GET /of/${user} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${shown}\r\n`);
    });
  const answers = [await send(user, other), await send(other, user)].map((each) => firstAnswer(each).status);
  expect(answers).toEqual([200, 403]);
});

test("another user's token is good for nothing here", async () => {
  const { status, body } = await ask(bearer(user).authorization, service, randomUUID());
  expect([status, body]).toEqual([
    403,
    { statusCode: 403, error: "Forbidden", message: "The bearer token is another user's" },
  ]);
});

describe("a key is changed", () => {
  const oldKey = "the key before, which is 32 bytes long at least";
  const newKey = "the key from now on, also of 32 bytes at least";
  const shown = async (env: Record<string, string>) => {
    const rotated = await start(env);
    try {
      const keys = [newKey, oldKey, jwtSecret];
      return await Promise.all(
        keys.map(async (key) => (await ask(`Bearer ${token({ sub: user, exp: now + 600 }, key)}`, rotated)).status),
      );
    } finally {
      await rotated.stop();
    }
  };

  test("tokens of the key before are good until it's dropped", async () => {
    expect(await shown({ JWT_SECRET: newKey, JWT_SECRET_PREVIOUS: oldKey })).toEqual([200, 200, 401]);
    expect(await shown({ JWT_SECRET: newKey })).toEqual([200, 401, 401]);
  });

  test("the key before is held to the same rules", async () => {
    const rotated = await start({ JWT_SECRET: newKey, JWT_SECRET_PREVIOUS: oldKey });
    try {
      const payloads = [
        { ...claims, exp: now - 60 },
        { ...claims, iss: "others" },
        { ...claims, aud: "others" },
      ];
      const answers = await Promise.all(
        payloads.map(async (payload) => (await ask(`Bearer ${forge({ payload, key: oldKey })}`, rotated)).status),
      );
      expect(answers).toEqual([401, 401, 401]);
      expect(rotated.output()).not.toContain(oldKey);
    } finally {
      await rotated.stop();
    }
  });
});

test("issuer and audience are what the environment says", async () => {
  const other = await start({ JWT_ISSUER: "https://issuer.example", JWT_AUDIENCE: "tasks" });
  try {
    const payload = { ...claims, iss: "https://issuer.example", aud: "tasks" };
    const answers = [await ask(`Bearer ${forge({ payload })}`, other), await ask(`Bearer ${forge()}`, other)];
    expect(answers.map(({ status }) => status)).toEqual([200, 401]);
  } finally {
    await other.stop();
  }
});

describe("a user's requests are counted", () => {
  const limit = 5;
  let limited: Service;

  beforeAll(async () => {
    limited = await start({ RATE_LIMIT_PER_MINUTE: String(limit) });
  });

  afterAll(async () => {
    await limited.stop();
  });

  test("too many are refused, and told when to come again", async () => {
    const busy = randomUUID();
    const statuses: number[] = [];
    for (let nth = 0; nth < limit; nth += 1) {
      // Each token of his counts, and so does what he isn't let in for.
      const path = nth === 0 ? randomUUID() : busy;
      statuses.push((await ask(bearer(busy, 60 + nth).authorization, limited, path)).status);
    }
    expect(statuses).toEqual([403, 200, 200, 200, 200]);
    const refused = await ask(bearer(busy.toUpperCase()).authorization, limited, busy);
    expect([refused.status, refused.body]).toEqual([
      429,
      { statusCode: 429, error: "Too Many Requests", message: `A user may make ${limit} requests a minute` },
    ]);
    const seconds = Number(refused.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(50);
    expect(seconds).toBeLessThanOrEqual(60);
    expect((await ask(bearer(user).authorization, limited)).status).toBe(200);
  });

  test("a minute later he may go on, also where the clock was set back", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const app = await createApp({
      ...{ title: "", description: "", logLevel: "silent", appApiToken, secrets: [], readiness: {} },
      users: { ...users, RATE_LIMIT_PER_MINUTE: 1 },
    });
    try {
      app.get("/of/:user_id", { onRequest: requireOwner }, () => ({}));
      const headers = bearer(user, 7_200);
      const get = async () => (await app.inject({ url: `/of/${user}`, headers })).statusCode;
      const before = [await get(), await get()];
      vi.advanceTimersByTime(60_000);
      vi.setSystemTime(Date.now() - 3_600_000);
      expect([...before, await get(), await get()]).toEqual([200, 429, 200, 429]);
    } finally {
      vi.useRealTimers();
      await app.close();
    }
  });

  test("nobody uses up another's by forged tokens", async () => {
    const victim = randomUUID();
    for (let nth = 0; nth < 2 * limit; nth += 1) {
      const forged = token({ sub: victim, exp: now + 600 }, own);
      expect((await ask(`Bearer ${forged}`, limited, victim)).status).toBe(401);
    }
    expect((await ask(bearer(victim).authorization, limited, victim)).status).toBe(200);
  });

  test("probes are not counted", async () => {
    const statuses = [];
    for (let nth = 0; nth < 2 * limit; nth += 1) statuses.push((await call("GET", `${limited.url}/health`)).status);
    expect(new Set(statuses)).toEqual(new Set([200]));
  });
});
