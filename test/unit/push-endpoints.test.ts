/** Users name what the notification service calls: no spelling of an address leads to what only the service reaches. */
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { NotPublic, PushEndpoints } from "../../apps/notification-service/src/push-endpoints.ts";

const endpoints = new PushEndpoints(["https://push.internal:8443"]);
afterAll(() => endpoints.close());

/** Blocks of IPv4 that are no public addresses (https://www.iana.org/assignments/iana-ipv4-special-registry), by their first and how many bits are fixed. */
const blocks: readonly (readonly [first: number, bits: number])[] = [
  ...[[0x00000000, 8] as const, [0x0a000000, 8] as const, [0x64400000, 10] as const, [0x7f000000, 8] as const],
  ...[[0xa9fe0000, 16] as const, [0xac100000, 12] as const, [0xc0000000, 24] as const, [0xc0000200, 24] as const],
  ...[[0xc0a80000, 16] as const, [0xc6120000, 15] as const, [0xc6336400, 24] as const, [0xcb007100, 24] as const],
  ...[[0xe0000000, 4] as const, [0xf0000000, 4] as const],
];
const inside = fc
  .tuple(fc.constantFrom(...blocks), fc.nat(0xffffffff))
  .map(([[first, bits], random]) => (first + (random % 2 ** (32 - bits))) >>> 0);

const bytes = (address: number) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff);
const groups = (address: number) => [address >>> 16, address & 0xffff].map((group) => group.toString(16)).join(":");

/** How an IPv4 address may be written as the host of a URL. */
const spellings: readonly ((address: number) => string)[] = [
  (address) => bytes(address).join("."),
  (address) => `${bytes(address).join(".")}.`,
  (address) => String(address),
  (address) => `0x${address.toString(16)}`,
  (address) => `0${address.toString(8)}`,
  (address) =>
    bytes(address)
      .map((byte) => `0x${byte.toString(16)}`)
      .join("."),
  (address) =>
    bytes(address)
      .map((byte) => `0${byte.toString(8)}`)
      .join("."),
  (address) => `${address >>> 24}.${address & 0xffffff}`,
  (address) =>
    bytes(address)
      .join(".")
      .replace(/./g, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  // The full stop and the digits of other scripts.
  (address) =>
    bytes(address)
      .join("。")
      .replace(/\d/g, (digit) => String.fromCharCode(digit.charCodeAt(0) + 0xfee0)),
  (address) => `[::ffff:${groups(address)}]`,
  (address) => `[::${groups(address)}]`,
  (address) => `[64:ff9b::${groups(address)}]`,
  (address) => `[64:ff9b:1::${groups(address)}]`,
  (address) => `[2002:${groups(address)}::1]`,
];

async function refused(endpoint: string): Promise<void> {
  await expect(endpoints.check(endpoint), endpoint).rejects.toThrow(NotPublic);
  // What connects refuses it as well: a name may say something else by then.
  expect(() => endpoints.dispatcherOf(endpoint), endpoint).toThrow(NotPublic);
}

test("an address that isn't public is refused, however it's written", async () => {
  await fc.assert(
    fc.asyncProperty(inside, fc.constantFrom(...spellings), async (address, spell) => {
      await refused(`https://${spell(address)}/push`);
    }),
    { numRuns: 2_000 },
  );
});

test.each([
  ...[
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
  ],
  ...["https://[2001:db8::1]/", "https://[100::1]/", "https://[2001::1]/", "https://[4000::1]/"],
  ...["http://8.8.8.8/", "https://8.8.8.8:8443/", "https://user@8.8.8.8/", "https://:password@8.8.8.8/"],
  ...["http://push.internal:8443/", "https://user@push.internal:8443/", "ftp://8.8.8.8/", "wss://8.8.8.8/"],
])("%s is refused", async (endpoint) => {
  await refused(endpoint);
});

test.each(["https://localhost/", "https://LOCALHOST/"])(
  "%s is refused as soon as it's known where it leads",
  async (endpoint) => {
    await expect(endpoints.check(endpoint)).rejects.toThrow(NotPublic);
  },
);

test("a public address by HTTPS's own port is not, nor what is allowed", async () => {
  for (const endpoint of [
    "https://8.8.8.8/push",
    "https://8.8.8.8:443/push",
    "https://[2606:4700::1111]/",
    "https://push.internal:8443/a",
  ]) {
    await expect(endpoints.check(endpoint)).resolves.toBeUndefined();
    expect(endpoints.dispatcherOf(endpoint)).toBeDefined();
  }
});

test("a connection to a name is refused by where it leads then", async () => {
  const dispatcher = endpoints.dispatcherOf("https://localhost/");
  await expect(dispatcher.request({ origin: "https://localhost", path: "/", method: "POST" })).rejects.toThrow(
    NotPublic,
  );
});
