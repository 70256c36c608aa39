/**
 * Lists the messages that a subscriber gave up on, with the cause, and replays or discards them.
 *
 *     node commands/dead-letters.ts list    --service <name>
 *     node commands/dead-letters.ts replay  --service <name> <id>… | --all
 *     node commands/dead-letters.ts discard --service <name> <id>… | --all
 *
 * It asks the subscriber's sidecar, which has the state store, and has the backend's publish: nobody else may. Through kubectl, with
 * the tokens in the stack's secrets, in the stack that is up here, or in another one by --context and --namespace; or at --dapr <url>
 * and --publisher <url>, with tokens in DAPR_API_TOKEN and PUBLISHER_API_TOKEN if they need them.
 */
import {
  components,
  deadLetterKeys,
  deadLetterListSchema,
  deadLetterSchema,
  subscribers,
  services,
  type ServiceIdentity,
  type DeadLetter,
  daprHttpPort,
  daprTokenHeader,
} from "@event-flow/events";
import { printable } from "../components/text.ts";
import { forward, type Forward, tokenHeader } from "../test/flow/access.ts";
import { print } from "../test/tools/progress.ts";
import { main, readArguments } from "./process.ts";
import { openWorkspace } from "./workspace.ts";

const names = subscribers.map(({ name }) => name);
const usage =
  "usage: dead-letters.ts list | (replay | discard) (<id>… | --all) " +
  `(--service ${names.join(" | ")} [--context … --namespace …] | --dapr <url> [--publisher <url>])`;

const { values, positionals } = readArguments(usage, {
  allowPositionals: true,
  options: {
    all: { type: "boolean", default: false },
    dapr: { type: "string" },
    publisher: { type: "string" },
    service: { type: "string", default: "" },
    context: { type: "string" },
    namespace: { type: "string", default: "default" },
  },
});
const [verb, ...ids] = positionals;

/** Calls Dapr's HTTP API; resolves to what it answered. */
type Call = (method: string, path: string, body?: { type: string; text: string }) => Promise<Response>;

function caller(url: string, token: Record<string, string>): Call {
  return async (method, path, body) => {
    const response = await fetch(`${url}/v1.0/${path}`, {
      method,
      headers: {
        ...token,
        ...(body !== undefined && { "content-type": body.type }),
      },
      ...(body !== undefined && { body: body.text }),
      signal: AbortSignal.timeout(30_000),
    });
    if (!response.ok) throw new Error(`${method} ${path}: HTTP ${response.status} ${await response.text()}`);
    return response;
  };
}

async function readList(call: Call) {
  const response = await call("GET", `state/${components.stateStore}/${deadLetterKeys.list}?consistency=strong`);
  const list = deadLetterListSchema.parse(response.status === 204 ? [] : await response.json());
  return { list, etag: response.headers.get("etag") ?? undefined };
}

/** Takes a letter off the list, then deletes it: what an interruption leaves is never shown. */
async function remove(call: Call, id: string): Promise<void> {
  for (;;) {
    const { list, etag } = await readList(call);
    const value = list.filter((letter) => letter.id !== id);
    try {
      const options = { concurrency: "first-write", consistency: "strong" };
      const text = JSON.stringify([{ key: deadLetterKeys.list, value, etag, options }]);
      await call("POST", `state/${components.stateStore}`, { type: "application/json", text });
      break;
    } catch (error) {
      // Another wrote the list meanwhile.
      if (!(error instanceof Error && error.message.includes("HTTP 409"))) throw error;
    }
  }
  await call("DELETE", `state/${components.stateStore}/${encodeURIComponent(deadLetterKeys.letter(id))}`);
}

/** Publishes a message to its topic again, as it was. */
async function replay(call: Call, { id, topic, key, event, cut }: DeadLetter): Promise<void> {
  if (cut === true)
    throw new Error(`${printable(id, 400)} was too large to be kept: what is left of it can only be discarded`);
  const isObject = typeof event === "object" && event !== null;
  const query = new URLSearchParams({
    ...(key !== null && { "metadata.partitionKey": key }),
    ...(!isObject && { "metadata.rawPayload": "true" }),
  }).toString();
  await call("POST", `publish/${components.pubsub}/${encodeURIComponent(topic)}?${query}`, {
    type: isObject ? "application/cloudevents+json" : "text/plain",
    text: typeof event === "string" ? event : JSON.stringify(event),
  });
}

async function run({ call, publish }: Sidecars): Promise<void> {
  const { list } = await readList(call);
  if (verb === "list") {
    for (const { id, event_id, failed_at, cause } of list) {
      const event = event_id === null ? "without id" : printable(event_id);
      print(`${printable(id, 400)}\n  event ${event}, given up on ${failed_at}\n  ${printable(cause, 2_000)}`);
    }
    print(list.length === 1 ? "1 dead letter" : `${list.length} dead letters`);
    return;
  }
  // The oldest first, as they came.
  const chosen = values.all ? list.map(({ id }) => id).reverse() : ids;
  for (const id of chosen) {
    if (!list.some((letter) => letter.id === id)) throw new Error(`There is no dead letter ${printable(id, 400)}`);
    if (verb === "replay") {
      const key = encodeURIComponent(deadLetterKeys.letter(id));
      const response = await call("GET", `state/${components.stateStore}/${key}?consistency=strong`);
      await replay(publish, deadLetterSchema.parse(await response.json()));
    }
    await remove(call, id);
    print(`${verb === "replay" ? "replayed" : "discarded"} ${printable(id, 400)}`);
  }
}

/** A sidecar of each kind that is asked. */
interface Sidecars {
  /** The subscriber's. */
  readonly call: Call;
  /** What may publish events. */
  readonly publish: Call;
  readonly close: () => void;
}

/** By addresses that were told. */
function told(url: string): Sidecars {
  const token = (value: string | undefined) => (value === undefined ? {} : { [daprTokenHeader]: value });
  const call = caller(url, token(process.env["DAPR_API_TOKEN"]));
  const { publisher } = values;
  const publish = publisher === undefined ? call : caller(publisher, token(process.env["PUBLISHER_API_TOKEN"]));
  return { call, publish, close: () => undefined };
}

/** In a cluster. */
async function open({ context, namespace }: { context: string | undefined; namespace: string }): Promise<Sidecars> {
  const access = context === undefined ? await openWorkspace() : { kubectl: "kubectl", context, namespace, env: {} };
  const ways: Forward[] = [];
  const close = () => {
    for (const way of ways) way.close();
  };
  const to = async (service: ServiceIdentity): Promise<Call> => {
    const token = await tokenHeader(access, service);
    const way = await forward(access, `deployment/${service.name}`, daprHttpPort);
    ways.push(way);
    return caller(way.url, token);
  };
  try {
    const subscriber = subscribers.find(({ name }) => name === values.service);
    if (subscriber === undefined) throw new Error(usage);
    const call = await to(subscriber);
    return { call, publish: verb === "replay" ? await to(services.backend) : call, close };
  } catch (error) {
    close();
    throw error;
  }
}

await main(async () => {
  const known = verb === "list" ? ids.length === 0 : verb === "replay" || verb === "discard";
  const isSomeones = /^https?:/.test(values.dapr ?? "") || names.includes(values.service);
  if (!known || !isSomeones || (verb !== "list" && values.all === ids.length > 0)) throw new Error(usage);
  const sidecars =
    values.dapr === undefined
      ? await open({ context: values.context, namespace: values.namespace })
      : told(values.dapr);
  try {
    await run(sidecars);
  } finally {
    sidecars.close();
  }
});
