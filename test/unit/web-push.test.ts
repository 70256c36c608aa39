import { createECDH } from "node:crypto";
import { describe, expect, test } from "vitest";
import { PushEndpoints } from "../../apps/notification-service/src/push-endpoints.ts";
import { Refused } from "../../apps/notification-service/src/channel.ts";
import { pushChannel, subscriptionId } from "../../apps/notification-service/src/push.ts";
import { vapidKeys } from "../../apps/notification-service/src/vapid.ts";
import { readConfig } from "../../apps/notification-service/src/config.ts";

describe("the key pair for web push", () => {
  test("is always the same for a secret, another for another, and one of P-256", () => {
    const [first, again, other] = ["a", "a", "b"].map((letter) => vapidKeys(letter.repeat(64)));
    expect(again).toEqual(first);
    expect(other?.publicKey).not.toBe(first?.publicKey);
    const ecdh = createECDH("prime256v1");
    ecdh.setPrivateKey(first?.privateKey ?? "", "base64url");
    expect(ecdh.getPublicKey("base64url")).toBe(first?.publicKey);
    expect(Buffer.from(first?.publicKey ?? "", "base64url")).toHaveLength(65);
    // Browsers stay subscribed as long as it is.
    expect(first?.publicKey).toBe(
      "BIphDedPjri5bYBHbp3T-oFpRGjwBmFaryUhvOpRvsaDuovOh9u2ffEamVz9RqpuUY3U2ukhiURpLEqkhjredvM",
    );
  });

  test("has as many bytes whatever the secret", () => {
    for (let each = 0; each < 600; each += 1) {
      const { publicKey, privateKey } = vapidKeys(`secret ${each}`);
      expect([publicKey.length, privateKey.length]).toEqual([87, 43]);
    }
  });
});

describe("a push service", () => {
  const endpoints = new PushEndpoints(["https://127.0.0.1:8443"]);

  test.each([
    ["http://push.example.com/", "it must begin with https://"],
    ["https://user@push.example.com/", "it must have no user or password in it"],
    ["https://push.example.com:8443/", "it must have no port"],
    ["https://127.0.0.1:8444/", "it must have no port"],
    ["https://127.0.0.1/", "127.0.0.1 is not a public address"],
    // As URLs write it in other ways.
    ["https://2130706433/", "127.0.0.1 is not a public address"],
    ["https://0x7f.1/", "127.0.0.1 is not a public address"],
    ["https://10.0.0.1/", "10.0.0.1 is not a public address"],
    ["https://172.31.0.1/", "172.31.0.1 is not a public address"],
    ["https://192.168.1.1/", "192.168.1.1 is not a public address"],
    ["https://169.254.169.254/latest/meta-data", "169.254.169.254 is not a public address"],
    ["https://100.64.0.1/", "100.64.0.1 is not a public address"],
    ["https://0.0.0.0/", "0.0.0.0 is not a public address"],
    ["https://224.0.0.1/", "224.0.0.1 is not a public address"],
    ["https://255.255.255.255/", "255.255.255.255 is not a public address"],
    ["https://[::1]/", "::1 is not a public address"],
    ["https://[::]/", ":: is not a public address"],
    ["https://[fe80::1]/", "fe80::1 is not a public address"],
    ["https://[fd00::1]/", "fd00::1 is not a public address"],
    ["https://[::ffff:127.0.0.1]/", "::ffff:7f00:1 is not a public address"],
    ["https://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1 is not a public address"],
    ["https://[2002:7f00:1::]/", "2002:7f00:1:: is not a public address"],
    ["https://localhost/", "localhost is not a public address"],
  ])("is not to be called at %s", async (endpoint, message) => {
    await expect(endpoints.check(endpoint)).rejects.toThrow(message);
  });

  test.each(["https://203.0.114.7/push", "https://[2a00:1450::1]/push", "https://127.0.0.1:8443/push"])(
    "is to be called at %s",
    async (endpoint) => {
      await endpoints.check(endpoint);
    },
  );
});

test("a name is looked up for the connection itself: one that leads inside by then is not connected to", async () => {
  const endpoints = new PushEndpoints([]);
  const channel = pushChannel({ keys: vapidKeys("a".repeat(64)), subject: "mailto:admin@example.com", endpoints });
  const ecdh = createECDH("prime256v1");
  const subscription = {
    endpoint: "https://localhost/push",
    keys: { p256dh: ecdh.generateKeys("base64url"), auth: "A".repeat(22) },
  };
  const notification = {
    ...{ id: "1", event_id: "1", sequence: 1, type: "task_created" as const, task_id: 1, message: "NEW TASK" },
    ...{ created_at: new Date().toISOString(), notified_at: new Date().toISOString() },
  };
  const delivery = channel.deliver({
    userId: "user",
    notification,
    target: subscriptionId(subscription),
    preferences: { email: null, channels: ["push"], push_subscriptions: [subscription] },
    confirm: () => undefined,
  });
  await expect(delivery).rejects.toThrow(new Refused("The endpoint is not called: localhost is not a public address"));
  await endpoints.close();
});

describe("the notification service's environment", () => {
  const env = { JWT_SECRET: "j".repeat(32), APP_API_TOKEN: "a".repeat(32) };

  test("takes what web push needs", () => {
    const given = { VAPID_SECRET: "v".repeat(32), VAPID_SUBJECT: "mailto:admin@example.com" };
    expect(
      readConfig({ ...env, ...given, PUSH_ENDPOINTS_ALLOWED: "https://127.0.0.1:1,https://[::1]:2" }),
    ).toMatchObject({
      ...given,
      PUSH_ENDPOINTS_ALLOWED: ["https://127.0.0.1:1", "https://[::1]:2"],
    });
    expect(readConfig(env).PUSH_ENDPOINTS_ALLOWED).toEqual([]);
  });

  test("is told what is wrong, without the secret", () => {
    const wrong = { VAPID_SECRET: "short", VAPID_SUBJECT: "admin", PUSH_ENDPOINTS_ALLOWED: "https://127.0.0.1/path" };
    expect(() => readConfig({ ...env, ...wrong })).toThrow(
      `The environment is not valid:
  VAPID_SECRET is not valid; it must be at least 32 bytes long
  VAPID_SUBJECT is "admin"; it must be mailto:<address> or an https URL
  PUSH_ENDPOINTS_ALLOWED is "https://127.0.0.1/path"; it must be origins like https://push.internal:8443, with commas between them`,
    );
  });
});
