import { join } from "node:path";
import { toxiproxy } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { freePort } from "./ports.ts";
import { type LogOption, type Server, serverDir, startServer } from "./process.ts";

/** Proxies between the parts, by the name of the part that they lead to. */
export interface Toxiproxy extends Server {
  /** A port that leads to another one. */
  lead(name: string, port: number): Promise<number>;
  /** Closes all connections; new ones are made as before. */
  sever(name: string): Promise<void>;
  /** From now on nothing that is sent arrives, and no connection ends. */
  swallow(name: string): Promise<void>;
  /** Undoes that. */
  release(name: string): Promise<void>;
}

/** https://github.com/Shopify/toxiproxy */
export async function startToxiproxy({ log }: LogOption = {}): Promise<Toxiproxy> {
  const port = await freePort();
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) throw new Error(`Toxiproxy: ${method} ${path}: HTTP ${response.status} ${await response.text()}`);
  };
  const server = await startServer({
    name: "Toxiproxy",
    dir: serverDir("toxiproxy"),
    log,
    command: [join(toolDir(toxiproxy), "server"), "-host=127.0.0.1", `-port=${port}`],
    env: { LOG_LEVEL: "warn" },
    timeoutSeconds: 20,
    ready: async () => {
      await call("GET", "/version");
      return true;
    },
  });
  const streams = ["upstream", "downstream"] as const;
  return {
    ...server,
    lead: async (name, to) => {
      const listen = await freePort();
      await call("POST", "/proxies", { name, listen: `127.0.0.1:${listen}`, upstream: `127.0.0.1:${to}` });
      return listen;
    },
    sever: async (name) => {
      await call("POST", `/proxies/${name}`, { enabled: false });
      await call("POST", `/proxies/${name}`, { enabled: true });
    },
    swallow: async (name) => {
      // With no end of its own this toxic is a black hole.
      const toxic = (stream: string) => ({ name: stream, type: "timeout", stream, attributes: { timeout: 0 } });
      await Promise.all(streams.map((stream) => call("POST", `/proxies/${name}/toxics`, toxic(stream))));
    },
    release: async (name) => {
      await Promise.all(streams.map((stream) => call("DELETE", `/proxies/${name}/toxics/${stream}`)));
    },
  };
}
