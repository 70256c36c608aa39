import { components } from "@event-flow/events";
import { DaprError, type DaprClient } from "@event-flow/service";
import { ChannelAway, Refused, type Channel } from "./channel.ts";
import type { Notification } from "./document.ts";

/** There is one address, whichever it is. */
const target = "address";

/**
 * E-mail, by Dapr's binding `bindings.smtp`.
 *
 * One at a time: the binding keeps what one call says of addressee and subject in its own settings while it makes the mail,
 * for all calls. Two at once could send one user's news to another.
 */
export function emailChannel(dapr: DaprClient): Channel {
  return {
    name: "email",
    concurrency: 1,
    targets: ({ email }) => (email === null ? [] : [target]),
    deliver: async ({ notification, preferences: { email }, confirm }) => {
      if (email === null) throw new Refused("There is no address");
      // A call that was given up may still be under way in a sidecar that hung: this one answers after it was taken up.
      await dapr.checkOutbound().catch((error: unknown) => {
        throw new ChannelAway("The sidecar is away", { cause: error });
      });
      confirm();
      try {
        await dapr.invokeBinding(components.email, {
          operation: "create",
          data: letter(notification),
          metadata: { emailTo: email, subject: subject(notification) },
        });
      } catch (error) {
        throw judge(error, email);
      }
    },
  };
}

/** A mail server's answers from 500 on are final (RFC 5321, 4.2.1), if it is this mail that they are about. */
function judge(error: unknown, email: string): unknown {
  if (!(error instanceof DaprError)) return error;
  // A mail server repeats the address, which no log is to have.
  const cause = error.message.replaceAll(email, "the address");
  const [, code] = /could not send email \d+: (?:(\d{3})[ -])?/.exec(cause) ?? [];
  if (code?.startsWith("5") === true) return new Refused(cause);
  // Neither reached nor signed in to: nobody's mail would fare better.
  return cause.includes("could not send email") && code !== "421" ? new Error(cause) : new ChannelAway(cause);
}

function subject({ message }: Notification): string {
  // A header is one line.
  const line = message.replaceAll(/\p{C}+/gu, " ").trim();
  return line.length > 150 ? `${line.slice(0, 149)}…` : line;
}

/** What the binding sends is HTML, and has no header by which mail servers tell a mail that comes again: the event's id tells the reader. */
function letter({ message, created_at, event_id }: Notification): string {
  return `<!doctype html>
<html lang="en">
  <body>
    <p>${escaped(message)}</p>
    <p><small>${escaped(created_at)} · event ${escaped(event_id)}</small></p>
  </body>
</html>
`;
}

function escaped(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? character);
}
