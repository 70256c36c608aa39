import {
  bearerSecurity,
  errorResponses,
  requireOwner,
  userIdSchema,
  type App,
  type DaprClient,
} from "@event-flow/service";
import { z } from "zod";
import { kept, listNotifications, notificationSchema } from "./notifications.ts";

export function notificationRoutes(scope: App, dapr: DaprClient): void {
  scope.addHook("onRequest", requireOwner);

  scope.get(
    "/api/:user_id/notifications",
    {
      schema: {
        summary: "List what the user was notified of",
        description: `The ${kept} most recent notifications, the most recent event first.`,
        security: bearerSecurity,
        params: z.object({ user_id: userIdSchema }),
        response: { 200: z.array(notificationSchema), ...errorResponses(400, 401, 403, 503) },
      },
    },
    ({ params }) => listNotifications(dapr, params.user_id),
  );
}
