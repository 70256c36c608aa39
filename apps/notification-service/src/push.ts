import { createHash } from "node:crypto";
import { request } from "undici";
import webpush from "web-push";
import { AddressAway, Refused, type Channel } from "./channel.ts";
import type { Notification } from "./document.ts";
import type { Preferences, PushSubscription } from "./preferences.ts";
import { NotPublic, type PushEndpoints } from "./push-endpoints.ts";
import type { VapidKeys } from "./vapid.ts";

/** How long a push service keeps what a browser that is off doesn't fetch. A user has no use for older news on a screen. */
const ttlSeconds = 24 * 3600;

/** How long one call may take in all. */
const callMs = 10_000;

/** How long a push service that failed is left alone: twice as long each time, or longer if it says so. */
const pause = { firstMs: 1_000, mostMs: 30_000, mostAskedMs: 3600_000 };

/** Of how many push services it's known that they failed; browsers' makers run a handful. */
const mostKnown = 1_000;

/** What every push service takes (RFC 8030, 7.2), less what encryption adds. */
const mostBytes = 3_993;

export interface PushOptions {
  readonly keys: VapidKeys;
  /** Whom a push service's operator turns to: `mailto:…` or `https://…`. */
  readonly subject: string;
  readonly endpoints: PushEndpoints;
}

/** The name of a subscription, which tells nobody its endpoint: who has that can try to push. */
export function subscriptionId({ endpoint }: Pick<PushSubscription, "endpoint">): string {
  return createHash("sha256").update(endpoint).digest("base64url").slice(0, 22);
}

/** Web push (RFC 8030, 8291 and 8292): a notification goes to each of the user's browsers that subscribed. */
export function pushChannel({ keys, subject, endpoints }: PushOptions): Channel {
  const services = new Services();
  return {
    name: "push",
    concurrency: 8,
    targets: ({ push_subscriptions }) => push_subscriptions.map(subscriptionId),
    deliver: async ({ notification, target, preferences, confirm }) => {
      const subscription = preferences.push_subscriptions.find((each) => subscriptionId(each) === target);
      if (subscription === undefined) throw new Refused("The browser is not subscribed any more");
      await services.call(new URL(subscription.endpoint).origin, async () => {
        const { headers, body } = webpush.generateRequestDetails(
          { endpoint: subscription.endpoint, keys: { ...subscription.keys } },
          payload(notification),
          {
            vapidDetails: { subject, ...keys },
            contentEncoding: "aes128gcm",
            TTL: ttlSeconds,
            urgency: "normal",
            // Should it be sent twice, the second takes the first one's place where that hasn't got to the browser.
            topic: createHash("sha256").update(notification.event_id).digest("base64url").slice(0, 32),
          },
        );
        confirm();
        return send(subscription, endpoints, written(headers), body);
      });
    },
  };
}

/** What a service worker gets. */
function payload({ message, ...notification }: Notification): Buffer {
  const text = (shown: string) => Buffer.from(JSON.stringify({ ...notification, message: shown }));
  const whole = text(message);
  return whole.length <= mostBytes ? whole : text(`${message.slice(0, 500)}…`);
}

function written(headers: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

/** What a push service answered, in so far as it's for others to wait. */
interface Away {
  readonly cause: string;
  /** How long it asks to be left alone. */
  readonly askedMs?: number | undefined;
}

async function send(
  subscription: PushSubscription,
  endpoints: PushEndpoints,
  headers: Record<string, string>,
  body: Buffer | null,
): Promise<Away | undefined> {
  let response;
  try {
    response = await request(subscription.endpoint, {
      method: "POST",
      headers,
      body,
      dispatcher: endpoints.dispatcherOf(subscription.endpoint),
      signal: AbortSignal.timeout(callMs),
    });
    // Its words are nobody's business: what it means is in the status code.
    await response.body.dump({ limit: 16_384 });
  } catch (error) {
    if (error instanceof NotPublic) throw new Refused(`The endpoint is not called: ${error.message}`);
    if (response === undefined) return { cause: `The push service can't be reached: ${reason(error)}` };
  }
  const { statusCode } = response;
  if (statusCode >= 200 && statusCode < 300) return undefined;
  const cause = `The push service answered HTTP ${statusCode}`;
  if (statusCode === 404 || statusCode === 410) {
    throw new Refused(`The browser's subscription is gone: ${cause}`, {
      forget: (preferences) => withoutSubscription(preferences, subscriptionId(subscription)),
    });
  }
  if (statusCode !== 429 && statusCode < 500) throw new Refused(cause);
  return { cause, askedMs: askedMs(response.headers["retry-after"]) };
}

export function withoutSubscription(preferences: Preferences, id: string): Preferences {
  return {
    ...preferences,
    push_subscriptions: preferences.push_subscriptions.filter((each) => subscriptionId(each) !== id),
  };
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  // Of several addresses none answered: there is no message, but one for each.
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : [];
  return first instanceof Error ? first.message : error.message;
}

/** `Retry-After` is in seconds, or a date (RFC 9110, 10.2.3). */
function askedMs(header: string | string[] | undefined): number | undefined {
  if (typeof header !== "string") return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), pause.mostAskedMs);
}

/**
 * Leaves push services alone that fail, each by itself: one browser's maker has nothing to do with another's, and a user could
 * name an endpoint that always fails.
 */
class Services {
  readonly #away = new Map<string, { until: number; times: number; cause: string }>();

  /** Calls a push service, unless it's to be left alone. */
  async call(origin: string, send: () => Promise<Away | undefined>): Promise<void> {
    const known = this.#away.get(origin);
    const now = performance.now();
    if (known !== undefined) {
      if (known.until > now) throw new AddressAway(known.cause, { afterMs: known.until - now });
      // This one finds out for all whether it's back.
      known.until = now + pause.firstMs;
    }
    let away: Away | undefined;
    try {
      away = await send();
    } catch (error) {
      // It has answered.
      this.#away.delete(origin);
      throw error;
    }
    // Anew in any case: the one that failed first is the first to be forgotten.
    this.#away.delete(origin);
    if (away === undefined) return;
    const times = (known?.times ?? 0) + 1;
    const afterMs = Math.max(away.askedMs ?? 0, Math.min(pause.firstMs * 2 ** (times - 1), pause.mostMs));
    this.#away.set(origin, { until: performance.now() + afterMs, times, cause: away.cause });
    const [first] = this.#away.keys();
    if (this.#away.size > mostKnown && first !== undefined) this.#away.delete(first);
    throw new AddressAway(away.cause, { afterMs });
  }
}
