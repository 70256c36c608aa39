import { ECDH } from "node:crypto";
import { bearerSecurity, HttpError, userErrors, userIdSchema, type App, type DaprClient } from "@event-flow/service";
import { z } from "zod";
import { changePreferences, pushSubscriptionSchema, readPreferences } from "./preferences.ts";
import { NotPublic, type PushEndpoints } from "./push-endpoints.ts";
import { subscriptionId, withoutSubscription } from "./push.ts";

/** How many browsers of a user may be subscribed. */
const mostOfUser = 10;

export interface PushRoutesOptions {
  readonly dapr: DaprClient;
  /** What this system has of web push; `undefined` if it has none. */
  readonly push: { readonly publicKey: string; readonly endpoints: PushEndpoints } | undefined;
}

const params = z.object({ user_id: userIdSchema });
const id = z.string().regex(/^[\w-]{22}$/, "must be the id of a subscription");

/** Whether 65 bytes in base64url are a point of P-256, which a message could be encrypted for. */
function isPoint(key: string): boolean {
  try {
    ECDH.convertKey(key, "prime256v1", "base64url", "base64url", "uncompressed");
    return true;
  } catch {
    return false;
  }
}

const bodySchema = pushSubscriptionSchema.extend({
  keys: z.object({
    p256dh: z
      .string()
      // 65 bytes, of which the first says that the point isn't compressed.
      .regex(/^B[\w-]{86}$/, "must be an uncompressed P-256 point in base64url")
      .refine(isPoint, "must be a point of P-256"),
    auth: z.string().regex(/^[\w-]{22}$/, "must be 16 bytes in base64url"),
  }),
});

const shownSchema = z.object({
  id,
  service: z.url().describe("The push service. The endpoint isn't shown: who has it can try to push"),
});

/** How a user's browsers are subscribed to web push. */
export function pushRoutes(scope: App, { dapr, push }: PushRoutesOptions): void {
  const path = "/api/:user_id/notifications/push-subscriptions";

  scope.get(
    path,
    {
      schema: {
        summary: "Show the key that a browser subscribes to web push with, and which browsers are subscribed",
        security: bearerSecurity,
        params,
        response: {
          200: z.object({
            public_key: z
              .string()
              .nullable()
              .describe("The `applicationServerKey` of `PushManager.subscribe`; null if this system has no web push"),
            subscriptions: z.array(shownSchema),
          }),
          ...userErrors(),
        },
      },
    },
    async ({ params }) => ({
      public_key: push?.publicKey ?? null,
      subscriptions: (await readPreferences(dapr, params.user_id)).push_subscriptions.map((each) => ({
        id: subscriptionId(each),
        service: new URL(each.endpoint).origin,
      })),
    }),
  );

  scope.post(
    path,
    {
      schema: {
        summary: "Subscribe a browser to web push",
        description:
          "Takes the JSON of the browser's `PushSubscription`, and turns the channel `push` on. A browser that comes again takes " +
          `its own place; a user may have ${mostOfUser}. One that its push service knows no more is forgotten.`,
        security: bearerSecurity,
        params,
        body: bodySchema,
        response: { 201: z.object({ id }), ...userErrors(413, 415) },
      },
    },
    async ({ params, body }, reply) => {
      if (push === undefined)
        throw new HttpError(
          400,
          "This system has no web push, as it names no contact (setting event-flow:pushContact)",
        );
      await push.endpoints.check(body.endpoint).catch((error: unknown) => {
        if (!(error instanceof NotPublic)) throw error;
        throw new HttpError(400, `body/endpoint: ${error.message}`);
      });
      const added = subscriptionId(body);
      await changePreferences(dapr, params.user_id, (preferences) => {
        const others = withoutSubscription(preferences, added).push_subscriptions;
        if (others.length >= mostOfUser) {
          throw new HttpError(400, `body: a user may have ${mostOfUser} browsers subscribed; unsubscribe one first`);
        }
        return {
          ...preferences,
          channels: preferences.channels.includes("push") ? preferences.channels : [...preferences.channels, "push"],
          push_subscriptions: [...others, body],
        };
      });
      return reply.code(201).send({ id: added });
    },
  );

  scope.delete(
    `${path}/:id`,
    {
      schema: {
        summary: "Unsubscribe a browser from web push",
        security: bearerSecurity,
        params: params.extend({ id }),
        response: { 204: z.null().describe("It is subscribed no more"), ...userErrors(413, 415) },
      },
    },
    async ({ params }, reply) => {
      await changePreferences(dapr, params.user_id, (preferences) => withoutSubscription(preferences, params.id));
      return reply.code(204).send(null);
    },
  );
}
