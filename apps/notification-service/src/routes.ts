import { Readable } from "node:stream";
import { bearerSecurity, requireOwner, userErrors, userIdSchema, type App } from "@event-flow/service";
import { z } from "zod";
import { channelNames, type ChannelName } from "./channel.ts";
import { readDocument } from "./document.ts";
import { kept, listNotifications, notificationSchema } from "./notifications.ts";
import { choose, chosenSchema, preferencesSchema, readPreferences, type Preferences } from "./preferences.ts";
import { pushRoutes, type PushRoutesOptions } from "./push-routes.ts";
import type { Streams } from "./stream.ts";

export interface NotificationRoutesOptions extends PushRoutesOptions {
  readonly streams: Streams;
  /** The channels that this system has. */
  readonly available: readonly ChannelName[];
}

const params = z.object({ user_id: userIdSchema });

const deliverySchema = z.object({
  channel: z.enum(channelNames),
  event_id: z.string(),
  message: z.string(),
  cause: z.string().optional().describe("Why it failed last"),
});

const deliveriesSchema = z.object({
  pending: z.array(deliverySchema.extend({ tries: z.int().describe("How often it failed") })),
  failed: z.array(deliverySchema.extend({ failed_at: z.iso.datetime({ offset: true }) })),
});

const lastEventId = z.string().regex(/^\d{1,15}$/, "must be the id of an event of this stream");

export function notificationRoutes(scope: App, { dapr, streams, available, push }: NotificationRoutesOptions): void {
  scope.addHook("onRequest", requireOwner);

  scope.get(
    "/api/:user_id/notifications",
    {
      schema: {
        summary: "List what the user was notified of",
        description: `The ${kept} most recent notifications, the most recent event first.`,
        security: bearerSecurity,
        params,
        response: { 200: z.array(notificationSchema), ...userErrors() },
      },
    },
    ({ params }) => listNotifications(dapr, params.user_id),
  );

  const shown = ({ email, channels }: Preferences) => ({
    email,
    channels: [...channels],
    available: [...available],
  });

  scope.get(
    "/api/:user_id/notifications/preferences",
    {
      schema: {
        summary: "Show by which channels the user wants to be reached",
        security: bearerSecurity,
        params,
        response: { 200: preferencesSchema, ...userErrors() },
      },
    },
    async ({ params }) => shown(await readPreferences(dapr, params.user_id)),
  );

  scope.put(
    "/api/:user_id/notifications/preferences",
    {
      schema: {
        summary: "Choose by which channels the user wants to be reached",
        description: "What is told from then on goes by them. What waits in a channel that is turned off is forgotten.",
        security: bearerSecurity,
        params,
        body: chosenSchema,
        response: { 200: preferencesSchema, ...userErrors(413, 415) },
      },
    },
    async ({ params, body }) => shown(await choose(dapr, params.user_id, body, available)),
  );

  pushRoutes(scope, { dapr, push });

  scope.get(
    "/api/:user_id/notifications/deliveries",
    {
      schema: {
        summary: "List what the user's channels have yet to deliver, and what they gave up",
        security: bearerSecurity,
        params,
        response: { 200: deliveriesSchema, ...userErrors() },
      },
    },
    async ({ params }) => {
      const { pending = [], failed = [] } = (await readDocument(dapr, params.user_id)).document;
      return {
        pending: pending.map(({ channel, notification: { event_id, message }, tries, cause }) => ({
          ...{ channel, event_id, message, tries },
          ...(cause === undefined ? {} : { cause }),
        })),
        failed: [...failed],
      };
    },
  );

  scope.get(
    "/api/:user_id/notifications/stream",
    {
      config: { isStream: true },
      schema: {
        summary: "Stream what the user is notified of from now on",
        description:
          "Server-sent events of the type `notification`, whose ids are the notifications' `sequence`; `Last-Event-ID` goes on " +
          `after one of them, as far as it is among the ${kept} kept. It ends with the token. A browser's EventSource can't send ` +
          "the token: read it by `fetch`, as the package `eventsource` does.",
        security: bearerSecurity,
        params,
        headers: z.object({ "last-event-id": lastEventId.optional() }),
        produces: ["text/event-stream"],
        response: {
          200: z.unknown().describe("Notifications, as they come"),
          ...userErrors(),
        },
      },
    },
    async ({ params, headers, user }, reply) => {
      const gone = new AbortController();
      reply.raw.once("close", () => {
        gone.abort();
      });
      const after = headers["last-event-id"];
      const events = await streams.open({
        userId: params.user_id,
        after: after === undefined ? undefined : Number(after),
        expires: user.exp,
        signal: gone.signal,
      });
      return (
        reply
          .header("content-type", "text/event-stream")
          .header("cache-control", "no-store")
          .header("x-accel-buffering", "no")
          // A connection that is kept after a stream that a stop ended would hold that up.
          .header("connection", "close")
          .send(Readable.from(events, { objectMode: false }))
      );
    },
  );
}
