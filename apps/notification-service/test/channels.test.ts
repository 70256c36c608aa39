import { randomUUID } from "node:crypto";
import { metrics, services, type CloudEvent } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { asSidecar, call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { startMailDev, type MailDev } from "../../../test/servers/maildev.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startService, type Service } from "../../../test/servers/service.ts";
import { startSmtpServer } from "../../../test/servers/smtp.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import type { Notification } from "../src/notifications.ts";

const { brokers, valkey } = inject("servers");

/** A service with its sidecar: a replica of those with the same app id. */
interface Replica {
  readonly daprd: Daprd;
  service: Service;
  /** Starts the service again. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

async function startReplica(
  appId: string,
  smtp: { host: string; port: number },
  more: Record<string, string> = {},
): Promise<Replica> {
  const port = await freePort();
  const daprd = await startDaprd({ appId, appPort: port, brokers, valkey, smtp });
  const start = () =>
    startService(services.notificationService.name, port, {
      DAPR_HTTP_PORT: String(daprd.httpPort),
      EMAIL: "on",
      ...more,
    });
  const replica: Replica = {
    daprd,
    service: await start(),
    restart: async () => {
      replica.service = await start();
    },
    stop: async () => {
      await Promise.all([replica.service.stop(), daprd.stop()]);
    },
  };
  return replica;
}

let maildev: MailDev;
/** The one that most tests use; its sidecar gets every event. */
let replica: Replica;

beforeAll(async () => {
  maildev = await startMailDev();
  replica = await startReplica("notification-channels", maildev.smtp);
});

afterAll(async () => {
  await replica.stop();
  await maildev.stop();
});

function newUser() {
  const user = randomUUID();
  return { user, address: `${user}@example.com` };
}

function preferences(user: string, at = replica) {
  return `${at.service.url}/api/${user}/notifications/preferences`;
}

function prefer(user: string, body: object, url = preferences(user)) {
  return call("PUT", url, { user, body });
}

async function wantsMail(at = replica): Promise<{ user: string; address: string }> {
  const { user, address } = newUser();
  const { status } = await prefer(user, { email: address, channels: ["email"] }, preferences(user, at));
  expect(status).toBe(200);
  return { user, address };
}

let lastTask = 0;

function created(user: string, title = "Water the plants"): CloudEvent<"task_created"> {
  lastTask += 1;
  const data = { task_id: lastTask, user_id: user, title, priority_id: null, due_date: null };
  return eventOf("task_created", { ...data, created_at: new Date().toISOString() });
}

/** Delivers an event as the sidecar does. */
async function deliver(event: CloudEvent<"task_created">, to = replica): Promise<void> {
  const answer = await call("POST", `${to.service.url}/events/task-created`, { headers: asSidecar, body: event });
  expect(answer.body).toEqual({ status: "SUCCESS" });
}

interface Deliveries {
  readonly pending: { event_id: string; tries: number; cause?: string }[];
  readonly failed: { event_id: string; cause: string }[];
}

async function deliveries(user: string, of = replica): Promise<Deliveries> {
  const answer = await call<Deliveries>("GET", `${of.service.url}/api/${user}/notifications/deliveries`, { user });
  expect(answer.status).toBe(200);
  return answer.body;
}

/** Waits until nothing is pending for a user. */
function settled(user: string, of = replica): Promise<Deliveries> {
  return waitFor(`nothing to be pending for ${user}`, 90, async () => {
    const found = await deliveries(user, of);
    return found.pending.length === 0 ? found : undefined;
  });
}

async function list(user: string, of = replica): Promise<Notification[]> {
  return (await call<Notification[]>("GET", `${of.service.url}/api/${user}/notifications`, { user })).body;
}

test("a user has no channel on before choosing one, and can choose what there is", async () => {
  const { user, address } = newUser();
  const before = await call("GET", preferences(user), { user });
  expect(before.body).toEqual({ email: null, channels: [], available: ["email"] });
  const chosen = { email: address, channels: ["email"] };
  expect((await prefer(user, chosen)).body).toEqual({ ...chosen, available: ["email"] });
  expect((await call("GET", preferences(user), { user })).body).toEqual({ ...chosen, available: ["email"] });
  expect((await call("GET", preferences(user), { user: randomUUID() })).status).toBe(403);
});

test.each([
  [{ email: null, channels: ["email"] }, "body/email: the channel email needs an address"],
  [{ email: "nobody", channels: [] }, "body/email: must be an e-mail address"],
  [{ email: "a@example.com;b@example.com", channels: [] }, "body/email: must be an e-mail address"],
  [{ email: "a@example.com\r\nBcc: b@example.com", channels: [] }, "body/email: must be an e-mail address"],
  [{ email: "a@example.com", channels: ["email", "email"] }, "body/channels: must name each channel once"],
  [{ email: "a@example.com", channels: ["pigeon"] }, /^body\/channels\/0: /],
  [
    { email: "a@example.com", channels: ["push"] },
    "body/channels: this system has no web push, as it names no contact (setting event-flow:pushContact)",
  ],
  [{ email: "a@example.com" }, /^body\/channels: /],
])("preferences that can't work are refused: %j", async (body, message) => {
  const answer = await prefer(randomUUID(), body, preferences(randomUUID()));
  expect(answer.status).toBe(403);
  const user = randomUUID();
  const refused = await prefer(user, body);
  expect(refused).toMatchObject({
    status: 400,
    body: { message: typeof message === "string" ? message : (expect.stringMatching(message) as unknown) },
  });
});

test("an event is mailed once, however often it comes, and to nobody who didn't ask for it", async () => {
  const { user, address } = await wantsMail();
  const other = newUser();
  await deliver(created(other.user));
  const event = created(user, 'Buy <b>milk</b> & "eggs" 🥚');
  await publish(replica.daprd, event);
  await maildev.received(address, 1);
  await deliver(event);
  await deliver(event);
  await deliver(created(user, "The last one"));
  const mails = await maildev.received(address, 2);
  await settled(user);
  expect(mails.map(({ subject }) => subject)).toEqual([
    `NEW TASK: Buy <b>milk</b> & "eggs" 🥚 (User: ${user})`,
    `NEW TASK: The last one (User: ${user})`,
  ]);
  expect(mails[0]?.html).toContain("NEW TASK: Buy &lt;b&gt;milk&lt;/b&gt; &amp; &quot;eggs&quot; 🥚");
  expect(mails[0]?.html).toContain(event.id);
  expect(mails.every(({ envelope }) => envelope.to.length === 1)).toBe(true);
  expect(await maildev.mails(other.address)).toEqual([]);
  expect(await list(other.user)).toHaveLength(1);
});

test("many users' mail goes to each one's address, each once", async () => {
  const users = await Promise.all(Array.from({ length: 10 }, () => wantsMail()));
  await Promise.all(
    users.flatMap(({ user }) => [created(user, "one"), created(user, "two")].map((event) => deliver(event))),
  );
  for (const { user, address } of users) {
    await settled(user);
    const mails = await maildev.mails(address);
    expect(mails.map(({ subject }) => subject).sort()).toEqual(
      ["one", "two"].map((title) => `NEW TASK: ${title} (User: ${user})`),
    );
  }
});

test("while the mail server is away only mail is late, and afterwards each comes once", async () => {
  const { user, address } = await wantsMail();
  await maildev.kill();
  const events = [created(user, "first"), created(user, "second")];
  for (const event of events) await deliver(event);
  expect(await list(user)).toHaveLength(2);
  const waiting = await waitFor("the first attempt to fail", 60, async () => {
    const line = replica.service.log.find(
      ({ msg, userId }) => msg === "Delivery to be retried: email" && userId === user,
    );
    return Promise.resolve(line);
  });
  expect(waiting["cause"]).toMatch(/connection refused/);
  expect((await deliveries(user)).pending.map(({ event_id }) => event_id)).toEqual(events.map(({ id }) => id));
  const shown = await (await fetch(`${replica.service.url}/metrics`)).text();
  expect(shown).toContain(`${metrics.channelWaiting}{channel="email"} 2`);

  await maildev.start();
  await settled(user);
  expect((await maildev.mails(address)).map(({ subject }) => subject)).toEqual(
    ["first", "second"].map((title) => `NEW TASK: ${title} (User: ${user})`),
  );
});

test("what waits in a channel that is turned off is forgotten", async () => {
  const { user, address } = await wantsMail();
  await maildev.kill();
  await deliver(created(user));
  await prefer(user, { email: null, channels: [] });
  await maildev.start();
  expect((await settled(user)).failed).toEqual([]);
  expect(await maildev.mails(address)).toEqual([]);
});

test("what a service that is killed leaves is delivered by another, once", async () => {
  const appId = "notification-takeover";
  const [first, second] = [await startReplica(appId, maildev.smtp), await startReplica(appId, maildev.smtp)];
  try {
    const { user, address } = await wantsMail(first);
    await maildev.kill();
    const events = [created(user, "first"), created(user, "second")];
    for (const event of events) await deliver(event, first);
    await first.service.kill();
    await maildev.start();
    await settled(user, second);
    expect((await maildev.mails(address)).map(({ subject }) => subject)).toEqual(
      ["first", "second"].map((title) => `NEW TASK: ${title} (User: ${user})`),
    );
    // The one that is started again does nothing twice.
    await first.restart();
    for (const event of events) await deliver(event, first);
    await deliver(created(user, "third"), first);
    await maildev.received(address, 3);
    await settled(user, first);
    expect(await maildev.mails(address)).toHaveLength(3);
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
});

test("what a service leaves when it stops is delivered by the one that starts next, without a wait", async () => {
  const { user, address } = await wantsMail();
  await maildev.kill();
  await deliver(created(user));
  expect(await replica.service.stop()).toBe(0);
  await maildev.start();
  await replica.restart();
  await replica.service.logged("that it takes over", ({ msg }) => msg.startsWith("Taking over"));
  await maildev.received(address, 1);
  await settled(user);
  expect(await maildev.mails(address)).toHaveLength(1);
});

test("a service that was frozen for long loses what it had to another one, and does nothing twice", async () => {
  const appId = "notification-frozen";
  const [first, second] = [await startReplica(appId, maildev.smtp), await startReplica(appId, maildev.smtp)];
  try {
    const { user, address } = await wantsMail(first);
    await maildev.kill();
    await deliver(created(user), first);
    first.service.pause();
    await maildev.start();
    await settled(user, second);
    first.service.resume();
    await first.service.logged("that it was taken for dead", ({ msg }) =>
      msg.startsWith("Another replica took this one"),
    );
    await deliver(created(user, "after"), first);
    await maildev.received(address, 2);
    await settled(user, first);
    expect(await maildev.mails(address)).toHaveLength(2);
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
});

test("while the sidecar is away mail waits, and then comes once", async () => {
  const { user, address } = await wantsMail();
  await maildev.kill();
  await deliver(created(user));
  await replica.daprd.kill();
  await maildev.start();
  await replica.daprd.start();
  await settled(user);
  expect(await maildev.mails(address)).toHaveLength(1);
});

test("an addressee that is refused for good is given up at once, one for now is tried again, and others go on", async () => {
  let busy = 2;
  const server = await startSmtpServer({
    to: (address) => {
      if (address.startsWith("unknown")) return "550 5.1.1 No such user: <unknown@example.com>";
      if (address.startsWith("grey") && (busy -= 1) >= 0) return "450 4.2.0 Greylisted, come again";
      return "250 Known";
    },
  });
  const choosy = await startReplica("notification-refused", server.smtp);
  try {
    const users = await Promise.all(
      ["unknown@example.com", "grey@example.com", "well@example.com"].map(async (email) => {
        const user = randomUUID();
        await prefer(
          user,
          { email, channels: ["email"] },
          `${choosy.service.url}/api/${user}/notifications/preferences`,
        );
        return user;
      }),
    );
    const events = users.map((user) => created(user));
    for (const event of events) await deliver(event, choosy);
    const [unknown = "", grey = "", well = ""] = users;
    expect(await settled(unknown, choosy)).toMatchObject({
      failed: [
        {
          event_id: events[0]?.id,
          cause: expect.stringMatching(/550 "5\.1\.1 No such user: <the address>"$/) as unknown,
        },
      ],
    });
    expect((await settled(well, choosy)).failed).toEqual([]);
    expect((await settled(grey, choosy)).failed).toEqual([]);
    expect(server.taken).toEqual(["well@example.com", "grey@example.com"]);
    expect(choosy.service.output()).not.toContain("unknown@example.com");
    const shown = await (await fetch(`${choosy.service.url}/metrics`)).text();
    expect(shown).toContain(`${metrics.channelFailed}{channel="email"} 1`);
    expect(shown).toContain(`${metrics.channelRetried}{channel="email"} 2`);
    expect(shown).toContain(`${metrics.channelDelivered}{channel="email"} 2`);
  } finally {
    await choosy.stop();
    await server.close();
  }
});

test("only who dies between the mail server's yes and its noting makes a mail come twice, and the event's id tells", async () => {
  const { user, address } = newUser();
  let killed: Promise<void> | undefined;
  const server = await startSmtpServer({ took: () => (killed ??= dying.service.kill()) });
  const dying = await startReplica("notification-dying", server.smtp);
  try {
    await prefer(
      user,
      { email: address, channels: ["email"] },
      `${dying.service.url}/api/${user}/notifications/preferences`,
    );
    await deliver(created(user), dying);
    await waitFor("the service to be killed", 30, () => Promise.resolve(killed && true));
    await killed;
    await dying.restart();
    await settled(user, dying);
    expect(server.taken).toEqual([address, address]);
    const [first, second] = server.mails.map((mail) => /event ([\w-]+)/.exec(mail)?.[1]);
    expect(first).toBeDefined();
    expect(second).toBe(first);
  } finally {
    await dying.stop();
    await server.close();
  }
});

test("without a mail server e-mail is refused, and all else works", async () => {
  const without = await startReplica("notification-without-mail", maildev.smtp, { EMAIL: "off" });
  try {
    const user = randomUUID();
    const url = `${without.service.url}/api/${user}/notifications/preferences`;
    expect(await prefer(user, { email: "a@example.com", channels: ["email"] }, url)).toMatchObject({
      status: 400,
      body: {
        message: "body/channels: this system sends no e-mail, as it has no mail server (setting event-flow:smtpHost)",
      },
    });
    await deliver(created(user), without);
    expect(await list(user, without)).toHaveLength(1);
  } finally {
    await without.stop();
  }
});
