/** Who may call whom through sidecars that know each other, by the policies that the stack gives them. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { connect as connectByHttp2, constants } from "node:http2";
import { join } from "node:path";
import { connect as connectByTls } from "node:tls";
import { nextTaskPath, services } from "@event-flow/events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../tools/progress.ts";
import { type Daprd, type DaprdOptions, startDaprd } from "./daprd.ts";
import { freePort } from "./ports.ts";
import { serverDir } from "./process.ts";
import { type Sentry, startSentry } from "./sentry.ts";

const { backend, recurringTaskService, notificationService } = services;
const user = "0191d3a8-5b7c-7000-8000-000000000001";
const names = serverDir("names");
let sentry: Sentry;
let internalPort: number;
const daprds: Daprd[] = [];
const servers: Server[] = [];
/** The requests that got to a service, as `<app id>: <method> <path>`. */
const taken: string[] = [];

/** A sidecar with a service that answers everything. */
async function start(appId: string, options: Partial<DaprdOptions> = {}): Promise<Daprd> {
  const server = createServer((request: IncomingMessage, response) => {
    const { method = "", url = "" } = request;
    if (!url.startsWith("/dapr/")) taken.push(`${appId}: ${method} ${url}`);
    response.setHeader("content-type", "application/json").end("{}");
  });
  servers.push(server);
  const appPort = await freePort();
  server.listen(appPort, "127.0.0.1");
  await once(server, "listening");
  const daprd = await startDaprd({ appId, appPort, names: join(names, "names"), sentry, ...options });
  daprds.push(daprd);
  return daprd;
}

let recurring: Daprd;

beforeAll(async () => {
  sentry = await startSentry();
  internalPort = await freePort();
  [recurring] = await Promise.all([start(recurringTaskService.appId), start(backend.appId, { internalPort })]);
  await waitFor("the backend to be reached", 60, async () =>
    (await call(recurring, "GET", nextTaskPath(user, 1))).status === 200 ? true : undefined,
  );
});

afterAll(async () => {
  await Promise.all(daprds.map((daprd) => daprd.stop()));
  await sentry.stop();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(names, { recursive: true, force: true });
});

async function call({ httpPort }: Daprd, method: string, path: string, appId: string = backend.appId) {
  const response = await fetch(`http://127.0.0.1:${httpPort}/v1.0/invoke/${appId}/method${path}`, { method });
  return { status: response.status, text: await response.text() };
}

/** What of a call is to be seen: the answer, and what got to the callee. */
async function outcome(caller: Daprd, method: string, path: string, appId?: string) {
  const before = taken.length;
  const { status, text } = await call(caller, method, path, appId);
  return { status, text, taken: taken.slice(before) };
}

const refused = { status: 403, text: expect.stringContaining("access control policy has denied access") as unknown };

test.each(["GET", "PUT"])("the recurring-task service may %s the next task", async (method) => {
  const path = nextTaskPath(user, 42);
  expect(await outcome(recurring, method, path)).toEqual({
    status: 200,
    text: "{}",
    taken: [`${backend.appId}: ${method} ${path}`],
  });
});

test.each([
  ["POST", nextTaskPath(user, 42)],
  ["DELETE", nextTaskPath(user, 42)],
  ["PATCH", nextTaskPath(user, 42)],
  ["GET", `/api/${user}/tasks`],
  ["GET", "/"],
  ["GET", "/metrics"],
  ["GET", "/dapr/subscribe"],
  ["GET", "/internal"],
  ["GET", `/internal/${user}/tasks/42`],
  ["GET", `/internal/${user}/more/tasks/42/next`],
  ["GET", `/internal/${user}/tasks/42/../../../../api/${user}/tasks`],
  ["GET", `/internal/${user}/tasks/42/next%2F..%2F..%2F..%2F..%2F..%2Fapi%2F${user}%2Ftasks`],
  ["GET", `//internal/${user}/tasks/42/next/../../../../../api/${user}/tasks`],
])("the recurring-task service may not %s %s", async (method, path) => {
  expect(await outcome(recurring, method, path)).toEqual({ ...refused, taken: [] });
});

describe("nobody else may call", () => {
  test.each([
    ["an app that is none of the stack's", { appId: "stranger" }],
    ["an app that is called as the recurring-task service, elsewhere", { namespace: "elsewhere" }],
  ])("the backend: %s", async (_what, { appId = recurringTaskService.appId, ...options }: Partial<DaprdOptions>) => {
    const caller = await start(appId, { ...options, names: join(names, "names") });
    for (const method of ["GET", "PUT"]) {
      // In another namespace, the same name is another's.
      const callee = options.namespace === undefined ? backend.appId : `${backend.appId}.default`;
      expect(await outcome(caller, method, nextTaskPath(user, 42), callee)).toMatchObject({ taken: [] });
    }
  });

  test("the other services: nor may the recurring-task service", async () => {
    await start(notificationService.appId);
    const { appId } = notificationService;
    await waitFor("the notification service to be found", 30, async () =>
      (await call(recurring, "GET", "/", appId)).status === 403 ? true : undefined,
    );
    for (const path of ["/", "/events/task-created", nextTaskPath(user, 42)]) {
      expect(await outcome(recurring, "GET", path, appId)).toEqual({ ...refused, taken: [] });
    }
  });

  test("a sidecar that shows no certificate", async () => {
    const caller = await start("without", { sentry: undefined });
    expect(await outcome(caller, "GET", nextTaskPath(user, 42))).toMatchObject({ status: 500, taken: [] });
  });
});

test("who isn't a sidecar can't speak to one: neither in plain nor by TLS without a certificate", async () => {
  const plain = connectByHttp2(`http://127.0.0.1:${internalPort}`);
  const spoken = { settings: false };
  plain.once("remoteSettings", () => (spoken.settings = true)).on("error", () => undefined);
  await waitFor("the connection to be closed", 30, () => Promise.resolve(plain.destroyed ? true : undefined));
  expect(spoken.settings).toBe(false);

  const socket = connectByTls({
    port: internalPort,
    host: "127.0.0.1",
    ALPNProtocols: ["h2"],
    // It's the other side whose check is looked at.
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  const session = connectByHttp2(`https://127.0.0.1:${internalPort}`, { createConnection: () => socket });
  const call = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: "/dapr.proto.internals.v1.ServiceInvocation/CallLocal",
    [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
  });
  await expect(once(call, "response", { signal: AbortSignal.timeout(10_000) })).rejects.toThrow(/certificate required/);
  session.destroy();
});
