/** The relay with a sidecar that is made up: what it does when a real one would be hard to catch at it. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { services } from "@event-flow/events";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { call } from "../../../test/servers/client.ts";
import { freePort } from "../../../test/servers/ports.ts";
import { createDatabase } from "../../../test/servers/postgres.ts";
import { startService, type Service } from "../../../test/servers/service.ts";

const { postgresPort } = inject("servers");

/** How a sidecar's circuit breaker stands. */
let breaker: "open" | "half-open" | "closed" = "open";
let sidecar: Server;
let backend: Service;

beforeAll(async () => {
  const port = await freePort();
  sidecar = createServer((request, response) => {
    request.resume();
    if (breaker === "closed") {
      response.writeHead(204).end();
    } else if (breaker === "half-open") {
      // The one call that tries the broker; the others of this moment are refused.
      breaker = "open";
      setTimeout(() => {
        breaker = "closed";
        response.writeHead(204).end();
      }, 50);
    } else {
      response.writeHead(500).end(JSON.stringify({ errorCode: "ERR_PUBSUB_PUBLISH_MESSAGE", message: "refused" }));
    }
  }).listen(port, "127.0.0.1");
  const [url] = await Promise.all([createDatabase(postgresPort, "relay"), once(sidecar, "listening")]);
  const env = { DATABASE_URL: url, DAPR_HTTP_PORT: String(port) };
  backend = await startService(services.backend.name, await freePort(), env);
});

afterAll(async () => {
  await backend.stop();
  sidecar.closeAllConnections();
  sidecar.close();
});

test("once something gets through again, the rest follows at once", async () => {
  const user = randomUUID();
  const tasks = `${backend.url}/api/${user}/tasks`;
  const [first, second] = await Promise.all(
    [1, 2].map(() => call<{ id: number }>("POST", tasks, { user, body: { title: "waits" } })),
  );
  breaker = "closed";
  await backend.logged("the creations", (line) => line["taskId"] === second?.body.id);
  await backend.logged("the creations", (line) => line["taskId"] === first?.body.id);

  breaker = "open";
  // Of two types, so that they are two calls at a time.
  await call("PUT", `${tasks}/${first?.body.id ?? 0}`, { user, body: { title: "changed" } });
  await call("DELETE", `${tasks}/${second?.body.id ?? 0}`, { user });
  await backend.logged("the longest pause", (line) => line["retryInMs"] === 2_000);
  breaker = "half-open";
  const published = (type: string) =>
    backend.logged(type, (line) => line["type"] === type && line.msg.startsWith("Published"));
  const times = (await Promise.all([published("task_updated"), published("task_deleted")])).map(({ time }) =>
    Number(time),
  );
  expect(Math.abs((times[0] ?? 0) - (times[1] ?? 0))).toBeLessThan(1_000);
});
