import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

/** A mail server that does as a test says, where MailDev takes everything. */
export interface SmtpServer {
  readonly smtp: { readonly host: string; readonly port: number };
  /** The addressees of the mails that it took, in their order. */
  readonly taken: readonly string[];
  /** Those mails, as they came. */
  readonly mails: readonly string[];
  close(): Promise<void>;
}

export interface SmtpAnswers {
  /** What it answers to an addressee. @default that he is known */
  readonly to?: (address: string) => string;
  /** Called when it has a mail, before it says so. @default says so at once */
  readonly took?: (address: string) => Promise<void> | void;
}

/** The least that takes mail (https://www.rfc-editor.org/rfc/rfc5321). */
export async function startSmtpServer(answers: SmtpAnswers): Promise<SmtpServer> {
  const taken: string[] = [];
  const mails: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // One that gave up is no concern here.
    socket.on("error", () => socket.destroy());
    void converse(socket, answers, (addressee, mail) => {
      taken.push(addressee);
      mails.push(mail);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  return {
    smtp: { host: "127.0.0.1", port },
    taken,
    mails,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

async function converse(
  socket: Socket,
  { to, took }: SmtpAnswers,
  take: (addressee: string, mail: string) => void,
): Promise<void> {
  const say = (line: string) => socket.write(`${line}\r\n`);
  say("220 mail.example.com");
  let addressee = "";
  let inMail = false;
  let mail = "";
  for await (const line of createInterface({ input: socket })) {
    if (inMail) {
      if (line !== ".") {
        mail += `${line}\n`;
        continue;
      }
      inMail = false;
      take(addressee, mail);
      await took?.(addressee);
      say("250 Taken");
      continue;
    }
    const command = line.slice(0, 4).toUpperCase();
    if (command === "RCPT") {
      addressee = /<(.*)>/.exec(line)?.[1] ?? "";
      say(to?.(addressee) ?? "250 Known");
    } else if (command === "DATA") {
      inMail = true;
      mail = "";
      say("354 Go on");
    } else if (command === "QUIT") {
      say("221 Bye");
      socket.end();
    } else {
      say("250 Well");
    }
  }
}
