import { randomUUID } from "node:crypto";
import type { CloudEvent } from "@event-flow/events";
import { createApp, DaprClient, DaprError, type Versioned } from "@event-flow/service";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf } from "../../../test/servers/events.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { appApiToken } from "../../../test/servers/service.ts";
import { users } from "../../../test/servers/token.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import { ChannelAway, type Channel, type ChannelName, type Parcel } from "../src/channel.ts";
import { Deliverer } from "../src/deliverer.ts";
import { changeDocument, readDocument } from "../src/document.ts";
import { notify } from "../src/notifications.ts";
import { changePreferences } from "../src/preferences.ts";

/** A sidecar that does what it is told, and whose answers to some saves are lost on the way. */
class LossyClient extends DaprClient {
  losesAnswers = false;

  override async saveState(key: string, versioned: Versioned): Promise<boolean> {
    const saved = await super.saveState(key, versioned);
    if (this.losesAnswers) throw new DaprError("save to the state store", "the answer was lost");
    return saved;
  }
}

let daprd: Daprd;
let dapr: LossyClient;
const running: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  const { valkey } = inject("servers");
  daprd = await startDaprd({ appId: "notification-deliverer", appPort: await freePort(), valkey });
  dapr = new LossyClient({ port: daprd.httpPort });
});

afterAll(async () => {
  await Promise.all(running.map((each) => each.stop()));
  await dapr.close();
  await daprd.stop();
});

/** A channel of everybody's that keeps what it is given. */
function channel(name: ChannelName, deliver: (parcel: Parcel) => void = () => undefined) {
  const taken: string[] = [];
  const made: Channel = {
    name,
    concurrency: 2,
    targets: () => ["there"],
    deliver: (parcel) => {
      deliver(parcel);
      parcel.confirm();
      taken.push(parcel.notification.message);
      return Promise.resolve();
    },
  };
  return { made, taken };
}

async function startDeliverer(...channels: Channel[]): Promise<Deliverer> {
  const { log, metrics } = await createApp({
    title: "",
    description: "",
    logLevel: "fatal",
    users,
    appApiToken,
    secrets: [],
    readiness: {},
  });
  const deliverer = new Deliverer(channels, { dapr, log, registry: metrics });
  deliverer.start();
  running.push(deliverer);
  return deliverer;
}

async function userOf(...channels: ChannelName[]): Promise<string> {
  const user = randomUUID();
  await changePreferences(dapr, user, (preferences) => ({ ...preferences, channels }));
  return user;
}

let lastTask = 0;

function deleted(user: string): CloudEvent<"task_deleted"> {
  lastTask += 1;
  return eventOf("task_deleted", { task_id: lastTask, user_id: user, deleted_at: new Date().toISOString() });
}

async function pending(user: string) {
  return (await readDocument(dapr, user)).document.pending ?? [];
}

function settled(user: string): Promise<true> {
  return waitFor("nothing to be pending", 30, async () => ((await pending(user)).length === 0 ? true : undefined));
}

test("what was saved is delivered once, also when nobody knows that it was", async () => {
  const email = channel("email");
  const deliverer = await startDeliverer(email.made);
  const user = await userOf("email");
  // The register has the user by then: of the event's own save the answer is lost.
  expect(await notify(dapr, deleted(user), "first", deliverer)).toBe("told");
  await settled(user);
  const event = deleted(user);
  dapr.losesAnswers = true;
  await expect(notify(dapr, event, "second", deliverer)).rejects.toThrow("the answer was lost");
  dapr.losesAnswers = false;
  expect(await notify(dapr, event, "second", deliverer)).toBe("repeated");
  await settled(user);
  expect(email.taken).toEqual(["first", "second"]);
});

test("a channel that is away holds up neither another one nor another user's", async () => {
  let away = true;
  const email = channel("email", () => {
    if (away) throw new ChannelAway("it is away");
  });
  const push = channel("push");
  const deliverer = await startDeliverer(email.made, push.made);
  const [both, other] = [await userOf("email", "push"), await userOf("push")];
  await notify(dapr, deleted(both), "to both", deliverer);
  await notify(dapr, deleted(other), "to another", deliverer);
  await settled(other);
  await waitFor("push to deliver", 30, async () => ((await pending(both)).length === 1 ? true : undefined));
  expect(push.taken.toSorted()).toEqual(["to another", "to both"]);
  expect(email.taken).toEqual([]);
  away = false;
  await settled(both);
  expect(email.taken).toEqual(["to both"]);
});

test("a delivery that fails by itself is counted, waits alone, and is tried again", async () => {
  let failures = 2;
  const push = channel("push", ({ notification: { message } }) => {
    if (message === "bad" && (failures -= 1) >= 0) throw new Error("it failed");
  });
  const deliverer = await startDeliverer(push.made);
  const user = await userOf("push");
  await notify(dapr, deleted(user), "bad", deliverer);
  await notify(dapr, deleted(user), "good", deliverer);
  await waitFor("the try to be counted", 30, async () => {
    const [first] = await pending(user);
    return first?.tries === 1 && first.cause === "it failed" ? true : undefined;
  });
  await settled(user);
  expect(push.taken).toEqual(["good", "bad"]);
});

test("of what waits for a channel that stays away the oldest is given up, and so is what is a day old", async () => {
  const email = channel("email", () => {
    throw new ChannelAway("it is away");
  });
  const deliverer = await startDeliverer(email.made);
  const user = await userOf("email");
  const events = Array.from({ length: 102 }, () => deleted(user));
  for (const event of events) await notify(dapr, event, "x", deliverer);
  const { document } = await readDocument(dapr, user);
  expect(document.pending?.map(({ notification }) => notification.event_id)).toEqual(
    events.slice(2).map(({ id }) => id),
  );
  expect(document.failed?.map(({ event_id, cause }) => [event_id, cause])).toEqual(
    [events[1], events[0]].map((event) => [event?.id, "More than 100 waited"]),
  );

  const old = new Date(Date.now() - 25 * 3600_000).toISOString();
  await changeDocument(dapr, user, (found) => ({
    result: undefined,
    changed: {
      ...found,
      pending: found.pending?.map((each) => ({ ...each, notification: { ...each.notification, notified_at: old } })),
    },
  }));
  await settled(user);
  const { failed } = (await readDocument(dapr, user)).document;
  expect(failed).toHaveLength(50);
  expect(failed?.[0]?.cause).toBe("The channel was away for a day: it is away");
  expect(email.taken).toEqual([]);
});

test("what is left for a channel that there is no more is given up", async () => {
  // Those of other tests have such a channel.
  await Promise.all(running.splice(0).map((each) => each.stop()));
  const push = channel("push", () => {
    throw new ChannelAway("it is away");
  });
  const before = await startDeliverer(push.made);
  const user = await userOf("push");
  await notify(dapr, deleted(user), "x", before);
  await before.stop();
  await startDeliverer();
  await settled(user);
  expect((await readDocument(dapr, user)).document.failed).toMatchObject([
    { channel: "push", cause: "There is no channel push any more" },
  ]);
});
