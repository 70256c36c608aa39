import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  daprTokenHeader,
  eachService,
  perService,
  probes,
  serviceKeys,
  services,
  type ServiceKey,
} from "@event-flow/events";
import { clientAt, eventLines } from "../test/flow/access.ts";
import { followOneEvent } from "../test/flow/flow.ts";
import { freePort, take } from "../test/servers/ports.ts";
import { Supervisor } from "../test/servers/supervisor.ts";
import { startSystem, type System } from "../test/servers/system.ts";
import { bearer } from "../test/servers/token.ts";
import { cacheDir } from "../test/tools/cache.ts";
import { daprd } from "../test/tools/go-tools.ts";
import { buildTools } from "../test/tools/index.ts";
import { needs } from "../test/tools/needs.ts";
import { print, say, seconds, step } from "../test/tools/progress.ts";
import { servers } from "../test/tools/root-filesystems.ts";
import { main } from "./process.ts";

/** Runs the event flow without a cluster, as processes of this machine, until Ctrl-C. */
await main(async () => {
  const ending = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      ending.abort();
    });
  }
  const begun = performance.now();
  await needs("run servers as processes");
  await buildTools([servers, daprd]);

  const ports = await choosePorts();
  // By the backend's port: who runs it twice has the logs of both.
  const logs = join(cacheDir, "logs", `try-${ports.backend}`);
  rmSync(logs, { recursive: true, force: true });
  const system = await step("start the event flow", () => startSystem({ logs, ports, mail: true }), logs);
  try {
    const urls = perService((service) => system.pods[service][0]?.app.url ?? "");
    await followOneEvent({
      connect: (userId) => Promise.resolve(clientAt(urls, userId)),
      eventLog: (service, userId) =>
        Promise.resolve(eventLines(readFileSync(system.pods[service][0]?.app.log ?? "", "utf8"), userId)),
    });
    say(`\nThe event flow is up after ${seconds(performance.now() - begun)}.\n`);
    describe(system, urls, logs);
    const supervisor = new Supervisor(({ name, log }) => {
      say(`${name} ended; it is started again (log: ${log})`);
    });
    const { postgres, kafka, valkey, maildev } = system;
    for (const server of [postgres, kafka, valkey, ...(maildev === undefined ? [] : [maildev])])
      supervisor.watch(server);
    for (const { app, daprd } of Object.values(system.pods).flat()) {
      supervisor.watch(app, `${app.url}${probes.liveness}`);
      supervisor.watch(daprd);
    }
    if (!ending.signal.aborted) await once(ending.signal, "abort");
    await supervisor.stop();
    say("\nThe services finish what they have, then all of it ends.");
  } finally {
    await system.stop();
  }
  say(`It is gone, with its data. The logs stay in ${logs}.`);
});

/** The services' own ports where those are free, so that what is written down for them works. */
function choosePorts() {
  return eachService(async (service) => {
    const { port } = services[service];
    return (await take(port)) ? port : freePort();
  });
}

function describe(system: System, urls: Record<ServiceKey, string>, logs: string): void {
  const user = randomUUID();
  const rows = [
    ...serviceKeys.map((service) => [services[service].name, `${urls[service]}/docs`]),
    ...serviceKeys.map((service) => {
      const { httpPort, apiToken } = system.pods[service][0]?.daprd ?? {};
      return [
        `${services[service].name}-daprd`,
        `http://127.0.0.1:${httpPort ?? ""}  ${daprTokenHeader}: ${apiToken ?? ""}`,
      ];
    }),
    ["kafka", system.kafka.brokers],
    ["valkey", system.valkey.address],
    ["postgres", system.databaseUrl],
    ["maildev (what is mailed)", system.maildev?.url ?? ""],
  ];
  for (const [part = "", address = ""] of rows) print(`${part.padEnd(28)} ${address}`);
  print(`
Each part's log is ${logs}/<part>.log. Create a task, and see what its user is told and what it counts for:

  token='${bearer(user, 24 * 3600).authorization.slice("Bearer ".length)}'
  curl -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \\
    -d '{"title":"Try it"}' ${urls.backend}/api/${user}/tasks
  curl -H "Authorization: Bearer $token" ${urls.notificationService}/api/${user}/notifications
  curl -H "Authorization: Bearer $token" ${urls.analyticsService}/api/${user}/stats

Have it mailed, or see it as it comes:

  curl -X PUT -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \\
    -d '{"email":"me@example.com","channels":["email"]}' ${urls.notificationService}/api/${user}/notifications/preferences
  curl -N -H "Authorization: Bearer $token" ${urls.notificationService}/api/${user}/notifications/stream

Kill what you like: it is started again, and no event is lost. Ctrl-C ends it all.`);
}
