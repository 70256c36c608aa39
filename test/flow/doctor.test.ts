/** Breaks a stack in each way that the doctor knows, one after the other, and mends it by the command that the doctor names. */
import { randomUUID } from "node:crypto";
import { delimiter, dirname } from "node:path";
import {
  components,
  daprHttpPort,
  metrics,
  probeTopic,
  secrets,
  services,
  subscribers,
  topic,
} from "@event-flow/events";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Report, reportSchema } from "../../commands/doctor/report.ts";
import { ownWorkspace, type Workspace } from "../../commands/workspace.ts";
import { repositoryRoot } from "../../components/content-tag.ts";
import { daprNamespace, daprVersion } from "../../components/versions.ts";
import { destroy, up } from "../cluster/cluster.ts";
import { layout } from "../cluster/layout.ts";
import { inNamespace } from "../cluster/network.ts";
import { containerdSocket } from "../cluster/parts.ts";
import { say, seconds, waitFor } from "../tools/progress.ts";
import { capture } from "../tools/run.ts";
import { certificate } from "../unit/support/patient.ts";
import { connect, forward, kubectl, tokenHeader } from "./access.ts";
import { deployed, followOneEvent } from "./flow.ts";

const cluster = layout("test");
const { backend, notificationService } = services;
const { name: reader, appId: readerId } = notificationService;
let workspace: Workspace;
let env: Record<string, string>;

beforeAll(async () => {
  await destroy("test");
  await up("test");
  workspace = await ownWorkspace(cluster);
  env = { ...workspace.env, PATH: [dirname(workspace.kubectl), workspace.env["PATH"] ?? ""].join(delimiter) };
  await capture(workspace.pulumi, ["up", "--stack", "dev", "--yes", "--skip-preview"], { cwd: repositoryRoot, env });
  // So that each group has a place in the topics, as in any stack that was used.
  await followOneEvent(deployed(workspace));
});

afterAll(() => destroy("test"));

const k = (...args: string[]) => kubectl(workspace, ...args);

interface Said {
  readonly exitCode: number | undefined;
  readonly stdout: string;
}

async function doctor(...args: string[]): Promise<Said> {
  const { context, namespace } = workspace;
  const { exitCode, stdout } = await execa(
    "node",
    ["commands/doctor.ts", `--context=${context}`, `--namespace=${namespace}`, ...args],
    { cwd: repositoryRoot, env, extendEnv: false, reject: false, stdin: "ignore" },
  );
  return { exitCode, stdout };
}

async function report(): Promise<{ report: Report; exitCode: number | undefined }> {
  const { exitCode, stdout } = await doctor("--json");
  return { exitCode, report: reportSchema.parse(JSON.parse(stdout)) };
}

function checksThatFound({ checks }: Report): string[] {
  return checks.filter(({ verdict }) => verdict === "found").map(({ check }) => check);
}

/** The findings as one reads them, for the error of a test. */
function told({ checks }: Report): string {
  return checks
    .flatMap(({ check, findings, unseen }) => [
      ...findings.map(({ what }) => `${check}: ${what}`),
      ...unseen.map((why) => `${check}: could not look: ${why}`),
    ])
    .join("\n");
}

async function soundAgain(): Promise<void> {
  await waitFor("the doctor to find nothing", 150, async () => {
    const found = await report();
    if (found.report.verdict !== "sound") throw new Error(told(found.report));
    expect(found.exitCode).toBe(0);
    return true;
  });
}

/** Waits until exactly these checks find something, and returns what the first one says, of that service if it's of several. */
async function found(...checks: string[]): Promise<{ what: string; mend: string; all: string }> {
  const { report: last, exitCode } = await waitFor(`the doctor to name ${checks.join(", ")}`, 150, async () => {
    const each = await report();
    if (checksThatFound(each.report).sort().join() !== [...checks].sort().join()) throw new Error(told(each.report));
    return each;
  });
  expect(exitCode).toBe(1);
  const { findings = [] } = last.checks.find(({ check }) => check === checks[0]) ?? {};
  const first = findings.find(({ what }) => what.includes(reader)) ?? findings[0];
  if (first === undefined) throw new Error(told(last));
  say(`  ${checks.join(", ")}: ${first.what}\n    ${first.mend}`);
  return { ...first, all: findings.map(({ what }) => what).join("\n") };
}

/** Runs a command that the doctor told of, as people do: in a shell, saying yes. */
async function run(command: string): Promise<string> {
  const confirmed = command.replace(/ pulumi up /, " pulumi up --yes --skip-preview ");
  const result = await execa("bash", ["-c", confirmed], {
    cwd: repositoryRoot,
    env,
    extendEnv: false,
    reject: false,
    all: true,
  });
  expect(result.exitCode, `${confirmed}\n${result.all}`).toBe(0);
  return result.stdout;
}

const restart = (name: string) => k("rollout", "restart", `deployment/${name}`);
const patch = (what: string, ...operations: object[]) =>
  k("patch", what, "--type=json", `--patch=${JSON.stringify(operations)}`);
const annotation = (name: string) => `/spec/template/metadata/annotations/${name.replaceAll("/", "~1")}`;

async function createTask(): Promise<void> {
  const client = await connect(workspace, randomUUID());
  try {
    const { status } = await client.call("backend", { method: "POST", path: "/tasks", body: { title: "Wait" } });
    expect(status).toBe(201);
  } finally {
    client.close();
  }
}

/** Gives an image another name, in the cluster's containerd. */
async function tagImage(image: string, as: string): Promise<void> {
  const refs = await capture("ctr", [
    `--address=${containerdSocket(cluster)}`,
    "--namespace=k8s.io",
    "images",
    "list",
    "--quiet",
  ]);
  const full = refs.split("\n").find((ref) => ref === image || ref.endsWith(`/${image}`)) ?? image;
  await capture("ctr", [
    `--address=${containerdSocket(cluster)}`,
    "--namespace=k8s.io",
    "images",
    "tag",
    "--force",
    full,
    as,
  ]);
}

test("finds nothing in a sound stack, within a minute, and says so in text, too", async () => {
  await soundAgain();
  const begun = performance.now();
  const { exitCode, stdout } = await doctor();
  const took = performance.now() - begun;
  say(`  make doctor: ${seconds(took)}`);
  expect(took).toBeLessThan(60_000);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/checks made, nothing found\.$/);
  // No colours in a pipe.
  expect(stdout).not.toContain("\u001b");
});

test("its probe reaches nobody", async () => {
  const described = await k(
    "exec",
    "kafka-0",
    "--",
    "/opt/kafka/bin/kafka-get-offsets.sh",
    "--bootstrap-server=localhost:9092",
    `--topic=${probeTopic}`,
  );
  expect(described).toContain(probeTopic);
  for (const subscriber of subscribers) {
    const headers = await tokenHeader(workspace, subscriber);
    const sidecar = await forward(workspace, `deployment/${subscriber.name}`, daprHttpPort);
    const metadata = await fetch(`${sidecar.url}/v1.0/metadata`, { headers })
      .then((response) => response.text())
      .finally(sidecar.close);
    expect(metadata).toContain(topic("task_completed"));
    expect(metadata).not.toContain(probeTopic);
  }
});

describe("names what is broken, and the command that mends it", () => {
  test("the injector scaled to 0", async () => {
    await k("scale", "deployment/dapr-sidecar-injector", `--namespace=${daprNamespace}`, "--replicas=0");
    const { what, mend } = await found("control-plane");
    expect(what).toBe("dapr-sidecar-injector is scaled to 0");
    await run(mend);
    await soundAgain();
  });

  test("a subscriber scaled to 0, and then what waits for it", async () => {
    await k("scale", `deployment/${reader}`, "--replicas=0");
    const { what, mend } = await found("pods");
    expect(what).toBe(`${reader} is scaled to 0; the stack has 1`);
    await createTask();
    expect((await found("consumers", "pods")).what).toMatch(
      new RegExp(`^1 event waits for ${reader}, which took none`),
    );
    await run(mend);
    await soundAgain();
  });

  test("a pod that was begun without the injector", async () => {
    await k("scale", "deployment/dapr-sidecar-injector", `--namespace=${daprNamespace}`, "--replicas=0");
    const { mend } = await found("control-plane");
    await restart(reader);
    expect((await found("injection", "control-plane")).what).toBe(
      `${reader} has 1 pod without a sidecar: begun while nobody injected one`,
    );
    await run(mend);
    await k("rollout", "status", "deployment/dapr-sidecar-injector", `--namespace=${daprNamespace}`, "--timeout=60s");
    // Dapr's watchdog or the doctor's command, whichever is first.
    await run(`kubectl --context ${workspace.context} rollout restart deployment/${reader}`);
    await soundAgain();
  });

  test("the annotation removed that asks for a sidecar", async () => {
    await patch(`deployment/${reader}`, { op: "remove", path: annotation("dapr.io/enabled") });
    const { what, mend } = await found("injection");
    expect(what).toBe(`Deployment ${reader}: dapr.io/enabled is missing instead of "true"`);
    await run(mend);
    await soundAgain();
  });

  test("a NetworkPolicy deleted", async () => {
    const [into = ""] = (await k("get", "networkpolicies", "--output=name"))
      .split("\n")
      .filter((name) => /into-/.test(name));
    await k("delete", into);
    const { what, mend } = await found("network");
    expect(what).toBe(`There is no NetworkPolicy ${into.split("/").at(-1)}`);
    await run(mend);
    await soundAgain();
  });

  test("a network that enforces no NetworkPolicies", async () => {
    const rule = (how: string) =>
      Promise.all(
        ["mangle", "security"].map((table) =>
          capture(
            "nsenter",
            inNamespace(cluster, ["iptables", "-w", "-t", table, how, "FORWARD", "-j", "ACCEPT"]).slice(1),
          ),
        ),
      );
    await rule("-I");
    // Put back at once: its mend makes the whole cluster again.
    const { report: seen } = await report().finally(() => rule("-D"));
    expect(checksThatFound(seen), told(seen)).toEqual(["network"]);
    const [finding] = seen.checks.find(({ check }) => check === "network")?.findings ?? [];
    expect(finding?.what).toMatch(/^No NetworkPolicy keeps lag-exporter from backend-.*: the network enforces none$/);
    expect(finding?.mend).toBe("make down && make up");
    await soundAgain();
  });

  test("a Component deleted", async () => {
    await k("delete", "components.dapr.io", components.stateStore);
    const { what, mend } = await found("components");
    expect(what).toBe(`There is no Component ${components.stateStore}`);
    await run(mend);
    await soundAgain();
  });

  test("a scope of a Component missing", async () => {
    const scopes = Object.values(services)
      .filter(({ appId }) => appId !== readerId)
      .map(({ appId }) => appId);
    await patch(`components.dapr.io/${components.pubsub}`, { op: "replace", path: "/scopes", value: scopes });
    const { what, mend } = await found("components");
    expect(what).toContain(`it is not for ${readerId}`);
    await run(mend);
    await soundAgain();
  });

  test("a wrong address of the broker, which a new sidecar can't begin with", async () => {
    const spec = JSON.parse(await k("get", `components.dapr.io/${components.pubsub}`, "--output=json")) as {
      spec: { metadata: { name: string }[] };
    };
    const index = spec.spec.metadata.findIndex(({ name }) => name === "brokers");
    const path = `/spec/metadata/${index}/value`;
    await patch(`components.dapr.io/${components.pubsub}`, { op: "replace", path, value: "kafka:9" });
    await restart(reader);
    await waitFor("the new sidecar to fail", 120, async () => {
      const text = told((await report()).report);
      if (!/sidecar of \S+ is not ready/.test(text)) throw new Error(text);
      return true;
    });
    const { all, mend } = await found("components");
    expect(all).toContain('brokers is "kafka:9" instead of "kafka:9092"');
    await run(mend);
    await soundAgain();
  });

  test("a key of a secret missing", async () => {
    await patch(`secret/${secrets.todo.name}`, { op: "remove", path: `/data/${secrets.todo.keys.jwtSecret}` });
    const { what, mend } = await found("secrets");
    expect(what).toBe(`Secret ${secrets.todo.name}: it has no ${secrets.todo.keys.jwtSecret}`);
    await run(mend);
    await soundAgain();
  });

  test("a secret deleted", async () => {
    await k("delete", "secret", secrets.redis.name);
    const { what, mend } = await found("secrets");
    expect(what).toBe(`Secret ${secrets.redis.name}: it is not there`);
    await run(mend);
    await soundAgain();
  });

  test("a wrong password, without telling it", async () => {
    const wrong = randomUUID();
    const value = Buffer.from(wrong).toString("base64");
    await patch(`secret/${secrets.redis.name}`, { op: "replace", path: `/data/${secrets.redis.keys.password}`, value });
    await restart(reader);
    const { what, mend } = await found("secrets");
    expect(what).toMatch(/^daprd of \S+ isn't let in: .*WRONGPASS/);
    expect((await doctor()).stdout).not.toContain(wrong);
    await run(mend);
    await soundAgain();
  });

  test("a subscriber that doesn't tell its sidecar what to subscribe to", async () => {
    await k("set", "env", `deployment/${reader}`, `APP_API_TOKEN=${randomUUID()}`);
    await k("rollout", "status", `deployment/${reader}`, "--timeout=120s");
    const { what, mend } = await found("subscriptions");
    expect(what).toBe(`${reader} answers HTTP 401 to GET /dapr/subscribe; its sidecar has 0 subscriptions`);
    await run(mend);
    await soundAgain();
  });

  test("an event that was given up", async () => {
    const sidecar = await forward(workspace, `deployment/${backend.name}`, daprHttpPort);
    const url = `${sidecar.url}/v1.0/publish/${components.pubsub}/${topic("task_created")}`;
    const headers = { "content-type": "application/json", ...(await tokenHeader(workspace, backend)) };
    const { status } = await fetch(url, { method: "POST", headers, body: "{}" }).finally(sidecar.close);
    expect(status).toBe(204);
    const { what, mend } = await found("dead-letters");
    expect(what).toContain(`${reader} gave an event up`);
    expect(await run(mend)).toContain("1 dead letter");
    // Each subscriber of it gave it up.
    for (const { name } of subscribers) {
      await run(mend.replace(" list ", " discard --all ").replace(`--service ${reader}`, `--service ${name}`));
    }
    await soundAgain();
  });

  test("a sidecar of another version", async () => {
    const other = "ghcr.io/dapr/daprd:1.17.0";
    await tagImage(`ghcr.io/dapr/daprd:${daprVersion}`, other);
    await patch(`deployment/${reader}`, { op: "add", path: annotation("dapr.io/sidecar-image"), value: other });
    const { what, mend } = await found("versions");
    expect(what).toBe(`The sidecar of ${reader} is ${other} instead of Dapr ${daprVersion}`);
    await run(mend);
    await soundAgain();
  });

  test("an image other than the stack's", async () => {
    const image = await k("get", "deployment", reader, "--output=jsonpath={.spec.template.spec.containers[0].image}");
    const other = `${image}-other`;
    await tagImage(image, other);
    await k("set", "image", `deployment/${reader}`, `${reader}=${other}`);
    const { what, mend } = await found("versions");
    expect(what).toBe(`${reader} runs ${other}; the stack has ${image}`);
    await run(mend);
    await soundAgain();
  });

  test("a CRD that is another version's", async () => {
    const path = "/spec/versions/0/schema/openAPIV3Schema/properties/apiVersion/description";
    await patch("customresourcedefinition/resiliencies.dapr.io", { op: "replace", path, value: "of another version" });
    const { what, mend } = await found("versions");
    expect(what).toBe(`The CRD resiliencies.dapr.io is not that of Dapr ${daprVersion}`);
    await run(mend);
    await soundAgain();
  });

  test("an issuer's certificate that is about to expire", async () => {
    const bundle = ["secret/dapr-trust-bundle", `--namespace=${daprNamespace}`] as const;
    const before = await k("get", ...bundle, "--output=jsonpath={.data.issuer\\.crt}");
    const set = (value: string) =>
      k("patch", ...bundle, "--type=merge", `--patch=${JSON.stringify({ data: { "issuer.crt": value } })}`);
    await set(Buffer.from(await certificate(5)).toString("base64"));
    // Put back at once, before the kubelet hands it to Sentry: nobody has the key of Dapr's root here to issue another by.
    const { report: seen } = await report().finally(() => set(before));
    expect(checksThatFound(seen), told(seen)).toEqual(["certificates"]);
    const [finding] = seen.checks.find(({ check }) => check === "certificates")?.findings ?? [];
    expect(finding?.what).toMatch(/^issuer\.crt of Dapr's trust bundle expires within 5 days/);
    expect(finding?.mend).toBe("dapr mtls renew-certificate --kubernetes --valid-until 365 --restart");
    await soundAgain();
  });

  test("a broker that is away, and the events that wait for it", async () => {
    await k("scale", "statefulset/kafka", "--replicas=0");
    await createTask();
    const { what, mend } = await found("pods", "publishing", "outbox");
    expect(what).toBe("kafka is scaled to 0; the stack has 1");
    await run(mend);
    await soundAgain();
  });
});

test("finds nothing in the mended stack, which carries events", async () => {
  await followOneEvent(deployed(workspace));
  await soundAgain();
  const lag = await forward(workspace, "deployment/lag-exporter", 9308);
  expect(
    await fetch(`${lag.url}/metrics`)
      .then((response) => response.text())
      .finally(lag.close),
  ).toContain(metrics.consumerLag);
});

test("says that it could not look when there is no cluster", async () => {
  const { exitCode, stdout } = await execa(
    "node",
    ["commands/doctor.ts", "--context=nowhere", "--namespace=default", "--json"],
    { cwd: repositoryRoot, env, extendEnv: false, reject: false },
  );
  expect(exitCode).toBe(2);
  expect(reportSchema.parse(JSON.parse(stdout)).verdict).toBe("unknown");
});
