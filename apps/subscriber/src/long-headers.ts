import type { Socket } from "node:net";
import type { App } from "@event-flow/service";

type ClientErrorListener = (error: Error & { code?: string }, socket: Socket) => void;

/** How long a sidecar may take to send what is left of its call. */
const drainMs = 5_000;

/**
 * Has the sidecar drop a message whose key is longer than a call's headers may be. Told that they're too long it would try again
 * without end, and no message behind this one would ever be delivered. Others than the sidecar, which is on the same machine, are
 * told what they were before.
 */
export function dropLongHeaders(app: App): void {
  const others = app.server.listeners("clientError") as ClientErrorListener[];
  app.server.removeAllListeners("clientError");
  app.server.on("clientError", (error: Error & { code?: string }, socket: Socket) => {
    const isSidecar = /^(::ffff:)?127\.|^::1$/.test(socket.remoteAddress ?? "");
    if (error.code !== "HPE_HEADER_OVERFLOW" || !isSidecar || !socket.writable) {
      for (const listener of others) listener.call(app.server, error, socket);
      return;
    }
    app.log.error("Dropped event: its key is too long for any event of a task");
    // What comes yet is read, and not looked at: a connection that's reset may take its answer along.
    socket.removeAllListeners("data").on("error", () => undefined);
    socket.resume();
    socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    setTimeout(() => socket.destroy(), drainMs).unref();
  });
}
