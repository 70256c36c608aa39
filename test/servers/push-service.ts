import { createECDH, createPublicKey, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { cpSync, readFileSync, rmSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { type WebSocket, WebSocketServer } from "ws";
import { z } from "zod";
import { waitFor } from "../tools/progress.ts";
import { authority } from "../cluster/pki.ts";
import { freePort } from "./ports.ts";
import { serverDir } from "./process.ts";
import { decrypt, type PushKeys } from "./web-push.ts";

/** A subscription as `JSON.stringify` makes it of a browser's. */
export interface SubscriptionJson {
  readonly endpoint: string;
  readonly keys: { readonly p256dh: string; readonly auth: string };
}

/** A subscription of no browser's, whose keys a test has. */
export interface Subscription {
  readonly json: SubscriptionJson;
  /** What was pushed to it, decrypted, in its order. */
  messages(): Record<string, unknown>[];
  /** Waits until so many were. */
  received(count: number): Promise<Record<string, unknown>[]>;
  /** How many of them wait for a browser to fetch them. */
  waiting(): number;
  /** From now on nobody is subscribed: 410. */
  end(): void;
}

/** What a service asked for, and what it was answered. */
export interface PushRequest {
  readonly endpoint: string;
  readonly status: number;
  readonly reason: string;
  readonly topic: string | undefined;
}

export interface PushServiceOptions {
  /** Whose certificate it has, so that who trusts that one trusts it. @default one of its own authority */
  readonly trustedWith?: PushService;
}

/** The stand-in of a browser maker's push service. */
export interface PushService {
  /** Where endpoints are. */
  readonly origin: string;
  /** Where browsers connect to. */
  readonly webSocketUrl: string;
  /** The file of the authority that its certificate is from. */
  readonly ca: string;
  readonly requests: readonly PushRequest[];
  /** Subscribes to what is sent with a key, in a browser's place. */
  subscribe(applicationServerKey: string): Subscription;
  /** Whether somebody is subscribed by an endpoint. */
  isSubscribed(endpoint: string): boolean;
  /** What it answers from now on instead of looking at what it gets; `undefined` ends that. */
  answer(forced: { status: number; headers?: Record<string, string> } | undefined): void;
  /** Called when it has a message, before it says so. */
  took: (() => Promise<void> | void) | undefined;
  /** Stops listening for services; `up` goes on, with everything that it knew. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

interface Message {
  readonly version: string;
  readonly topic: string | undefined;
  readonly body: Buffer;
}

/** One subscription, and the browser that it is of. */
interface Channel {
  readonly id: string;
  readonly serverKey: string;
  readonly uaid: string | undefined;
  gone: boolean;
  /** What the browser hasn't acknowledged. */
  readonly pending: Message[];
  /** All that was taken. */
  readonly taken: Message[];
}

/** What keeps a push from being taken, with the status that says so. */
class Fault extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const clientMessage = z.discriminatedUnion("messageType", [
  z.looseObject({ messageType: z.literal("hello"), uaid: z.string().optional() }),
  z.looseObject({ messageType: z.literal("register"), channelID: z.string(), key: z.string().optional() }),
  z.looseObject({ messageType: z.literal("unregister"), channelID: z.string() }),
  z.looseObject({ messageType: z.literal("ack"), updates: z.array(z.looseObject({ version: z.string() })) }),
]);

const claimsSchema = z.object({ aud: z.string(), exp: z.number(), sub: z.string() });

const oldestDays = 1;

/** Checks who sends, as RFC 8292 has it, and that it's who the subscription is for. */
function checkVapid(header: string | undefined, origin: string, serverKey: string): void {
  const { t: token = "", k: key = "" } = /^vapid (?<fields>.+)$/.exec(header ?? "")?.groups
    ? Object.fromEntries(
        (header ?? "")
          .slice("vapid ".length)
          .split(",")
          .map((field) => field.trim().split("=", 2) as [string, string]),
      )
    : {};
  if (token === "" || key === "") throw new Fault(401, "there is no Authorization by vapid");
  if (key !== serverKey) throw new Fault(403, "the key is not the one of the subscription");
  const [head = "", body = "", signature = ""] = token.split(".");
  const { alg } = JSON.parse(Buffer.from(head, "base64url").toString()) as { alg?: string };
  if (alg !== "ES256") throw new Fault(401, `the token is signed by ${String(alg)}`);
  const point = Buffer.from(key, "base64url");
  const jwk = {
    ...{ kty: "EC", crv: "P-256" },
    ...{ x: point.subarray(1, 33).toString("base64url"), y: point.subarray(33).toString("base64url") },
  };
  const isSigned = verify(
    "sha256",
    Buffer.from(`${head}.${body}`),
    { key: createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" },
    Buffer.from(signature, "base64url"),
  );
  if (!isSigned) throw new Fault(401, "the token's signature is not its key's");
  const claims = claimsSchema.safeParse(JSON.parse(Buffer.from(body, "base64url").toString()));
  if (!claims.success) throw new Fault(401, "the token doesn't say aud, exp and sub");
  const { aud, exp, sub } = claims.data;
  const now = Date.now() / 1_000;
  if (aud !== origin) throw new Fault(401, `the token is for ${aud}`);
  if (exp <= now) throw new Fault(401, "the token is expired");
  if (exp > now + oldestDays * 24 * 3600) throw new Fault(401, "the token is good for more than a day");
  if (!/^(mailto:.+@.+|https:\/\/.+)$/.test(sub)) throw new Fault(401, "the token names no contact");
}

/** Checks what is sent: RFC 8030 for the headers, RFC 8188 and 8291 for the body. */
function checkMessage(headers: IncomingMessage["headers"], body: Buffer): void {
  const { ttl, urgency, topic } = headers;
  if (typeof ttl !== "string" || !/^\d+$/.test(ttl)) throw new Fault(400, "TTL is missing, or no number of seconds");
  if (urgency !== undefined && !/^(very-low|low|normal|high)$/.test(String(urgency))) throw new Fault(400, "Urgency");
  if (topic !== undefined && !/^[\w-]{1,32}$/.test(String(topic))) throw new Fault(400, "Topic");
  if (headers["content-encoding"] !== "aes128gcm") throw new Fault(400, "Content-Encoding is not aes128gcm");
  if (body.length > 4_096) throw new Fault(413, "more than 4096 bytes");
  // Salt, record size, and the length of the sender's key, which is a point of P-256.
  if (body.length < 16 + 4 + 1 + 65 + 18 || body[20] !== 65 || body[21] !== 4)
    throw new Fault(400, "no aes128gcm header");
  const recordSize = body.readUInt32BE(16);
  if (recordSize < body.length - 86) throw new Fault(400, "more than one record");
}

/**
 * A push service in the place of Mozilla's, Google's and Apple's, which can't be reached from tests: for services by the
 * standard, and as strict; for Firefox by the protocol that Mozilla's speaks
 * (https://mozilla-push-service.readthedocs.io/en/latest/design/), so that it's the browser's own code that subscribes and decrypts.
 */
export async function startPushService({ trustedWith }: PushServiceOptions = {}): Promise<PushService> {
  const dir = serverDir("push-service");
  if (trustedWith === undefined) {
    const issue = await authority(dir, "Push service");
    await issue("server", "CN=127.0.0.1", [{ type: "ip", value: "127.0.0.1" }]);
  } else {
    // A certificate says nothing of ports.
    cpSync(dirname(trustedWith.ca), dir, { recursive: true });
  }
  const port = await freePort();
  const origin = `https://127.0.0.1:${port}`;
  const channels = new Map<string, Channel>();
  const browsers = new Map<string, WebSocket>();
  const requests: PushRequest[] = [];
  let forced: { status: number; headers?: Record<string, string> } | undefined;

  const endpointOf = ({ id }: Channel) => `${origin}/wpush/v2/${id}`;
  const open = (serverKey: string, uaid?: string): Channel => {
    const channel = { id: randomBytes(24).toString("base64url"), serverKey, uaid, gone: false, pending: [], taken: [] };
    channels.set(channel.id, channel);
    return channel;
  };
  /** By the name that the browser gave its channel. */
  const named = new Map<string, Channel>();
  const nameOf = (channel: Channel) => [...named].find(([, each]) => each === channel)?.[0];

  const pass = (channel: Channel) => {
    const browser = channel.uaid === undefined ? undefined : browsers.get(channel.uaid);
    for (const { version, body } of browser === undefined ? [] : channel.pending) {
      const message = { messageType: "notification", channelID: nameOf(channel), version };
      browser?.send(
        JSON.stringify({ ...message, data: body.toString("base64url"), headers: { encoding: "aes128gcm" } }),
      );
    }
  };

  const take = async (request: IncomingMessage): Promise<Channel> => {
    const body = await buffer(request);
    const channel = channels.get(/^\/wpush\/v2\/([\w-]+)$/.exec(request.url ?? "")?.[1] ?? "");
    if (request.method !== "POST") throw new Fault(405, "not POST");
    if (channel === undefined) throw new Fault(404, "no such endpoint");
    if (forced !== undefined) throw new Fault(forced.status, "as the test has it");
    checkVapid(request.headers.authorization, origin, channel.serverKey);
    checkMessage(request.headers, body);
    if (channel.gone) throw new Fault(410, "nobody is subscribed");
    const topic = request.headers["topic"]?.toString();
    const message: Message = { version: randomBytes(12).toString("base64url"), topic, body };
    // One that waits is replaced by another of the same topic (RFC 8030, 5.4).
    const waiting = channel.pending.findIndex((each) => topic !== undefined && each.topic === topic);
    if (waiting === -1) channel.pending.push(message);
    else channel.pending.splice(waiting, 1, message);
    channel.taken.push(message);
    pass(channel);
    await service.took?.();
    return channel;
  };

  const listen = async () => {
    const server = createSecureServer(
      { cert: readFileSync(join(dir, "server.crt")), key: readFileSync(join(dir, "server.key")) },
      (request, response) => {
        const note = (status: number, reason: string) => {
          const endpoint = `${origin}${request.url ?? ""}`;
          requests.push({ endpoint, status, reason, topic: request.headers["topic"]?.toString() });
        };
        take(request).then(
          () => {
            note(201, "taken");
            response.writeHead(201, { location: `${origin}/m/1`, ttl: request.headers["ttl"] }).end();
          },
          (error: unknown) => {
            const { status, message } = error instanceof Fault ? error : new Fault(400, String(error));
            note(status, message);
            response.writeHead(status, forced?.headers).end(message);
          },
        );
      },
    );
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return server;
  };

  const webSocketPort = await freePort();
  const webSockets = new WebSocketServer({ host: "127.0.0.1", port: webSocketPort });
  await once(webSockets, "listening");
  webSockets.on("connection", (socket) => {
    let uaid = "";
    const say = (message: object) => {
      socket.send(JSON.stringify(message));
    };
    socket.on("close", () => {
      if (browsers.get(uaid) === socket) browsers.delete(uaid);
    });
    socket.on("message", (data: Buffer) => {
      const message = clientMessage.safeParse(JSON.parse(data.toString())).data;
      switch (message?.messageType) {
        case "hello":
          uaid = message.uaid !== undefined && message.uaid !== "" ? message.uaid : randomBytes(16).toString("hex");
          browsers.set(uaid, socket);
          say({ messageType: "hello", status: 200, uaid, use_webpush: true, broadcasts: {} });
          for (const channel of channels.values()) if (channel.uaid === uaid) pass(channel);
          return;
        case "register": {
          const { channelID } = message;
          // Padded, which a key in the header of a service never is.
          const channel = open((message.key ?? "").replace(/=+$/, ""), uaid);
          named.set(channelID, channel);
          say({ messageType: "register", status: 200, channelID, pushEndpoint: endpointOf(channel) });
          return;
        }
        case "unregister": {
          const channel = named.get(message.channelID);
          if (channel !== undefined) channel.gone = true;
          say({ messageType: "unregister", status: 200, channelID: message.channelID });
          return;
        }
        case "ack":
          for (const { pending } of channels.values()) {
            for (const { version } of message.updates) {
              const acknowledged = pending.findIndex((each) => each.version === version);
              if (acknowledged !== -1) pending.splice(acknowledged, 1);
            }
          }
          return;
        case undefined:
        // Whatever else: pings, and what Firefox's own settings subscribe to.
      }
    });
  });

  let server = await listen();
  const down = async () => {
    if (!server.listening) return;
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };

  const service: PushService = {
    origin,
    webSocketUrl: `ws://127.0.0.1:${webSocketPort}/`,
    ca: join(dir, "ca.crt"),
    requests,
    subscribe: (serverKey) => {
      const channel = open(serverKey);
      const ecdh = createECDH("prime256v1");
      ecdh.generateKeys();
      const keys: PushKeys = { ecdh, auth: randomBytes(16) };
      const messages = () =>
        channel.taken.map(({ body }) => JSON.parse(decrypt(keys, body).toString()) as Record<string, unknown>);
      return {
        json: {
          endpoint: endpointOf(channel),
          keys: { p256dh: ecdh.getPublicKey("base64url"), auth: keys.auth.toString("base64url") },
        },
        messages,
        received: (count) =>
          waitFor(
            `${count} messages by web push`,
            60,
            () => Promise.resolve(channel.taken.length >= count ? messages() : undefined),
            () => JSON.stringify(requests.slice(-10)),
          ),
        waiting: () => channel.pending.length,
        end: () => {
          channel.gone = true;
        },
      };
    },
    isSubscribed: (endpoint) =>
      [...channels.values()].some((channel) => !channel.gone && endpointOf(channel) === endpoint),
    answer: (answer) => {
      forced = answer;
    },
    took: undefined,
    down,
    up: async () => {
      server = await listen();
    },
    close: async () => {
      await down();
      for (const socket of webSockets.clients) socket.terminate();
      webSockets.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return service;
}
