import type { Notification } from "./document.ts";
import type { Preferences } from "./preferences.ts";

/** The ways in which a notification reaches its user besides the list and the live stream, which everyone has. */
export const channelNames = ["email", "push"] as const;

export type ChannelName = (typeof channelNames)[number];

/** A notification that a channel has yet to deliver. */
export interface Delivery {
  readonly channel: ChannelName;
  /** Which of the user's addresses in the channel it goes to: one of those that `targets` gives. */
  readonly target: string;
  /** The replica that delivers it, by its name in the register. */
  readonly owner: string;
  /** How often it failed by itself. */
  readonly tries: number;
  /** Why it failed last. */
  readonly cause?: string | undefined;
  /** A copy, as it may leave the list before it is delivered. */
  readonly notification: Notification;
}

/** A notification that a channel didn't deliver, and why. */
export interface FailedDelivery {
  readonly channel: ChannelName;
  readonly target: string;
  readonly event_id: string;
  readonly message: string;
  readonly failed_at: string;
  readonly cause: string;
}

/** What is to be delivered, and to whom. */
export interface Parcel {
  readonly userId: string;
  readonly notification: Notification;
  /** One of the user's addresses, as `targets` gave it. */
  readonly target: string;
  /** As they are now, in which that target is. */
  readonly preferences: Preferences;
  /**
   * To be called as the last thing before sending: throws if the process stood still since it was seen that the delivery is
   * this replica's. Another may have done it by now.
   */
  readonly confirm: () => void;
}

/** A way to reach a user. */
export interface Channel {
  readonly name: ChannelName;

  /** How many deliveries it takes at a time, in each replica. */
  readonly concurrency: number;

  /** Each address of the user's, by a name that stays the same; asked only while the user has the channel on. */
  targets(preferences: Preferences): readonly string[];

  /**
   * Delivers one notification. Throws `ChannelAway` if no delivery would fare better now, `AddressAway` if none to this
   * address would, `Refused` if this one never will; after anything else this one is tried again, a bounded number of times, while others go on.
   */
  deliver(parcel: Parcel): Promise<void>;
}

/** It has to be seen again whether a delivery is this replica's. */
export class StoodStill extends Error {
  override readonly name = "StoodStill";
}

/** The channel as a whole can't be reached: its deliveries wait, for a day at most, until one gets through. */
export class ChannelAway extends Error {
  override readonly name = "ChannelAway";
}

/** What the address is at can't be reached: this delivery waits, for a day at most, and others go on. */
export class AddressAway extends Error {
  override readonly name = "AddressAway";
  /** When to try again. */
  readonly afterMs: number;

  constructor(message: string, { afterMs, ...options }: ErrorOptions & { afterMs: number }) {
    super(message, options);
    this.afterMs = afterMs;
  }
}

/** This delivery will never succeed. */
export class Refused extends Error {
  override readonly name = "Refused";
  /** The preferences without the address that was refused for good, if it was. */
  readonly forget: ((preferences: Preferences) => Preferences) | undefined;

  constructor(
    message: string,
    { forget, ...options }: ErrorOptions & { forget?: (preferences: Preferences) => Preferences } = {},
  ) {
    super(message, options);
    this.forget = forget;
  }
}
