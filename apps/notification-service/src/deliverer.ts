import { setTimeout as sleep } from "node:timers/promises";
import { metrics } from "@event-flow/events";
import type { DaprClient } from "@event-flow/service";
import type { FastifyBaseLogger } from "fastify";
import { Counter, Gauge, type Registry } from "prom-client";
import {
  AddressAway,
  ChannelAway,
  Refused,
  StoodStill,
  type Channel,
  type ChannelName,
  type Delivery,
  type FailedDelivery,
} from "./channel.ts";
import { changeDocument, readDocument, type Document, type Notification } from "./document.ts";
import { noPreferences } from "./preferences.ts";
import { beatMs, Register, type Left } from "./register.ts";

/** How often a delivery is tried that fails by itself: for about half an hour, as long as greylisting mail servers want. */
const triesOfOne = 12;

/** How long after one of them the next comes, and how long a channel that is away is left alone: twice as long each time. */
const pause = { firstMs: 1_000, oneMs: 300_000, channelMs: 30_000 };

/** How long a delivery waits for a channel that is away. A user has no use for older news by mail. */
const patienceMs = 24 * 3600_000;

/** For how long it holds what was seen in a document: much less than the silence after which another takes over. */
const currentMs = 5_000;

/** How long a stop waits for what is being delivered: less than the service may take to stop. */
const stopMs = 12_000;

/** How many of a user's deliveries wait in a channel. As many as notifications are kept. */
const keptPending = 100;

/** How many of those that failed are kept to be seen. */
const keptFailed = 50;

interface Parts {
  readonly dapr: DaprClient;
  readonly log: FastifyBaseLogger;
  readonly registry: Registry;
}

/** A delivery that this replica has taken. */
interface Item {
  readonly userId: string;
  readonly key: string;
  /** What became of it, if that is still to be written down. */
  outcome?: Outcome;
}

type Outcome =
  | { readonly is: "delivered" | "unwanted" }
  | { readonly is: "failed"; readonly cause: string; forget?: Refused["forget"] };

function keyOf({ channel, target, notification }: Delivery): string {
  return `${channel}/${target}/${notification.event_id}`;
}

/**
 * Delivers notifications by the channels that their users have on.
 *
 * A delivery is written into the user's document by the write that notes the event, so there is one exactly if the user is
 * told, and one only. It stays there until it is delivered or given up. No handler waits for it: what a channel takes, and
 * whether it is there, is no matter of the topics. Each has an owner, the replica that noted it; which replica owns deliveries
 * of which users is in the register, for another to take them over.
 *
 * Before it delivers, the owner looks whether it still is, and whether the user still wants it. A replica that dies after
 * the channel took a delivery and before that is written down makes another one of it: once each, save for that moment.
 */
export class Deliverer {
  readonly #dapr: DaprClient;
  readonly #log: FastifyBaseLogger;
  readonly #lanes: ReadonlyMap<ChannelName, Lane>;
  readonly #register: Register;
  readonly #stopping = new AbortController();
  readonly #onTheSide = new Set<Promise<void>>();
  #watching: Promise<void> = Promise.resolve();
  readonly #delivered: Counter;
  readonly #retried: Counter;
  readonly #failed: Counter;

  constructor(channels: readonly Channel[], { dapr, log, registry }: Parts) {
    this.#dapr = dapr;
    this.#log = log;
    this.#register = new Register(dapr, (left) => {
      log.warn({ was: left.name }, "Another replica took this one for dead; its deliveries get their owner anew");
      this.#untilDone(() => this.#takeOver(left));
    });
    this.#lanes = new Map(
      channels.map((channel) => [
        channel.name,
        new Lane(channel, this.#stopping.signal, (item) => this.#attempt(channel, item)),
      ]),
    );
    const registers = [registry];
    const labelNames = ["channel"];
    const counter = (name: string, help: string) => new Counter({ name, help, labelNames, registers });
    this.#delivered = counter(metrics.channelDelivered, "Notifications that a channel took");
    this.#retried = counter(metrics.channelRetried, "Attempts of a channel that failed and are made again");
    this.#failed = counter(metrics.channelFailed, "Notifications that a channel gave up");
    for (const { name: channel } of channels) {
      // A counter that begins with its first event hides that one from `increase`.
      for (const each of [this.#delivered, this.#retried, this.#failed]) each.inc({ channel }, 0);
    }
    const lanes = this.#lanes;
    new Gauge({
      name: metrics.channelWaiting,
      help: "Notifications that this replica has yet to deliver",
      labelNames,
      registers,
      collect() {
        for (const [channel, lane] of lanes) this.set({ channel }, lane.size);
      },
    });
  }

  /** The channels that there are. */
  get available(): ChannelName[] {
    return [...this.#lanes.keys()];
  }

  /** Begins to look for what others left. */
  start(): void {
    this.#watching = this.#watch();
  }

  /** Ends, with what is being delivered at the moment; the rest is left to the others. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#watching;
    const going = [...[...this.#lanes.values()].map((lane) => lane.ended()), ...this.#onTheSide];
    // What takes longer is left, too, and done once more by the one that takes it over.
    await Promise.race([Promise.all(going), sleep(stopMs, undefined, { ref: false })]);
    try {
      await this.#register.leave();
    } catch (err) {
      this.#log.warn({ err }, "Deliveries are left to be found");
    }
  }

  /**
   * Adds to a document what its user's channels are to deliver of a notification. `end` of the result has to be called when
   * it is known whether the document was saved, or that this can't be known.
   */
  async add(
    userId: string,
    document: Document,
    notification: Notification,
  ): Promise<{ document: Document; end: (saved: boolean | "unknown") => void }> {
    const { preferences = noPreferences } = document;
    const wanted = preferences.channels.flatMap((channel) =>
      (this.#lanes.get(channel)?.channel.targets(preferences) ?? []).map((target) => ({ channel, target })),
    );
    if (wanted.length === 0) return { document, end: () => undefined };
    const owner = await this.#register.hold(userId);
    const added = wanted.map((each): Delivery => ({ ...each, owner, tries: 0, notification }));
    return {
      document: bounded({ ...document, pending: [...(document.pending ?? []), ...added] }),
      end: (saved) => {
        if (saved === "unknown") this.#untilDone(() => this.#takeOwn(userId));
        else if (saved) this.#take(userId, added);
        this.#register.release(userId);
      },
    };
  }

  #take(userId: string, deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      const item: Item = { userId, key: keyOf(delivery) };
      this.#register.retain(userId);
      const ended = () => {
        this.#register.release(userId);
      };
      const lane = this.#lanes.get(delivery.channel);
      if (lane === undefined) {
        const cause = `There is no channel ${delivery.channel} any more`;
        this.#untilDone(() => this.#writeDown({ ...item, outcome: { is: "failed", cause } }), ended);
      } else {
        lane.offer(item, ended);
      }
    }
  }

  /** Takes what a document has for this replica, whether it knew of that or not. */
  async #takeOwn(userId: string): Promise<void> {
    const owner = await this.#register.hold(userId);
    try {
      const { document } = await readDocument(this.#dapr, userId);
      this.#take(userId, document.pending?.filter((each) => each.owner === owner) ?? []);
    } finally {
      this.#register.release(userId);
    }
  }

  async #attempt(channel: Channel, item: Item): Promise<Attempt> {
    try {
      return await this.#deliver(channel, item);
    } catch (err) {
      // The state store or the sidecar: no delivery is at fault, and none would fare better.
      this.#log.warn({ err, channel: channel.name, userId: item.userId }, "Delivery to be gone on with: state is away");
      return { is: "again", afterMs: pause.firstMs, cause: "", counts: false };
    }
  }

  /** One attempt at a delivery. */
  async #deliver(channel: Channel, item: Item): Promise<Attempt> {
    const { userId, key } = item;
    if (item.outcome === undefined) {
      const looked = performance.now();
      const { document } = await readDocument(this.#dapr, userId);
      const delivery = document.pending?.find((each) => keyOf(each) === key);
      // Another replica owns it by now, or has delivered it, or there were too many of them.
      if (delivery === undefined || !(await this.#owns(userId, delivery))) return { is: "over" };
      const { target, notification } = delivery;
      const { preferences = noPreferences } = document;
      if (!preferences.channels.includes(channel.name) || !channel.targets(preferences).includes(target)) {
        item.outcome = { is: "unwanted" };
      } else {
        const facts = { channel: channel.name, userId, eventId: notification.event_id };
        try {
          await channel.deliver({
            ...{ userId, notification, target, preferences },
            confirm: () => {
              if (performance.now() - looked > currentMs) throw new StoodStill("The process stood still");
            },
          });
          item.outcome = { is: "delivered" };
          this.#delivered.inc({ channel: channel.name });
          this.#log.info(facts, `Delivered by ${channel.name}`);
        } catch (error) {
          if (error instanceof StoodStill) return { is: "again", afterMs: 0, cause: error.message, counts: false };
          const failure = this.#judge(error, delivery);
          if (failure.is !== "failed") {
            this.#retried.inc({ channel: channel.name });
            this.#log.warn({ ...facts, cause: failure.cause }, `Delivery to be retried: ${channel.name}`);
            if (failure.is === "again") await this.#noteTry(userId, key, failure);
            return failure;
          }
          this.#failed.inc({ channel: channel.name });
          this.#log.error({ ...facts, cause: failure.cause }, `Delivery given up: ${channel.name}`);
          item.outcome = failure;
        }
      }
    }
    // Should this fail, it's tried again, without another delivery.
    await this.#writeDown(item);
    return { is: "over" };
  }

  /** Whether a delivery is this replica's, which the register confirms if it hasn't lately. */
  async #owns(userId: string, { owner }: Delivery): Promise<boolean> {
    const name = await this.#register.hold(userId);
    this.#register.release(userId);
    return owner === name;
  }

  #judge(error: unknown, { tries, notification }: Delivery): Extract<Attempt | Outcome, { cause: string }> {
    const cause = error instanceof Error ? error.message : "unknown error";
    if (error instanceof Refused) return { is: "failed", cause, forget: error.forget };
    if (error instanceof ChannelAway) {
      return Date.now() - Date.parse(notification.notified_at) > patienceMs
        ? { is: "failed", cause: `The channel was away for a day: ${cause}` }
        : { is: "away", cause };
    }
    if (error instanceof AddressAway) {
      return Date.now() - Date.parse(notification.notified_at) > patienceMs
        ? { is: "failed", cause: `The address was away for a day: ${cause}` }
        : { is: "again", afterMs: error.afterMs, cause, counts: false };
    }
    return tries + 1 >= triesOfOne
      ? { is: "failed", cause: `It failed ${triesOfOne} times: ${cause}` }
      : { is: "again", afterMs: Math.min(pause.firstMs * 2 ** tries, pause.oneMs), cause, counts: true };
  }

  /** Notes that a delivery failed, so that a restart doesn't begin to count anew. */
  async #noteTry(
    userId: string,
    key: string,
    { cause, counts }: { readonly cause: string; readonly counts: boolean },
  ): Promise<void> {
    await changeDocument(this.#dapr, userId, (document) => {
      const { pending = [] } = document;
      const noted = pending.map((each) =>
        keyOf(each) === key && (counts || each.cause !== cause)
          ? { ...each, tries: each.tries + (counts ? 1 : 0), cause }
          : each,
      );
      const changes = noted.some((each, index) => each !== pending[index]);
      return { result: undefined, changed: changes ? { ...document, pending: noted } : undefined };
    }).catch((err: unknown) => {
      this.#log.warn({ err, userId }, "A delivery's try is not counted");
    });
  }

  async #writeDown({ userId, key, outcome }: Item): Promise<void> {
    await changeDocument(this.#dapr, userId, (document) => {
      const delivery = document.pending?.find((each) => keyOf(each) === key);
      if (delivery === undefined) return { result: undefined };
      const changed: Document = { ...document, pending: document.pending?.filter((each) => each !== delivery) };
      if (outcome?.is !== "failed") return { result: undefined, changed };
      const { preferences } = document;
      return {
        result: undefined,
        changed: {
          ...changed,
          preferences: preferences && outcome.forget ? outcome.forget(preferences) : preferences,
          failed: withFailures(document, [failure(delivery, outcome.cause)]),
        },
      };
    });
  }

  /** Signs the register, and takes over what others left, until the end. */
  async #watch(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        if (this.#register.joined) await this.#register.sign();
        for (const left of await this.#register.findLeft()) {
          this.#log.warn({ ...left, users: left.users.length }, "Taking over what a replica left to deliver");
          await this.#takeOver(left);
          await this.#register.forget(left.name);
        }
      } catch (err) {
        // The state store is away, which the service's readiness tells.
        this.#log.debug({ err }, "The register of deliveries can't be read or signed");
      }
      await sleep(beatMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Makes this replica the owner of what another has pending. */
  async #takeOver({ name, users }: Left): Promise<void> {
    for (const userId of users) {
      const owner = await this.#register.hold(userId);
      try {
        const taken = await changeDocument(this.#dapr, userId, (document) => {
          const pending = document.pending?.map((each) => (each.owner === name ? { ...each, owner } : each));
          return {
            result: (pending ?? []).filter((each) => each.owner === owner),
            // Saved even if there is none: should the other one only be slow, what it is about to save is refused.
            changed: { ...document, pending },
          };
        });
        this.#take(userId, taken);
      } finally {
        this.#register.release(userId);
      }
    }
  }

  /** Does work on the side, again and again while the state store is away. */
  #untilDone(work: () => Promise<void>, ended: () => void = () => undefined): void {
    const { signal } = this.#stopping;
    const tryOn = async () => {
      while (!signal.aborted) {
        try {
          await work();
          break;
        } catch (err) {
          this.#log.warn({ err }, "Deliveries wait for the state store");
          await sleep(pause.firstMs, undefined, { signal }).catch(() => undefined);
        }
      }
      ended();
    };
    const going = tryOn().finally(() => this.#onTheSide.delete(going));
    this.#onTheSide.add(going);
  }
}

function failure({ channel, target, notification }: Delivery, cause: string): FailedDelivery {
  const { event_id, message } = notification;
  return { channel, target, event_id, message, failed_at: new Date().toISOString(), cause };
}

function withFailures({ failed = [] }: Document, added: readonly FailedDelivery[]): readonly FailedDelivery[] {
  return [...added, ...failed].slice(0, keptFailed);
}

/** A channel that is away for long must not make documents large: the oldest that wait are given up. */
function bounded(document: Document): Document {
  const { pending = [] } = document;
  if (pending.length <= keptPending) return document;
  const tooMany = pending.filter(
    ({ channel, target }, index) =>
      pending.slice(index).filter((each) => each.channel === channel && each.target === target).length > keptPending,
  );
  if (tooMany.length === 0) return document;
  return {
    ...document,
    pending: pending.filter((each) => !tooMany.includes(each)),
    failed: withFailures(
      document,
      tooMany.map((each) => failure(each, `More than ${keptPending} waited`)),
    ),
  };
}

/** What an attempt came to. */
type Attempt =
  | { readonly is: "over" }
  | { readonly is: "again"; readonly afterMs: number; readonly cause: string; readonly counts: boolean }
  | { readonly is: "away"; readonly cause: string };

/** The deliveries of one channel, in their order, as many at a time as it takes. */
class Lane {
  readonly channel: Channel;
  readonly #signal: AbortSignal;
  readonly #attempt: (item: Item) => Promise<Attempt>;
  readonly #queue: Item[] = [];
  /** All that were taken and aren't over. */
  readonly #ends = new Map<string, (() => void)[]>();
  readonly #running = new Set<Promise<void>>();
  /** How often the channel was away in a row. */
  #away = 0;
  #pausing = false;

  constructor(channel: Channel, signal: AbortSignal, attempt: (item: Item) => Promise<Attempt>) {
    this.channel = channel;
    this.#signal = signal;
    this.#attempt = attempt;
  }

  get size(): number {
    return this.#ends.size;
  }

  /** Takes a delivery; `ended` is called when it is over. */
  offer(item: Item, ended: () => void): void {
    const id = `${item.userId}/${item.key}`;
    const known = this.#ends.get(id);
    if (known !== undefined) {
      known.push(ended);
      return;
    }
    this.#ends.set(id, [ended]);
    this.#queue.push(item);
    this.#pump();
  }

  /** Resolves when nothing is being delivered any more, after the signal. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  #pump(): void {
    // One at a time finds out whether a channel that was away is back.
    const most = this.#away > 0 ? 1 : this.channel.concurrency;
    while (!this.#signal.aborted && !this.#pausing && this.#running.size < most) {
      const item = this.#queue.shift();
      if (item === undefined) return;
      const run = this.#run(item).finally(() => {
        this.#running.delete(run);
        this.#pump();
      });
      this.#running.add(run);
    }
  }

  async #run(item: Item): Promise<void> {
    const attempt = await this.#attempt(item);
    if (attempt.is === "away") {
      this.#queue.unshift(item);
      this.#pauseChannel();
      return;
    }
    if (attempt.is === "again") {
      this.#after(attempt.afterMs, () => {
        this.#queue.push(item);
      });
    } else {
      const id = `${item.userId}/${item.key}`;
      const [ended, ...others] = this.#ends.get(id) ?? [];
      ended?.();
      if (others.length > 0) {
        // It was taken once more meanwhile: then it may well be this replica's again.
        this.#ends.set(id, others);
        this.#queue.push({ userId: item.userId, key: item.key });
      } else {
        this.#ends.delete(id);
      }
    }
    this.#away = 0;
  }

  #pauseChannel(): void {
    if (this.#pausing) return;
    this.#pausing = true;
    this.#after(Math.min(pause.firstMs * 2 ** this.#away, pause.channelMs), () => {
      this.#pausing = false;
    });
    this.#away += 1;
  }

  /** Goes on after a time, with some of it left to chance so that replicas don't all come at once. */
  #after(ms: number, action: () => void): void {
    const timer = setTimeout(
      () => {
        action();
        this.#pump();
      },
      ms * (0.75 + Math.random() / 2),
    );
    timer.unref();
  }
}
