import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What a server sent on one connection, and whether it closed it. */
export interface Exchange {
  readonly received: string;
  readonly closed: boolean;
}

/** Opens a connection, has `speak` send whatever it likes, and waits until the server closes it, at most for so long. */
export async function exchange(
  url: string,
  speak: (socket: Socket) => void | Promise<void>,
  { timeoutMs = 10_000 } = {},
): Promise<Exchange> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  // A server that closes while one still speaks to it resets the connection.
  socket.on("error", () => undefined);
  const closed = new Promise<true>((resolve) => {
    socket.once("close", () => {
      resolve(true);
    });
  });
  void Promise.resolve(speak(socket));
  const isClosed = await Promise.race([closed, sleep(timeoutMs, false as const, { ref: false })]);
  socket.destroy();
  return { received: Buffer.concat(chunks).toString("latin1"), closed: isClosed };
}

/** The status and the body of the first answer. */
export function firstAnswer({ received }: Exchange): { status: number; body: unknown } {
  const [head = "", rest = ""] = received.split("\r\n\r\n", 2);
  const [, length = "0"] = /^content-length: (\d+)/im.exec(head) ?? [];
  const text = rest.slice(0, Number(length));
  const json = text.startsWith("{") ? (JSON.parse(text) as unknown) : text;
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]), body: json };
}

/** Says something byte by byte, with pauses, as long as somebody listens. */
export async function dribble(socket: Socket, text: string, pauseMs: number): Promise<void> {
  for (const byte of Buffer.from(text)) {
    if (socket.destroyed) return;
    socket.write(Buffer.from([byte]));
    await sleep(pauseMs);
  }
}
