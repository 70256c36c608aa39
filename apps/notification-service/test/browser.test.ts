import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { services, type CloudEvent } from "@event-flow/events";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { eventOf, publish } from "../../../test/servers/events.ts";
import { type Firefox, startFirefox } from "../../../test/servers/firefox.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { startPushService, type PushService } from "../../../test/servers/push-service.ts";
import { startService, type Service, vapidSecret } from "../../../test/servers/service.ts";
import { bearer } from "../../../test/servers/token.ts";
import { waitFor } from "../../../test/tools/progress.ts";

const { brokers, valkey } = inject("servers");

/**
 * Shows what is pushed; what is pushed twice takes its own place. It tells its pages what it shows, as that closes by itself after
 * a while.
 */
const worker = `
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => {
  const { message, event_id, ...data } = event.data.json();
  const show = async () => {
    await self.registration.showNotification(message, { tag: event_id, data });
    const shown = await self.registration.getNotifications({ tag: event_id });
    const pages = await self.clients.matchAll({ includeUncontrolled: true });
    for (const page of pages) page.postMessage(shown.map(({ title, tag, data }) => ({ title, tag, data })));
  };
  event.waitUntil(show());
});
`;

let pushService: PushService;
let daprd: Daprd;
let service: Service;
let site: Server;
let siteUrl: string;
let firefox: Firefox;

/** A site as it would be in front of the system: its page, and the service's API below the same origin. */
function serveSite(serviceUrl: string): Server {
  const page = readFileSync(join(import.meta.dirname, "page", "index.html"));
  return createServer((asked, answer) => {
    const { url = "", method, headers } = asked;
    if (url === "/") {
      answer.writeHead(200, { "content-type": "text/html" }).end(page);
    } else if (url === "/worker.js") {
      answer.writeHead(200, { "content-type": "text/javascript" }).end(worker);
    } else if (url.startsWith("/api/")) {
      const passed = request(`${serviceUrl}${url}`, { method, headers }, (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        // A stream has no end but that its reader goes.
        pipeline(response, answer).catch(() => undefined);
      });
      answer.once("close", () => passed.destroy());
      passed.on("error", () => answer.destroy());
      asked.pipe(passed);
    } else {
      answer.writeHead(404).end();
    }
  });
}

beforeAll(async () => {
  pushService = await startPushService();
  const port = await freePort();
  daprd = await startDaprd({ appId: "notification-browser", appPort: port, brokers, valkey });
  service = await startService(services.notificationService.name, port, {
    DAPR_HTTP_PORT: String(daprd.httpPort),
    VAPID_SECRET: vapidSecret,
    VAPID_SUBJECT: "mailto:admin@example.com",
    PUSH_ENDPOINTS_ALLOWED: pushService.origin,
    NODE_EXTRA_CA_CERTS: pushService.ca,
  });
  site = serveSite(service.url);
  const sitePort = await freePort();
  site.listen(sitePort, "127.0.0.1");
  await once(site, "listening");
  siteUrl = `http://127.0.0.1:${sitePort}/`;
  firefox = await startFirefox({ pushServiceUrl: pushService.webSocketUrl });
});

afterAll(async () => {
  await firefox.stop();
  site.closeAllConnections();
  site.close();
  await Promise.all([service.stop(), daprd.stop()]);
  await pushService.close();
});

async function open(): Promise<Page> {
  const page = await firefox.browser.newPage();
  await page.goto(siteUrl);
  return page;
}

/** Calls a function of the page as a user, and resolves to what it resolves to. */
async function inPage<T>(page: Page, name: string, user?: string): Promise<T> {
  const token = user === undefined ? "" : bearer(user).authorization.slice("Bearer ".length);
  const call = `${name}(${JSON.stringify(user)}, ${JSON.stringify(token)})`;
  // Vitest would look for the page's files in the stack of what the page threw.
  return page.evaluate(call).catch((error: unknown) => {
    throw new Error(`${name} in the page: ${error instanceof Error ? error.message : String(error)}`);
  }) as Promise<T>;
}

let lastTask = 0;

function created(user: string, title: string): CloudEvent<"task_created"> {
  lastTask += 1;
  const data = { task_id: lastTask, user_id: user, title, priority_id: null, due_date: null };
  return eventOf("task_created", { ...data, created_at: new Date().toISOString() });
}

test("a page shows what its user is notified of, as it comes", async () => {
  const user = randomUUID();
  const page = await open();
  await inPage(page, "stream", user);
  const items = async () => (await page.evaluate(`[...list.children].map((item) => item.textContent)`)) as string[];
  const titles = ["Buy <b>milk</b>", "Größe messen 📏"];
  for (const [index, title] of titles.entries()) {
    await publish(daprd, created(user, title));
    await waitFor(`the page to show ${title}`, 30, async () => ((await items()).length > index ? true : undefined));
  }
  await publish(daprd, created(randomUUID(), "Nobody else's"));
  await publish(daprd, created(user, "The last one"));
  await waitFor("the page to show the last one", 30, async () => ((await items()).length > 2 ? true : undefined));
  expect(await items()).toEqual([...titles, "The last one"].map((title) => `NEW TASK: ${title} (User: ${user})`));
  await page.close();
});

interface Shown {
  readonly title: string;
  readonly tag: string;
  readonly data: Record<string, unknown>;
}

test("a browser subscribes, and its service worker shows what is pushed, each once", async () => {
  const user = randomUUID();
  const page = await open();
  const subscription = await inPage<{ endpoint: string }>(page, "subscribe", user);
  expect(subscription.endpoint).toContain(pushService.origin);
  const shown = async (count: number) =>
    waitFor(
      `the browser to show ${count} notifications`,
      60,
      async () => {
        const found = await inPage<Shown[]>(page, "shown");
        return found.length >= count ? found : undefined;
      },
      () => JSON.stringify([pushService.requests, service.log.slice(-5)]),
    );

  const event = created(user, "Größe messen 📏");
  await publish(daprd, event);
  const [first] = await shown(1);
  expect(first).toMatchObject({
    title: `NEW TASK: Größe messen 📏 (User: ${user})`,
    tag: event.id,
    data: { type: "task_created", task_id: event.data.task_id, created_at: event.time },
  });

  // It comes again by the topic, and is pushed no more.
  await publish(daprd, event);
  const next = created(user, "x".repeat(200));
  await publish(daprd, next);
  expect((await shown(2)).map(({ tag }) => tag).sort()).toEqual([event.id, next.id].sort());
  const pushes = () => pushService.requests.filter(({ endpoint }) => endpoint === subscription.endpoint);
  expect(pushes().map(({ status }) => status)).toEqual([201, 201]);

  // The user revokes it in the browser, which tells its push service only.
  expect(await inPage(page, "unsubscribe")).toBe(true);
  await waitFor("the push service to be told", 30, () =>
    Promise.resolve(pushService.isSubscribed(subscription.endpoint) ? undefined : true),
  );
  await publish(daprd, created(user, "To nobody"));
  await waitFor("the service to forget the browser", 30, async () => {
    const url = `${service.url}/api/${user}/notifications/push-subscriptions`;
    const { body } = await call<{ subscriptions: unknown[] }>("GET", url, { user });
    return body.subscriptions.length === 0 ? true : undefined;
  });
  expect(pushes().map(({ status }) => status)).toEqual([201, 201, 410]);
  await page.close();
});
