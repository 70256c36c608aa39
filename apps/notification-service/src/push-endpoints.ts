import { lookup } from "node:dns";
import { lookup as lookUp } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { Agent, type Dispatcher } from "undici";

/** An endpoint that this service must not call. */
export class NotPublic extends Error {
  override readonly name = "NotPublic";
}

const givenOut = ipaddr.IPv6.parseCIDR("2000::/3");

function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  // An IPv4 address in IPv6's clothes is what it is.
  const known = ipaddr.process(address);
  // Any other range is somebody's own, or leads there, as NAT64 does. Of IPv6 no more than this is given out to the public.
  return known.range() === "unicast" && (known instanceof ipaddr.IPv4 || known.match(givenOut));
}

function refuseUnlessPublic(host: string, addresses: readonly string[]): void {
  if (addresses.length === 0 || !addresses.every(isPublic)) {
    throw new NotPublic(`${host} is not a public address`);
  }
}

/** Resolves a name for a connection: what is checked is what is connected to, whatever the name said before. */
const lookUpPublic: LookupFunction = (host, options, callback) => {
  lookup(host, { ...options, all: true }, (error, found) => {
    try {
      if (error !== null) throw error;
      refuseUnlessPublic(
        host,
        found.map(({ address }) => address),
      );
    } catch (refusal) {
      callback(refusal as Error, []);
      return;
    }
    const [first] = found;
    if (options.all === true) callback(null, found);
    else callback(null, first?.address ?? "", first?.family);
  });
};

const limits = { connections: 4, keepAliveTimeout: 10_000, headersTimeout: 8_000, bodyTimeout: 8_000 };
const connectMs = 5_000;

/**
 * Where push services may be. Users name the endpoints, so that anybody could have this service call what only it reaches:
 * only public addresses are called, by HTTPS's own port, and no redirect is followed.
 */
export class PushEndpoints {
  /** Origins to which none of this applies. */
  readonly #allowed: ReadonlySet<string>;
  readonly #toPublic = new Agent({ ...limits, connect: { timeout: connectMs, lookup: lookUpPublic } });
  readonly #toAllowed = new Agent({ ...limits, connect: { timeout: connectMs } });

  constructor(allowed: readonly string[]) {
    this.#allowed = new Set(allowed);
  }

  /** Throws `NotPublic` unless an endpoint may be called, as far as is known now. */
  async check(endpoint: string): Promise<void> {
    const { host, isAllowed } = this.#look(endpoint);
    if (isAllowed || isIP(host) !== 0) return;
    const found = await lookUp(host, { all: true }).catch(() => undefined);
    // A name that can't be resolved now is looked at again with each delivery.
    if (found !== undefined) {
      refuseUnlessPublic(
        host,
        found.map(({ address }) => address),
      );
    }
  }

  /** What calls an endpoint; throws `NotPublic`, or its connection fails with that. */
  dispatcherOf(endpoint: string): Dispatcher {
    return this.#look(endpoint).isAllowed ? this.#toAllowed : this.#toPublic;
  }

  async close(): Promise<void> {
    await Promise.all([this.#toPublic.destroy(), this.#toAllowed.destroy()]);
  }

  #look(endpoint: string): { host: string; isAllowed: boolean } {
    const url = new URL(endpoint);
    const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const isAllowed = this.#allowed.has(url.origin);
    if (url.protocol !== "https:") throw new NotPublic("it must begin with https://");
    if (url.username !== "" || url.password !== "") throw new NotPublic("it must have no user or password in it");
    if (!isAllowed) {
      if (url.port !== "") throw new NotPublic("it must have no port");
      // An address is connected to as it is, without a look-up.
      if (isIP(host) !== 0) refuseUnlessPublic(host, [host]);
    }
    return { host, isAllowed };
  }
}
