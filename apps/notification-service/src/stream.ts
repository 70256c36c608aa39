import { setTimeout as sleep } from "node:timers/promises";
import { HttpError, type DaprClient } from "@event-flow/service";
import { readDocument, type Document, type Notification } from "./document.ts";
import { withSequence } from "./notifications.ts";

/** How many streams a user may have open in each replica: some browsers with some tabs. */
const mostOfUser = 8;

/** How soon a notification is seen that another replica noted. One's own are seen at once. */
const lookMs = 1_000;

/** How often something is sent, so that neither proxies nor clients take a quiet stream for a dead one. */
const heartbeatMs = 15_000;

/** How soon a client should come again after its stream ended. */
const reconnectMs = 2_000;

/** Looks at one user's document, once for all of the user's streams, and only while there are any. */
class Watch {
  streams = 0;
  /** What is seen by the next look. */
  #next: Promise<Document> | undefined;
  #last: { readonly document: Document; readonly at: number } | undefined;
  #wake = new AbortController();
  readonly #read: () => Promise<Document>;

  constructor(read: () => Promise<Document>) {
    this.#read = read;
  }

  /** The document as it is now. */
  look(): Promise<Document> {
    if (this.#last !== undefined && performance.now() - this.#last.at < lookMs / 2) {
      return Promise.resolve(this.#last.document);
    }
    this.#next ??= this.#read()
      .then((document) => {
        this.#last = { document, at: performance.now() };
        return document;
      })
      .finally(() => {
        this.#next = undefined;
      });
    return this.#next;
  }

  /** Resolves when it's time to look again. */
  async rest(signal: AbortSignal): Promise<void> {
    await sleep(lookMs, undefined, { signal: AbortSignal.any([signal, this.#wake.signal]) }).catch(() => undefined);
  }

  /** Something was noted here. */
  wake(): void {
    this.#last = undefined;
    // What is being read may be older.
    this.#next = undefined;
    this.#wake.abort();
    this.#wake = new AbortController();
  }
}

export interface StreamOptions {
  readonly userId: string;
  /** The number of the last notification that the client has; undefined if it wants only what comes. */
  readonly after: number | undefined;
  /** When it ends at the latest, in seconds since 1970: a stream is not open for longer than its token is good. */
  readonly expires: number;
  /** The client went. */
  readonly signal: AbortSignal;
}

/** Users' live streams, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export class Streams {
  readonly #dapr: DaprClient;
  readonly #watches = new Map<string, Watch>();
  readonly #stopping = new AbortController();

  constructor(dapr: DaprClient) {
    this.#dapr = dapr;
  }

  get count(): number {
    return [...this.#watches.values()].reduce((sum, { streams }) => sum + streams, 0);
  }

  /** A user was told something by this replica. */
  told(userId: string): void {
    this.#watches.get(userId)?.wake();
  }

  /** Ends them all. Clients come again, to another replica. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Opens a stream, once it is known from where. */
  async open({ userId, after, expires, signal }: StreamOptions): Promise<AsyncGenerator<string>> {
    const watch = this.#watches.get(userId) ?? new Watch(async () => (await readDocument(this.#dapr, userId)).document);
    if (watch.streams >= mostOfUser) {
      throw new HttpError(429, `A user may have ${mostOfUser} streams open; close one first`);
    }
    watch.streams += 1;
    this.#watches.set(userId, watch);
    let open = true;
    const close = () => {
      if (!open) return;
      open = false;
      watch.streams -= 1;
      if (watch.streams === 0) this.#watches.delete(userId);
    };
    try {
      const { sequence } = await watch.look();
      // A number that isn't there yet is of a store that was lost: what there is is news, then.
      const from = after === undefined ? sequence : after > sequence ? 0 : after;
      const left = AbortSignal.timeout(Math.max(0, Math.min(expires * 1_000 - Date.now(), 2 ** 31 - 1)));
      const end = AbortSignal.any([signal, left, this.#stopping.signal]);
      // A generator that nobody has asked for anything doesn't get to its `finally`.
      end.addEventListener("abort", close, { once: true });
      if (end.aborted) close();
      return this.#events(watch, from, end, close);
    } catch (error) {
      close();
      throw error;
    }
  }

  async *#events(watch: Watch, from: number, signal: AbortSignal, close: () => void): AsyncGenerator<string> {
    try {
      let last = from;
      let sent = performance.now();
      // With an id, so that a client that comes again before the first notification misses none.
      yield `retry: ${reconnectMs}\nid: ${last}\n: open\n\n`;
      while (!signal.aborted) {
        const document = await watch.look().catch(() => undefined);
        const news = (document?.notifications ?? [])
          .map(withSequence)
          .filter(({ sequence }) => sequence > last)
          .sort((a, b) => a.sequence - b.sequence);
        if (news.length > 0) {
          yield news.map(written).join("");
          last = news.at(-1)?.sequence ?? last;
          sent = performance.now();
        } else if (performance.now() - sent >= heartbeatMs) {
          yield ": still here\n\n";
          sent = performance.now();
        }
        await watch.rest(signal);
      }
    } finally {
      close();
    }
  }
}

function written(notification: Notification): string {
  return `id: ${notification.sequence}\nevent: notification\ndata: ${JSON.stringify(notification)}\n\n`;
}
