import { services } from "@event-flow/events";
import { readEnvironment, secret } from "@event-flow/service";
import { subscriberEnvironment } from "@event-flow/subscriber";
import { z } from "zod";

/** Push services refuse what isn't one, each time that something is pushed. */
function isContact(text: string): boolean {
  if (!/^[!-~]{1,500}$/.test(text)) return false;
  return text.startsWith("mailto:")
    ? z.email().safeParse(text.slice("mailto:".length)).success
    : text.startsWith("https://") && URL.canParse(text);
}

export type Config = ReturnType<typeof readConfig>;

export function readConfig(env: NodeJS.ProcessEnv) {
  return readEnvironment(
    {
      ...subscriberEnvironment(services.notificationService),
      /** Whether the sidecar has the binding for e-mail. */
      EMAIL: z.enum(["on", "off"], "must be on or off").default("off"),
      /** What the key pair for web push is made of, and whom push services turn to; there is no web push without both. */
      VAPID_SECRET: z
        .string()
        .refine((value) => Buffer.byteLength(value) >= 32, "must be at least 32 bytes long")
        .optional()
        .meta(secret),
      VAPID_SUBJECT: z.string().refine(isContact, "must be mailto:<address> or an https URL").optional(),
      /** Push services that are called though they are at no public address, or by another port. */
      PUSH_ENDPOINTS_ALLOWED: z
        .string()
        .default("")
        .transform((list) => list.split(",").filter((origin) => origin !== ""))
        .refine(
          (origins) => origins.every((origin) => origin.startsWith("https://") && URL.parse(origin)?.origin === origin),
          "must be origins like https://push.internal:8443, with commas between them",
        ),
    },
    env,
  );
}
