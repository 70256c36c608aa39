import { createPrivateKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, request } from "undici";
import webpush from "web-push";
import { afterAll, beforeAll, expect, test } from "vitest";
import { vapidKeys } from "../../apps/notification-service/src/vapid.ts";
import { startPushService, type PushService, type Subscription } from "./push-service.ts";

const keys = vapidKeys("what the key pair of these tests is made of");
const others = vapidKeys("another");

let pushService: PushService;
let dispatcher: Agent;
let subscription: Subscription;

beforeAll(async () => {
  pushService = await startPushService();
  dispatcher = new Agent({ connect: { ca: readFileSync(pushService.ca) } });
  subscription = pushService.subscribe(keys.publicKey);
});

afterAll(async () => {
  await dispatcher.close();
  await pushService.close();
});

function inSeconds(seconds: number): number {
  return Math.floor(Date.now() / 1_000) + seconds;
}

/** What a service shows, signed by the key of `by`. */
function vapid(claims: object = {}, { by = keys, alg = "ES256", shown = keys.publicKey } = {}): string {
  const all = { aud: pushService.origin, exp: inSeconds(3_600), sub: "mailto:admin@example.com", ...claims };
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const signed = `${encode({ typ: "JWT", alg })}.${encode(all)}`;
  const point = Buffer.from(by.publicKey, "base64url");
  const jwk = {
    ...{ kty: "EC", crv: "P-256", d: by.privateKey },
    ...{ x: point.subarray(1, 33).toString("base64url"), y: point.subarray(33).toString("base64url") },
  };
  const key = createPrivateKey({ key: jwk, format: "jwk" });
  const signature = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }).toString("base64url");
  return `vapid t=${signed}.${signature}, k=${shown}`;
}

interface Changes {
  readonly headers?: Record<string, string | undefined>;
  readonly body?: (body: Buffer) => Buffer;
}

/** Pushes as the service does, save for some changes, and resolves to the status. */
async function push({ headers = {}, body: change = (same) => same }: Changes, text = "{}"): Promise<number> {
  const { json } = subscription;
  const { body, headers: usual } = webpush.generateRequestDetails({ ...json, keys: { ...json.keys } }, text, {
    vapidDetails: { subject: "mailto:admin@example.com", ...keys },
    contentEncoding: "aes128gcm",
  });
  const all = Object.entries<string | number | undefined>({
    ...usual,
    "Content-Length": undefined,
    ...headers,
  }).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as const]));
  const { statusCode, body: answer } = await request(json.endpoint, {
    method: "POST",
    headers: Object.fromEntries(all),
    body: change(body),
    dispatcher,
  });
  await answer.dump();
  return statusCode;
}

test("it takes what follows the standards", async () => {
  expect(await push({}, JSON.stringify({ is: "taken" }))).toBe(201);
  expect(await push({ headers: { Authorization: vapid(), Urgency: "high", Topic: "a-topic" } })).toBe(201);
  expect(subscription.messages()).toEqual([{ is: "taken" }, {}]);
});

test("it takes nothing else", async () => {
  const refused: [string, number, Changes, string?][] = [
    ["no token", 401, { headers: { Authorization: undefined } }],
    ["another scheme", 401, { headers: { Authorization: "Bearer x" } }],
    ["another key", 403, { headers: { Authorization: vapid({}, { by: others, shown: others.publicKey }) } }],
    ["another's signature", 401, { headers: { Authorization: vapid({}, { by: others }) } }],
    ["another algorithm", 401, { headers: { Authorization: vapid({}, { alg: "none" }) } }],
    ["another audience", 401, { headers: { Authorization: vapid({ aud: "https://push.example.com" }) } }],
    ["an expired token", 401, { headers: { Authorization: vapid({ exp: inSeconds(-10) }) } }],
    ["a token for days", 401, { headers: { Authorization: vapid({ exp: inSeconds(2 * 24 * 3_600) }) } }],
    ["no contact", 401, { headers: { Authorization: vapid({ sub: "admin" }) } }],
    ["no TTL", 400, { headers: { TTL: undefined } }],
    ["a TTL that is none", 400, { headers: { TTL: "soon" } }],
    ["an urgency that is none", 400, { headers: { Urgency: "panic" } }],
    ["a topic that is too long", 400, { headers: { Topic: "x".repeat(33) } }],
    ["another encoding", 400, { headers: { "Content-Encoding": "aesgcm" } }],
    ["no encryption", 400, { body: () => randomBytes(200) }],
    ["too much", 413, {}, "x".repeat(4_096)],
  ];
  const answers = [];
  for (const [what, , changes, text] of refused) answers.push([what, await push(changes, text)]);
  expect(answers).toEqual(refused.map(([what, status]) => [what, status]));
  expect(subscription.messages()).toHaveLength(2);
});

test("what waits for a browser is replaced by another of its topic", async () => {
  const before = subscription.waiting();
  for (let nth = 0; nth < 2; nth += 1) expect(await push({ headers: { Topic: "again" } })).toBe(201);
  expect(await push({ headers: { Topic: "another" } })).toBe(201);
  expect(subscription.waiting()).toBe(before + 2);
});
