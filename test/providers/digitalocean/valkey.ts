import { once } from "node:events";
import { connect as connectPlainly } from "node:net";
import { connect } from "node:tls";

/** Sends one command and returns the first line of the answer. */
export async function call(options: {
  readonly address: string;
  readonly port: number;
  /** Whose certificate it has to show; `undefined` for plaintext. */
  readonly tls: { readonly ca: string; readonly servername: string } | undefined;
  readonly password: string;
  readonly command: readonly string[];
}): Promise<string> {
  const { address: host, port, tls, password, command } = options;
  const socket = tls === undefined ? connectPlainly({ host, port }) : connect({ host, port, ...tls });
  try {
    await once(socket, tls === undefined ? "connect" : "secureConnect", { signal: AbortSignal.timeout(5_000) });
    const answer = async (words: readonly string[]): Promise<string> => {
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`);
      const [data] = (await once(socket, "data", { signal: AbortSignal.timeout(5_000) })) as [Buffer];
      return data.toString().split("\r\n")[0] ?? "";
    };
    const signedIn = await answer(["AUTH", password]);
    if (signedIn !== "+OK") return signedIn;
    return await answer(command);
  } finally {
    socket.destroy();
  }
}
