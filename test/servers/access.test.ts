/** What services, their sidecars and others may not do with each other, by what the stack gives them. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import {
  allTopics,
  components,
  deadLetterKeys,
  deadLetterListSchema,
  deadLetterTopic,
  probeTopic,
  type ServiceKey,
  serviceKeys,
  services,
  topic,
  topicsOf,
} from "@event-flow/events";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { repositoryRoot } from "../../components/content-tag.ts";
import { eventLines } from "../flow/access.ts";
import { waitFor } from "../tools/progress.ts";
import { call } from "./client.ts";
import { type Daprd, type DaprdOptions, startDaprd } from "./daprd.ts";
import { eventServer } from "./event-server.ts";
import { eventOf } from "./events.ts";
import { freePort } from "./ports.ts";
import { type Pod, startSystem, type System } from "./system.ts";

let system: System;
const strangers: { readonly daprd: Daprd; readonly server: Server }[] = [];

beforeAll(async () => {
  system = await startSystem();
});

afterAll(async () => {
  for (const { daprd, server } of strangers) {
    await daprd.stop();
    server.closeAllConnections();
    server.close();
  }
  await system.stop();
});

const subscriberKeys = serviceKeys.filter((key) => key !== "backend");

function pod(key: ServiceKey): Pod {
  const [first] = system.pods[key];
  if (first === undefined) throw new Error(`there is no ${key}`);
  return first;
}

/** Calls a sidecar with a token, by default its own. */
async function ask(
  { httpPort, apiToken }: Pick<Daprd, "httpPort" | "apiToken">,
  method: string,
  path: string,
  { body, token = apiToken }: { body?: unknown; token?: string | undefined } = {},
) {
  const response = await fetch(`http://127.0.0.1:${httpPort}/${path}`, {
    method,
    headers: { "content-type": "application/json", ...(token !== undefined && { "dapr-api-token": token }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}

/** One more sidecar, whose app subscribes to topics that are none of its business. */
async function startStranger(appId: string, topics: readonly string[], options: Partial<DaprdOptions> = {}) {
  const taken: unknown[] = [];
  const subscriptions = topics.map((each) => ({ pubsubname: components.pubsub, topic: each, route: "/" }));
  const server = eventServer(subscriptions, (event) => taken.push(event));
  const appPort = await freePort();
  server.listen(appPort, "127.0.0.1");
  await once(server, "listening");
  const { kafka, valkey } = system;
  const store = { address: `127.0.0.1:${valkey.port}`, password: valkey.password };
  const daprd = await startDaprd({ appId, appPort, brokers: kafka.brokers, valkey: store, ...options });
  strangers.push({ daprd, server });
  return { daprd, taken };
}

const publish = (daprd: Daprd, to: string, body: unknown = {}) =>
  ask(daprd, "POST", `v1.0/publish/${components.pubsub}/${to}`, { body });

const anyEvent = () =>
  eventOf("task_created", {
    task_id: 1,
    user_id: randomUUID(),
    title: "Forged",
    priority_id: null,
    due_date: null,
    created_at: new Date().toISOString(),
  });

const everyTopic = [...allTopics, probeTopic, "task-events.other"];

describe.each(serviceKeys)("%s", (key) => {
  const { publishes, subscribes } = topicsOf(key);
  const others = serviceKeys.filter((each) => each !== key);

  test("publishes to its own topics only", async () => {
    const refused: string[] = [];
    // Nothing is published that others would have to do with.
    for (const each of everyTopic.filter((to) => !publishes.includes(to) || to === probeTopic)) {
      const { status, text } = await publish(pod(key).daprd, each);
      if (status === 403 && text.includes("ERR_PUBSUB_FORBIDDEN")) refused.push(each);
    }
    expect(refused).toEqual(everyTopic.filter((each) => !publishes.includes(each)));
    for (const each of everyTopic.filter((to) => !publishes.includes(to))) {
      const entry = { entryId: "1", event: {}, contentType: "application/json" };
      const path = `v1.0/publish/bulk/${components.pubsub}/${each}`;
      expect((await ask(pod(key).daprd, "POST", path, { body: [entry] })).status).toBe(403);
    }
  });

  test("is delivered the topics that it is to handle, and no other", async () => {
    const { status, body } = await call<{ topic: string }[]>("GET", `${pod(key).app.url}/dapr/subscribe`, {
      headers: { "dapr-api-token": pod(key).appApiToken },
    });
    const told = status === 404 ? [] : body.map((subscription) => subscription.topic);
    expect(told.toSorted()).toEqual(subscribes.toSorted());
    const { text } = await ask(pod(key).daprd, "GET", "v1.0/metadata");
    const { subscriptions = [] } = JSON.parse(text) as { subscriptions?: { topic: string }[] };
    expect(subscriptions.map((subscription) => subscription.topic).toSorted()).toEqual(subscribes.toSorted());
  });

  test.each(["", "wrong", ...others])("has its sidecar for itself: not for who shows the token of %j", async (of) => {
    const [other] = others.filter((each) => each === of);
    const token = other === undefined ? of : pod(other).daprd.apiToken;
    for (const [method, path] of [
      ["GET", "v1.0/metadata"],
      ["POST", `v1.0/publish/${components.pubsub}/${probeTopic}`],
      ["GET", `v1.0/state/${components.stateStore}/${deadLetterKeys.list}`],
      ["POST", "v1.0/shutdown"],
    ] as const) {
      expect((await ask(pod(key).daprd, method, path, { token })).status).toBe(401);
    }
    // What it shows by itself is to be shown by nobody else either.
    expect((await ask(pod(key).daprd, "GET", "v1.0/metadata", { token: pod(key).appApiToken })).status).toBe(401);
    expect((await ask(pod(key).daprd, "GET", "v1.0/healthz/outbound", { token })).status).toBe(204);
  });

  test.each(["", "wrong", ...others])("does nothing of a sidecar's for who shows the token of %j", async (of) => {
    const [other] = others.filter((each) => each === of);
    const token = other === undefined ? of : pod(other).appApiToken;
    for (const [method, path] of [
      ["GET", "/dapr/subscribe"],
      ["GET", "/dapr/config"],
      ["POST", "/dapr/subscribe"],
      ["DELETE", "/dapr/"],
      ["GET", "/%64apr/subscribe"],
      ...(key === "backend"
        ? [["GET", `/internal/${randomUUID()}/tasks/1/next`] as const]
        : [["POST", "/events/task-updated"] as const, ["POST", "/events/dead-letter"] as const]),
    ] as const) {
      const headers = token === "" ? {} : { "dapr-api-token": token };
      const answer = await call(method, `${pod(key).app.url}${path}`, { headers });
      expect([path, answer.status]).toEqual([path, 401]);
    }
  });

  test("has of Dapr's API what it uses", async () => {
    const able = {
      state: key !== "backend",
      bindings: key === "notificationService",
      invoke: key === "recurringTaskService",
      secrets: false,
      shutdown: false,
      actors: false,
    };
    const calls = {
      state: ["GET", `v1.0/state/${components.stateStore}/key`],
      bindings: ["POST", "v1.0/bindings/nothing"],
      invoke: ["GET", "v1.0/invoke/nobody/method/"],
      secrets: ["GET", "v1.0/secrets/kubernetes/todo-secrets"],
      shutdown: ["POST", "v1.0/shutdown"],
      actors: ["GET", "v1.0/actors/type/id/state/key"],
    } as const;
    const found: Record<string, boolean> = {};
    for (const [name, [method, path]] of Object.entries(calls)) {
      const { status, text } = await ask(pod(key).daprd, method, path);
      // What a sidecar that can call others doesn't know it takes for a call of one, which isn't named.
      const isThere = text.includes("ERR_DIRECT_INVOKE") ? name === "invoke" : status !== 404 || text.includes("ERR_");
      found[name] = isThere;
    }
    expect(found).toEqual(able);
    expect(pod(key).daprd.isRunning()).toBe(true);
  });
});

test("an event without the token is neither handled nor kept as a dead letter", async () => {
  const event = anyEvent();
  for (const key of subscriberKeys) {
    const { app, daprd } = pod(key);
    for (const headers of [{}, { "dapr-api-token": daprd.apiToken ?? "" }]) {
      for (const body of [event, { ...event, type: "unknown" }]) {
        const type = { "content-type": "application/cloudevents+json" };
        const answer = await call("POST", `${app.url}/events/task-updated`, { body, headers: { ...type, ...headers } });
        expect([key, answer.status, answer.body]).toMatchObject([
          key,
          401,
          { message: "Only the sidecar may call this" },
        ]);
      }
    }
    expect(eventLines(readFileSync(app.log, "utf8"), event.data.user_id)).toEqual([]);
    const letters = await ask(daprd, "GET", `v1.0/state/${components.stateStore}/${deadLetterKeys.list}`);
    expect(letters).toEqual({ status: 204, text: "" });
  }
});

test("each subscriber has keys of its own in the state store; the backend and strangers have none", async () => {
  const key = randomUUID();
  const path = `v1.0/state/${components.stateStore}`;
  const saved = await ask(pod("notificationService").daprd, "POST", path, { body: [{ key, value: "secret" }] });
  expect(saved.status).toBe(204);
  const owned = `${services.notificationService.appId}||${key}`;
  for (const reader of subscriberKeys) {
    const isOwner = reader === "notificationService";
    const { text } = await ask(pod(reader).daprd, "GET", `${path}/${key}`);
    expect([reader, text]).toEqual([reader, isOwner ? '"secret"' : ""]);
    const trick = await ask(pod(reader).daprd, "GET", `${path}/${encodeURIComponent(owned)}`);
    expect([trick.status, trick.text]).toEqual([400, expect.stringContaining("||") as unknown]);
  }
  expect((await ask(pod("backend").daprd, "GET", `${path}/${key}`)).text).not.toContain("secret");
  const { text } = await ask(pod("backend").daprd, "GET", "v1.0/metadata");
  expect((JSON.parse(text) as { components: { name: string }[] }).components.map(({ name }) => name)).toEqual([
    components.pubsub,
  ]);
});

test("dead letters are replayed by the backend's sidecar: a subscriber's may not publish them", async () => {
  const [publisher, subscriber] = [pod("backend").daprd, pod("notificationService").daprd];
  const ids = async () => {
    const { status, text } = await ask(
      subscriber,
      "GET",
      `v1.0/state/${components.stateStore}/${deadLetterKeys.list}?consistency=strong`,
    );
    return status === 204 ? [] : deadLetterListSchema.parse(JSON.parse(text)).map(({ id }) => id);
  };
  const replay = (...options: string[]) => {
    const args = ["replay", "--all", `--dapr=http://127.0.0.1:${subscriber.httpPort}`, ...options];
    const env = { DAPR_API_TOKEN: subscriber.apiToken ?? "", PUBLISHER_API_TOKEN: publisher.apiToken ?? "" };
    return execa("node", ["commands/dead-letters.ts", ...args], { cwd: repositoryRoot, env, reject: false, all: true });
  };
  expect((await publish(publisher, topic("task_created"))).status).toBe(204);
  const before = await waitFor("a dead letter", 60, async () => {
    const found = await ids();
    return found.length === 1 ? found : undefined;
  });

  const refused = await replay();
  expect([refused.exitCode, refused.all]).toEqual([1, expect.stringContaining("HTTP 403")]);
  expect(await ids()).toEqual(before);

  const replayed = await replay(`--publisher=http://127.0.0.1:${publisher.httpPort}`);
  expect([replayed.exitCode, replayed.all]).toEqual([0, `replayed ${before.join()}`]);
  await waitFor("it to be given up again", 60, async () => {
    const found = await ids();
    return found.length === 1 && found[0] !== before[0] ? true : undefined;
  });
  for (const token of [publisher.apiToken ?? "", subscriber.apiToken ?? ""]) {
    expect(`${refused.all}${replayed.all}`).not.toContain(token);
  }
});

describe("an app that subscribes to what it may not", () => {
  /** Whether the stack's own services have handled an event that was made now. */
  async function eventPasses(): Promise<void> {
    const user = randomUUID();
    const url = `${pod("backend").app.url}/api/${user}/tasks`;
    expect((await call("POST", url, { user, body: { title: "Passes" } })).status).toBe(201);
    await waitFor("the event to be handled", 60, () => {
      const lines = eventLines(readFileSync(pod("notificationService").app.log, "utf8"), user);
      return Promise.resolve(lines.length > 0 ? true : undefined);
    });
  }

  test.each([
    { appId: services.backend.appId, isStranger: false },
    { appId: "stranger", isStranger: true },
  ])("is delivered nothing: $appId", async ({ appId, isStranger }) => {
    const wanted = [topic("task_created"), probeTopic, deadLetterTopic(services.notificationService)];
    const { daprd, taken } = await startStranger(appId, wanted, { isStranger });
    const log = () => readFileSync(daprd.log, "utf8");
    for (const each of wanted) {
      await waitFor(`a refusal of ${each}`, 30, () =>
        Promise.resolve(
          log().includes(`subscription to topic '${each}' on pubsub '${components.pubsub}' is not allowed`)
            ? true
            : undefined,
        ),
      );
    }
    await eventPasses();
    expect(taken).toEqual([]);
  });

  test("nor may one that nobody knows publish", async () => {
    const { daprd } = await startStranger("another-stranger", [], { isStranger: true });
    for (const each of everyTopic) expect([each, (await publish(daprd, each)).status]).toEqual([each, 403]);
  });
});
