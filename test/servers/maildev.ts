import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { waitFor } from "../tools/progress.ts";
import { freePort } from "./ports.ts";
import { type LogOption, type Server, serverDir, startServer } from "./process.ts";

const mailSchema = z.object({
  subject: z.string(),
  html: z.string(),
  envelope: z.object({ to: z.array(z.object({ address: z.string() })) }),
});

/** A mail as MailDev shows it. */
export type Mail = z.infer<typeof mailSchema>;

/** MailDev: takes mail for whomever, keeps it, and shows it on a page. */
export interface MailDev extends Server {
  /** The page. */
  readonly url: string;
  readonly smtp: { readonly host: string; readonly port: number };
  /** What was mailed to an address. */
  mails(to: string): Promise<Mail[]>;
  /** Waits until there are so many mails to an address. */
  received(to: string, count: number): Promise<Mail[]>;
}

/** The program that npm's package has: the same that its image runs. */
const program = join(import.meta.dirname, ...["..", "..", "node_modules", "maildev", "dist", "bin", "maildev.js"]);

/** What a MailDev has that was mailed to an address. */
export async function mailsAt(url: string, to: string): Promise<Mail[]> {
  const response = await fetch(`${url}/api/email`);
  const all = z.array(mailSchema).parse(await response.json());
  return all.filter(({ envelope }) => envelope.to.some(({ address }) => address === to));
}

export async function startMailDev({ log }: LogOption = {}): Promise<MailDev> {
  const [port, webPort] = [await freePort(), await freePort()];
  const dir = serverDir("maildev");
  const mailDir = join(dir, "mail");
  mkdirSync(mailDir);
  const url = `http://127.0.0.1:${webPort}`;
  const server = await startServer({
    name: "MailDev",
    dir,
    log,
    command: [
      ...[process.execPath, program, "--ip", "127.0.0.1", "--smtp", String(port)],
      ...["--web-ip", "127.0.0.1", "--web", String(webPort), "--mail-directory", mailDir],
    ],
    timeoutSeconds: 60,
    ready: async () => ((await fetch(`${url}/api/email`)).ok ? true : undefined),
  });
  const mails = (to: string) => mailsAt(url, to);
  return {
    ...server,
    url,
    smtp: { host: "127.0.0.1", port },
    mails,
    received: (to, count) =>
      waitFor(`${count} mails to ${to}`, 60, async () => {
        const found = await mails(to);
        return found.length >= count ? found : undefined;
      }),
  };
}
