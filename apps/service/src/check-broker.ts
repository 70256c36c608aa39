/**
 * Checks that a sidecar will be able to use a broker that asks for SASL by TLS, and says what is wrong if it won't: the sidecar
 * itself only ends and is started again. Runs as a Kubernetes Job before the services get new credentials.
 *
 * It speaks just enough of Kafka's protocol (https://kafka.apache.org/protocol) to sign in by SCRAM (RFC 5802) and to ask for
 * the topics.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { deadLetterTopic, eventTypes, services, topic } from "@event-flow/events";
import { z } from "zod";
import { readEnvironment, secret } from "./environment.ts";
import { startOrExit } from "./server.ts";

const text = () => z.string("must not be empty").min(1, "must not be empty");
const environment = {
  BROKERS: text(),
  SASL_USERNAME: text(),
  SASL_PASSWORD: text().meta(secret),
  SASL_MECHANISM: z.enum(["SCRAM-SHA-256", "SCRAM-SHA-512"], "must be SCRAM-SHA-256 or SCRAM-SHA-512"),
  /** A CA of the brokers' own, in PEM. */
  CA_CERT: z.string().optional(),
};
type Settings = ReturnType<typeof readEnvironment<typeof environment>>;

/** How long a broker may take for each answer, in milliseconds. */
const timeout = 10_000;

const apis = { metadata: [3, 4], saslHandshake: [17, 1], saslAuthenticate: [36, 0] } as const;
const unsupportedMechanism = 33;
const authenticationFailed = 58;
/** Error codes of a topic that can't be used; others, such as that it has no leader yet, pass by themselves. */
const topicProblems: Readonly<Record<number, string>> = {
  3: "is missing, and the broker makes none by itself",
  29: "may not be used by this user",
};

/** What is wrong, for the operator. */
class Problem extends Error {}

async function check(broker: string, settings: Settings): Promise<void> {
  const socket = await open(broker, settings.CA_CERT);
  try {
    const connection = new Connection(broker, socket);
    await signIn(connection, settings);
    await checkTopics(connection, settings.SASL_USERNAME);
  } finally {
    socket.destroy();
  }
}

async function open(broker: string, ca: string | undefined): Promise<TLSSocket> {
  const [host = "", port = ""] = broker.split(":");
  const socket = connect({ host, port: Number(port), servername: host, ...(ca === undefined ? {} : { ca }) });
  try {
    await once(socket, "secureConnect", { signal: AbortSignal.timeout(timeout) });
    return socket;
  } catch (error) {
    socket.destroy();
    const { code = "", message } = error as NodeJS.ErrnoException;
    if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) {
      const by = ca === undefined ? "the public CAs" : "the CA in event-flow:redpandaCa";
      throw new Problem(`The certificate of ${broker} can't be verified by ${by}: ${message.split(";")[0]}.`);
    }
    if (code.startsWith("ERR_SSL")) throw new Problem(`${broker} doesn't speak TLS: ${message}.`);
    const why = (error as Error).name === "AbortError" ? `no answer within ${timeout / 1_000} s` : message;
    throw new Problem(`${broker} (event-flow:redpandaBrokers) can't be reached: ${why}.`);
  }
}

async function signIn(connection: Connection, settings: Settings): Promise<void> {
  const { SASL_USERNAME: username, SASL_PASSWORD: password, SASL_MECHANISM: mechanism } = settings;
  const handshake = await connection.call(apis.saslHandshake, encodeText(mechanism));
  if (handshake.int16() === unsupportedMechanism) {
    const offered = handshake.list(() => handshake.text()).join(", ");
    throw new Problem(`${connection.broker} doesn't take ${mechanism} (event-flow:redpandaMechanism), but ${offered}.`);
  }

  const authenticate = async (message: string): Promise<string> => {
    const bytes = Buffer.from(message);
    const answer = await connection.call(apis.saslAuthenticate, Buffer.concat([encodeInt32(bytes.length), bytes]));
    const code = answer.int16();
    const why = answer.text();
    if (code === authenticationFailed) {
      throw new Problem(
        `${connection.broker} refuses the user ${username} with the password in event-flow:redpandaPassword: ${why}`,
      );
    }
    if (code !== 0) throw new Problem(`${connection.broker} answers the sign-in with Kafka's error ${code}: ${why}`);
    return answer.bytes().toString();
  };

  const hash = mechanism === "SCRAM-SHA-256" ? "sha256" : "sha512";
  const hmac = (key: Buffer, data: string) => createHmac(hash, key).update(data).digest();
  const name = username.replaceAll("=", "=3D").replaceAll(",", "=2C");
  const first = `n=${name},r=${randomBytes(18).toString("base64url")}`;
  const challenge = await authenticate(`n,,${first}`);
  const {
    r: nonce = "",
    s: salt = "",
    i: iterations = "",
  } = Object.fromEntries(challenge.split(",").map((part) => [part.slice(0, 1), part.slice(2)]));
  const length = createHash(hash).digest().length;
  const salted = pbkdf2Sync(password, Buffer.from(salt, "base64"), Number(iterations), length, hash);
  const clientKey = hmac(salted, "Client Key");
  const last = `c=biws,r=${nonce}`;
  const signed = hmac(createHash(hash).update(clientKey).digest(), `${first},${challenge},${last}`);
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signed[index] ?? 0)));
  await authenticate(`${last},p=${proof.toString("base64")}`);
}

async function checkTopics(connection: Connection, username: string): Promise<void> {
  const names = [...eventTypes.map((type) => topic(type)), deadLetterTopic(services.notificationService)];
  // The last byte asks for topics that are missing to be made, as the sidecar does.
  const request = Buffer.concat([encodeInt32(names.length), ...names.map(encodeText), Buffer.from([1])]);
  const answer = await connection.call(apis.metadata, request);
  answer.int32();
  answer.list(() => [answer.int32(), answer.text(), answer.int32(), answer.text()]);
  answer.text();
  answer.int32();
  const problems = answer.list(() => {
    const problem = topicProblems[answer.int16()];
    const name = answer.text();
    answer.skip(1);
    answer.list(() => {
      answer.skip(2 + 4 + 4);
      answer.list(() => answer.int32());
      answer.list(() => answer.int32());
    });
    return problem === undefined ? [] : [`The topic ${name} ${problem}.`];
  });
  const found = problems.flat();
  if (found.length > 0) throw new Problem(`${connection.broker} takes ${username}, but:\n${found.join("\n")}`);
}

/** One question, one answer. */
class Connection {
  readonly broker: string;
  readonly #socket: TLSSocket;

  constructor(broker: string, socket: TLSSocket) {
    this.broker = broker;
    this.#socket = socket;
  }

  async call([api, version]: readonly [number, number], body: Buffer): Promise<Answer> {
    const header = Buffer.alloc(10);
    header.writeInt16BE(api, 0);
    header.writeInt16BE(version, 2);
    header.writeInt16BE(-1, 8);
    this.#socket.write(Buffer.concat([encodeInt32(header.length + body.length), header, body]));
    let received = Buffer.alloc(0);
    const signal = AbortSignal.timeout(timeout);
    try {
      while (received.length < 4 || received.length < 4 + received.readInt32BE(0)) {
        const [chunk] = (await once(this.#socket, "data", { signal })) as [Buffer];
        received = Buffer.concat([received, chunk]);
      }
    } catch (error) {
      const why = (error as Error).name === "AbortError" ? `not within ${timeout / 1_000} s` : (error as Error).message;
      throw new Problem(`${this.broker} speaks TLS, but gives no answer of Kafka's protocol: ${why}.`);
    }
    return new Answer(received.subarray(8));
  }
}

function encodeInt32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function encodeText(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(2);
  length.writeInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** Reads an answer from its start to its end. */
class Answer {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  skip(length: number): void {
    this.#at += length;
  }

  int16(): number {
    this.#at += 2;
    return this.#data.readInt16BE(this.#at - 2);
  }

  int32(): number {
    this.#at += 4;
    return this.#data.readInt32BE(this.#at - 4);
  }

  /** A length, which is -1 for nothing, and as many bytes. */
  #take(length: number): Buffer {
    this.#at += Math.max(length, 0);
    return this.#data.subarray(this.#at - Math.max(length, 0), this.#at);
  }

  text(): string {
    return this.#take(this.int16()).toString();
  }

  bytes(): Buffer {
    return this.#take(this.int32());
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(this.int32(), 0) }, read);
  }
}

await startOrExit(async () => {
  const settings = readEnvironment(environment, process.env);
  const problems: string[] = [];
  for (const broker of settings.BROKERS.split(",")) {
    try {
      await check(broker, settings);
      console.log(`${broker} takes ${settings.SASL_USERNAME}, and has every topic.`);
      // Clients need but one to find the others.
      return;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      problems.push(error.message);
    }
  }
  console.log(problems.join("\n"));
  process.exitCode = 1;
});
