import { once } from "node:events";
import { createServer } from "node:net";
import { randomInt } from "node:crypto";

/** Tries to listen, and resolves to what does; undefined if another does already. */
async function tryToListen(where: { port: number; host: string } | { path: string }) {
  const server = createServer();
  server.listen(where);
  try {
    await once(server, "listening");
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return undefined;
    throw error;
  }
}

/** Whether nothing listens on a port. */
async function isFree(port: number): Promise<boolean> {
  const server = await tryToListen({ port, host: "127.0.0.1" });
  if (server === undefined) return false;
  server.close();
  await once(server, "close");
  return true;
}

/**
 * Keeps other processes that ask here, and this one, from being given the same port before it's used. An abstract Unix socket
 * is given back by the kernel when its process ends.
 */
async function reserve(port: number): Promise<boolean> {
  const server = await tryToListen({ path: `\0event-flow-port-${port}` });
  server?.unref();
  return server !== undefined;
}

/** Takes a port, for as long as this process is, if it's free. */
export async function take(port: number): Promise<boolean> {
  return (await reserve(port)) && (await isFree(port));
}

/** A free loopback port, outside the range from which the kernel takes the ports of outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    if (await take(port)) return port;
  }
}
