import { HttpError, type DaprClient } from "@event-flow/service";
import { z } from "zod";
import { channelNames, type ChannelName } from "./channel.ts";
import { changeDocument, readDocument } from "./document.ts";

/** A browser's subscription to web push, as its `PushSubscription` gives it in JSON. */
export const pushSubscriptionSchema = z.object({
  endpoint: z.url({ protocol: /^https$/ }).max(2_000),
  keys: z.object({ p256dh: z.string().min(1).max(200), auth: z.string().min(1).max(100) }),
});

export type PushSubscription = z.infer<typeof pushSubscriptionSchema>;

/** How a user wants to be reached, as the user's document has it. */
export interface Preferences {
  readonly email: string | null;
  /** Those that are on. */
  readonly channels: readonly ChannelName[];
  readonly push_subscriptions: readonly PushSubscription[];
}

export const noPreferences: Preferences = { email: null, channels: [], push_subscriptions: [] };

/** What a user chooses. Browsers are subscribed to web push one by one, by themselves. */
export const chosenSchema = z.strictObject({
  // As long as SMTP lets an address be, what is before its @, and each part of its domain.
  email: z
    .email({ error: "must be an e-mail address", abort: true })
    .max(254)
    .regex(
      /^[^@]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$/,
      "must be an e-mail address",
    )
    .nullable()
    .describe("Where e-mail goes, or null"),
  channels: z
    .array(z.enum(channelNames))
    .refine((channels) => new Set(channels).size === channels.length, "must name each channel once")
    .meta({ uniqueItems: true })
    .describe("The channels that are on, besides the list and the live stream, which always are"),
});

export type Chosen = z.infer<typeof chosenSchema>;

export const preferencesSchema = chosenSchema.extend({
  available: z.array(z.enum(channelNames)).describe("The channels that this system has"),
});

export async function readPreferences(dapr: DaprClient, userId: string): Promise<Preferences> {
  return (await readDocument(dapr, userId)).document.preferences ?? noPreferences;
}

/** Takes up what a user chose, and keeps the rest. Refuses what can't work. */
export function choose(
  dapr: DaprClient,
  userId: string,
  { email, channels }: Chosen,
  available: readonly ChannelName[],
): Promise<Preferences> {
  const missing = channels.find((channel) => !available.includes(channel));
  if (missing !== undefined) throw new HttpError(400, unavailable[missing]);
  if (channels.includes("email") && email === null) {
    throw new HttpError(400, "body/email: the channel email needs an address");
  }
  return changePreferences(dapr, userId, (preferences) => ({ ...preferences, email, channels }));
}

/** Changes a user's preferences, and resolves to them. */
export function changePreferences(
  dapr: DaprClient,
  userId: string,
  change: (preferences: Preferences) => Preferences,
): Promise<Preferences> {
  return changeDocument(dapr, userId, (document) => {
    const preferences = change(document.preferences ?? noPreferences);
    return { result: preferences, changed: { ...document, preferences } };
  });
}

const unavailable: Record<ChannelName, string> = {
  email: "body/channels: this system sends no e-mail, as it has no mail server (setting event-flow:smtpHost)",
  push: "body/channels: this system has no web push, as it names no contact (setting event-flow:pushContact)",
};
