import { connect } from "node:net";
import { once } from "node:events";
import { freePort } from "./ports.ts";
import { insideRoot, type LogOption, type Server, serverDir, startServer } from "./process.ts";

export interface Valkey extends Server {
  readonly port: number;
  readonly address: string;
  readonly password: string;
}

const password = "battery-staple-correct-horse";

export async function startValkey({ log }: LogOption = {}): Promise<Valkey> {
  const port = await freePort();
  const dir = serverDir("valkey");
  const server = await startServer({
    name: "Valkey",
    dir,
    log,
    // What was acknowledged is there after a kill.
    command: insideRoot(
      dir,
      `exec valkey-server --bind 127.0.0.1 --port ${port} --requirepass ${password} --dir /mnt --save '' \
        --appendonly yes --appendfsync no`,
    ),
    timeoutSeconds: 20,
    ready: async () => {
      const socket = connect(port, "127.0.0.1");
      try {
        await once(socket, "connect");
        socket.write(`AUTH ${password}\r\n`);
        const [answer] = (await once(socket, "data")) as [Buffer];
        return answer.toString().startsWith("+OK") ? true : undefined;
      } finally {
        socket.destroy();
      }
    },
  });
  return { ...server, port, address: `127.0.0.1:${port}`, password };
}
