/** Calls from one service to another by both sidecars, with the policies that the stack gives them. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { services } from "@event-flow/events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startDaprd, type Daprd } from "../../../test/servers/daprd.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { serverDir } from "../../../test/servers/process.ts";
import { waitFor } from "../../../test/tools/progress.ts";
import { DaprClient, DaprError } from "../src/index.ts";

const { appId } = services.backend;
const names = serverDir("names");
let server: Server;
let callee: Daprd;
let caller: Daprd;
let dapr: DaprClient;

const calls: { readonly request: IncomingMessage; readonly body: string }[] = [];

beforeAll(async () => {
  const port = await freePort();
  // Answers with the status that the path ends in; 0 is never.
  server = createServer((request, response) => {
    void text(request).then((body) => {
      const status = Number(/\/answers\/(\d+)/.exec(request.url ?? "")?.[1] ?? 404);
      if (status !== 404) calls.push({ request, body });
      if (status === 0) return;
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ told: status }));
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const file = join(names, "names");
  [callee, caller] = await Promise.all([
    startDaprd({ appId, appPort: port, names: file }),
    startDaprd({ appId: "invoke-test", appPort: await freePort(), names: file }),
  ]);
  dapr = new DaprClient({ port: caller.httpPort });
});

afterAll(async () => {
  await dapr.close();
  await Promise.all([callee.stop(), caller.stop()]);
  server.closeAllConnections();
  server.close();
  rmSync(names, { recursive: true, force: true });
});

async function failure(promise: Promise<unknown>): Promise<DaprError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof DaprError)) throw new Error("expected a DaprError", { cause: error });
  return error;
}

const get = (status: number) => dapr.invoke(appId, { method: "GET", path: `/answers/${status}` });

test("a call gets there with its headers and its body, and so does the answer", async () => {
  const headers = { authorization: "Bearer token" };
  const answer = await dapr.invoke(appId, { method: "PUT", path: "/answers/201", headers, body: { n: 1 } });
  expect(answer).toEqual({ status: 201, body: { told: 201 } });
  const { request, body } = calls.at(-1) ?? {};
  expect([
    request?.method,
    request?.url,
    request?.headers.authorization,
    request?.headers["content-type"],
    body,
  ]).toEqual(["PUT", "/answers/201", "Bearer token", "application/json", '{"n":1}']);
});

test.each([200, 401, 409])("an answer %s is the service's own", async (status) => {
  expect(await get(status)).toEqual({ status, body: { told: status } });
});

test.each([500, 503])("a service that answers %s has failed, and is called once", async (status) => {
  const before = calls.length;
  const error = await failure(get(status));
  expect([error.message, error.status]).toEqual([`Dapr could not call ${appId}: HTTP ${status}`, status]);
  expect(calls.length - before).toBe(1);
});

test("a service that doesn't answer is given up by the sidecar, once, before its caller gives the sidecar up", async () => {
  const [before, begun] = [calls.length, performance.now()];
  const error = await failure(get(0));
  const took = performance.now() - begun;
  expect([error.status, error.errorCode]).toEqual([500, "ERR_DIRECT_INVOKE"]);
  expect(took).toBeGreaterThan(3_500);
  expect(took).toBeLessThan(5_000);
  expect(calls.length - before).toBe(1);
});

test("a service that isn't there is told of by the sidecar", async () => {
  const error = await failure(dapr.invoke("nobody", { method: "GET", path: "/answers/200" }));
  expect([error.operation, error.status, error.errorCode]).toEqual(["call nobody", 500, "ERR_DIRECT_INVOKE"]);
});

test("a service whose sidecar was killed is reached again when that is back", async () => {
  await callee.kill();
  expect((await failure(get(200))).errorCode).toBe("ERR_DIRECT_INVOKE");
  await callee.start();
  // It is ready for its app before it is for others.
  const status = await waitFor("the service to be reached", 30, () =>
    get(200).then(
      (answer) => answer.status,
      () => undefined,
    ),
  );
  expect(status).toBe(200);
});
