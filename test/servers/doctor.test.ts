/** What the doctor makes of real services, sidecars and servers as processes; of Kubernetes it sees a sound stack's plain data. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  components,
  daprHttpPort,
  daprTokenHeader,
  daprTokenKey,
  daprTokenSecrets,
  type ServiceKey,
  serviceKeys,
  services,
  subscribers,
  topic,
} from "@event-flow/events";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { examine } from "../../commands/doctor/check.ts";
import { checks } from "../../commands/doctor/checks/index.ts";
import type { Result } from "../../commands/doctor/report.ts";
import { troubleOf } from "../../commands/doctor/sidecars.ts";
import type { HttpAnswer, HttpRequest } from "../../commands/doctor/system.ts";
import { repositoryRoot } from "../../components/content-tag.ts";
import { waitFor } from "../tools/progress.ts";
import { Patient } from "../unit/support/patient.ts";
import { call } from "./client.ts";
import { type Daprd, type DaprdOptions, startDaprd } from "./daprd.ts";
import { freePort } from "./ports.ts";
import { type Service, startService } from "./service.ts";
import { startSystem, type System } from "./system.ts";

let system: System;
let exporter: Service;
let patient: Patient;

const { name: reader } = services.notificationService;

/** A stack whose pods are processes of this machine. */
class ProcessPatient extends Patient {
  override async http(name: string, { port, path, method = "GET", headers, body }: HttpRequest): Promise<HttpAnswer> {
    const response = await fetch(`${addressOf(name.replace(/-1$/, ""), port)}${path}`, {
      method,
      headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, text: await response.text() };
  }

  override wait = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
}

function addressOf(name: string, port: number): string {
  if (name === "lag-exporter") return exporter.url;
  const key = serviceKeys.find((each) => services[each].name === name);
  const pod = key && system.pods[key][0];
  if (pod === undefined) throw new Error(`there is no ${name}`);
  return port === daprHttpPort ? `http://127.0.0.1:${pod.daprd.httpPort}` : pod.app.url;
}

beforeAll(async () => {
  system = await startSystem();
  const GROUPS = subscribers.map(({ appId }) => appId).join(",");
  const environment = { BROKERS: system.kafka.brokers, GROUPS };
  exporter = await startService("service", await freePort(), environment, { entry: "src/lag-exporter.ts" });
  patient = Object.assign(new ProcessPatient(), { trustBundle: (await Patient.make()).trustBundle });
  for (const key of serviceKeys) {
    const { daprd, appApiToken } = pod(key);
    const { api, app } = daprTokenSecrets(services[key]);
    patient.setSecret(api, { [daprTokenKey]: daprd.apiToken ?? "" });
    patient.setSecret(app, { [daprTokenKey]: appApiToken });
  }
});

afterAll(async () => {
  await exporter.stop();
  await system.stop();
});

async function createTask(): Promise<void> {
  const user = randomUUID();
  const url = `${addressOf("backend", services.backend.port)}/api/${user}/tasks`;
  expect((await call("POST", url, { user, body: { title: "See a doctor" } })).status).toBe(201);
}

const told = (results: readonly Result[]) =>
  results
    .flatMap(({ check, findings, unseen }) =>
      [...findings.map(({ what }) => what), ...unseen].map((what) => `${check}: ${what}`),
    )
    .join("\n");

/** Waits until exactly these checks find something; without any, until all is seen and sound. */
function found(...expected: string[]): Promise<Result[]> {
  return waitFor(`the doctor to name ${expected.join(", ") || "nothing"}`, 90, async () => {
    const results = await examine(patient, checks, 30_000);
    const isSound = results.every(({ verdict }) => verdict === "sound");
    const names = results.filter(({ verdict }) => verdict === "found").map(({ check }) => check);
    if (names.join() !== expected.join() || (expected.length === 0 && !isSound)) throw new Error(told(results));
    return results;
  });
}

const pod = (key: ServiceKey) => {
  const [first] = system.pods[key];
  if (first === undefined) throw new Error(`there is no ${key}`);
  return first;
};

/** What is to be shown to a sidecar. */
const shown = ({ apiToken }: Daprd) => ({ [daprTokenHeader]: apiToken ?? "" });

test("a system that carries events is sound", async () => {
  await createTask();
  await found();
});

test("an event that was given up is told of, until it is discarded", async () => {
  const url = `${addressOf("backend", daprHttpPort)}/v1.0/publish/${components.pubsub}/${topic("task_created")}`;
  const headers = { "content-type": "application/json", ...shown(pod("backend").daprd) };
  expect((await fetch(url, { method: "POST", headers, body: "{}" })).status).toBe(204);
  await found("dead-letters");
  for (const key of serviceKeys.filter((each) => each !== "backend")) {
    const { httpPort, apiToken } = pod(key).daprd;
    await execa("node", ["commands/dead-letters.ts", "discard", "--all", "--dapr", `http://127.0.0.1:${httpPort}`], {
      cwd: repositoryRoot,
      env: { DAPR_API_TOKEN: apiToken },
    });
  }
  await found();
});

test("a subscriber that is gone takes nothing of what waits, and can't be asked what it subscribes to", async () => {
  await pod("notificationService").app.kill();
  await createTask();
  const results = await found("consumers");
  expect(told(results)).toMatch(new RegExp(`consumers: \\d events? waits? for ${reader}, which took none within 8 s`));
  expect(results.find(({ check }) => check === "subscriptions")).toMatchObject({ verdict: "unknown" });
  await pod("notificationService").app.start();
  await found();
});

test("a broker that is gone can't be published to, and events wait; who is behind can't be seen", async () => {
  await system.kafka.kill();
  await createTask();
  const results = await found("publishing", "outbox");
  expect(results.find(({ check }) => check === "consumers")).toMatchObject({ verdict: "unknown" });
  await system.kafka.start();
  await found();
});

test("a sidecar that can't begin says why, and whether that is a secret's fault", async () => {
  const dir = mkdtempSync(join(tmpdir(), "event-flow-doctor-"));
  const { kafka, valkey } = system;
  const store = { address: `127.0.0.1:${valkey.port}`, password: valkey.password };
  const lastWords = async (backing: Pick<DaprdOptions, "brokers" | "valkey">) => {
    const log = join(dir, `${randomUUID()}.log`);
    const { appId } = services.notificationService;
    await expect(startDaprd({ appId, appPort: await freePort(), log, ...backing })).rejects.toThrow();
    const text = readFileSync(log, "utf8");
    const other = Object.assign(new Patient(), { log: () => Promise.resolve(text) });
    other.crash(reader, "daprd", "");
    const [read] = (await other.list("pods")).filter(({ metadata }) => metadata.labels["app"] === reader);
    const status = read?.status.containerStatuses.find(({ name }) => name === "daprd");
    if (read === undefined || status === undefined) throw new Error("there is no sidecar");
    return troubleOf(other, read, status);
  };
  try {
    const unreachable = await lastWords({ brokers: "127.0.0.1:1", valkey: store });
    expect(unreachable.said).toMatch(/kafka-pubsub.*(brokers|connect)/);
    expect(unreachable.isOfSecrets).toBe(false);
    const refused = await lastWords({ brokers: kafka.brokers, valkey: { ...store, password: "another" } });
    expect(refused.said).toMatch(/statestore.*WRONGPASS/);
    expect(refused.isOfSecrets).toBe(true);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
