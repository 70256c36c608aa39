/** Stack prod, from nothing to nothing: told in order, on one stage (see stage.ts). */
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { get } from "node:https";
import { connect as connectPlainly } from "node:net";
import { delimiter, dirname, join } from "node:path";
import {
  components,
  eachService,
  secrets,
  serviceKeys,
  type ServiceIdentity,
  type ServiceKey,
  services,
  subscribers,
} from "@event-flow/events";
import { execa } from "execa";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { reportSchema } from "../../commands/doctor/report.ts";
import { repositoryRoot } from "../../components/content-tag.ts";
import { lagExporter } from "../../components/lag-exporter.ts";
import { daprNamespace } from "../../components/versions.ts";
import { connect, forward, kubectl, tokenHeader } from "../flow/access.ts";
import { commonWays, together, tryEveryWay, ways } from "../flow/network.ts";
import { cluster, hardware } from "../providers/digitalocean/hardware.ts";
import { call } from "../providers/digitalocean/valkey.ts";
import { apiVersionsRequest } from "../servers/kafka.ts";
import { staysSo, waitFor } from "../tools/progress.ts";
import { generateLoad } from "./load.ts";
import { type Ended, setStage, type Stage } from "./stage.ts";
import { ctr } from "./trust.ts";

let stage: Stage;
/** Every value that must show nowhere, and what it is. */
const secretValues = new Map<string, string>();

beforeAll(async () => {
  stage = await setStage();
}, 1_800_000);

afterAll(async () => {
  await stage.close();
}, 120_000);

const k = (...args: string[]) => kubectl(stage.access, ...args);
const set = async (key: string, value: string) => succeeded(await stage.configure(key, value));
const setSecret = async (key: string, value: string, what: string) => {
  secretValues.set(value, what);
  succeeded(await stage.configure(key, value, "--secret"));
};
const unset = async (key: string) => succeeded(await stage.pulumi("config", "rm", key));
const up = () => stage.pulumi("up", "--yes", "--skip-preview");

function succeeded({ code, output }: Ended): string {
  expect(code, output).toBe(0);
  return output;
}

function failed({ code, output }: Ended): string {
  expect(code, output).not.toBe(0);
  return output;
}

/** How many resources a run did what with: `{ created: 3, unchanged: 53 }`. */
function counts(output: string): Record<string, number> {
  const summary = output.slice(output.lastIndexOf("Resources:"));
  return Object.fromEntries(
    [...summary.matchAll(/^ +[^\w\n]* *(\d+) (?:to )?(\w+)$/gm)].map(([, count, what]) => [what ?? "", Number(count)]),
  );
}

/** The pods of a service that are to stay, by name, with how often containers of each were started again. */
async function pods(app: string): Promise<Record<string, number>> {
  const { items } = JSON.parse(await k("get", "pods", `--selector=app=${app}`, "--output=json")) as {
    items: {
      metadata: { name: string; deletionTimestamp?: string };
      status: { containerStatuses?: { restartCount: number }[] };
    }[];
  };
  return Object.fromEntries(
    items
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .map(({ metadata, status }) => [
        metadata.name,
        (status.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0),
      ]),
  );
}

/** The pods of every service, once no rollout is under way: Pulumi's `up` ends a moment before the last old ones go. */
async function settledPods(): Promise<Record<ServiceKey, Record<string, number>>> {
  return eachService(async (service) => {
    const { name } = services[service];
    await k("rollout", "status", `deployment/${name}`, "--timeout=60s");
    return pods(name);
  });
}

/** Whether every service has its pods, none of which was there before. */
function expectReplaced(before: Record<ServiceKey, object>, now: Record<ServiceKey, object>): void {
  for (const service of serviceKeys) {
    expect(Object.keys(now[service])).toHaveLength(2);
    expect(Object.keys(now[service]).filter((name) => name in before[service])).toEqual([]);
  }
}

/** Creates a task through the load balancer and waits until the notification service has told of it and it's in the figures. */
async function followAnEvent(): Promise<void> {
  const client = await connect(stage.access, randomUUID());
  try {
    const { status } = await client.call("backend", { method: "POST", path: "/tasks", body: { title: "Rehearse" } });
    expect(status).toBe(201);
    await waitFor("the notification", 60, async () => {
      const { body } = await client.call("notificationService", { path: "/notifications" });
      return (body as { message: string }[]).find(({ message }) => message.includes("Rehearse"));
    });
    await waitFor("the figures", 60, async () => {
      const { body } = await client.call("analyticsService", { path: "/stats" });
      return (body as { created?: number }).created === 1 ? true : undefined;
    });
  } finally {
    client.close();
  }
}

test("without config, it says what is missing and how to set it", { timeout: 60_000 }, async () => {
  const output = failed(await stage.pulumi("preview"));
  for (const command of [
    "pulumi config set --secret digitalocean:token --stack prod",
    "pulumi config set event-flow:redpandaBrokers <value> --stack prod",
    "pulumi config set event-flow:redpandaUsername <value> --stack prod",
    "pulumi config set --secret event-flow:redpandaPassword --stack prod",
  ]) {
    expect(output).toContain(command);
  }
  await setSecret("digitalocean:token", "dop_v1_of-somebody-else", "a wrong token");
  await set("event-flow:redpandaBrokers", stage.redpanda.broker);
  await set("event-flow:redpandaUsername", stage.redpanda.user);
  await set("event-flow:redpandaCa", stage.ca("public"));
  await setSecret("event-flow:redpandaPassword", stage.redpandaPassword, "the first password at Redpanda");
});

test("a wrong token is told as such", { timeout: 60_000 }, async () => {
  expect(failed(await stage.pulumi("preview"))).toMatch(/: 401 .*Unable to authenticate you/);
  await setSecret("digitalocean:token", stage.token, "DigitalOcean's token");
});

test("a first preview works before there is a cluster", { timeout: 60_000 }, async () => {
  const { create = 0, ...others } = counts(succeeded(await stage.pulumi("preview")));
  expect(create).toBeGreaterThan(50);
  expect(others).toEqual({});
  expect(stage.cloud.objects()).toEqual([]);
});

test("what DigitalOcean refuses ends in its words", { timeout: 120_000 }, async () => {
  await set("event-flow:nodes", '{"size":"s-2vcpu-4tb","min":3,"max":5}');
  const output = failed(await up());
  expect(output).toMatch(/Error creating Kubernetes cluster: POST .*\/kubernetes\/clusters: 422 .*invalid size slug/);
  await unset("event-flow:nodes");
  expect(stage.cloud.objects().map(({ kind }) => kind)).toEqual(["Vpc"]);
});

test("an up broken off by hand goes on at the next", { timeout: 120_000 }, async () => {
  stage.cloud.steer({ secondsToReady: 6 });
  const running = stage.startPulumi("up", "--yes", "--skip-preview");
  await waitFor("the cluster to be asked for", 60, () => Promise.resolve(stage.cloud.objects("KubernetesCluster")[0]));
  running.interrupt();
  failed(await running.ended);
  stage.cloud.steer({ secondsToReady: 2 });
  // Pulumi waits for what is under way: the cluster is there once, and known to the stack.
  const state = JSON.parse(succeeded(await stage.pulumi("stack", "export"))) as Exported;
  const [made] = stage.cloud.objects("KubernetesCluster");
  expect(state.deployment.resources?.map(({ id }) => id)).toContain(made?.id);
});

test("a quota ends in DigitalOcean's words, and what was made stays", { timeout: 120_000 }, async () => {
  const message = "You have reached the limit of database clusters";
  const tooMany = { status: 429, message: "API Rate limit exceeded.", times: 3 };
  stage.cloud.steer({
    faults: [
      { id: "too many calls", method: "PUT", path: "/firewall$", ...tooMany },
      { id: "quota", method: "POST", path: "^/v2/databases$", status: 422, message },
    ],
  });
  expect(failed(await up())).toContain(`: 422 (request`);
  expect(stage.printed()).toContain(message);
  expect(stage.cloud.objects("KubernetesCluster")).toHaveLength(1);
});

test("a wrong CA of the broker is told as such", { timeout: 300_000 }, async () => {
  await set("event-flow:redpandaCa", stage.ca("other"));
  const output = failed(await up());
  expect(output).toMatch(/The certificate of seed-0\S+ can't be verified by the CA in event-flow:redpandaCa/);
  await set("event-flow:redpandaCa", stage.ca("public"));
});

test("an unreachable broker is told as such", { timeout: 300_000 }, async () => {
  await set("event-flow:redpandaBrokers", `${cluster.nodeAddress}:9999`);
  const output = failed(await up());
  expect(output).toMatch(/:9999 \(event-flow:redpandaBrokers\) can't be reached: connect ECONNREFUSED/);
  // What was one call too many was repeated.
  expect(stage.cloud.calls.filter((line) => line.endsWith("/firewall 429"))).toHaveLength(3);
  await set("event-flow:redpandaBrokers", stage.redpanda.broker);
});

test("from there to a handled event", { timeout: 600_000 }, async () => {
  // Pulumi puts the names of outputs in a column, as wide as the longest.
  const output = succeeded(await up()).replaceAll(/ +: /g, ": ");
  expect(output).toContain(`reachBackend: "http://${cluster.nodeAddress}"`);
  await followAnEvent();
  expect((await fetch(`http://${cluster.nodeAddress}/ready`)).status).toBe(200);
});

test("broker, Valkey and PostgreSQL refuse to speak in plain text", { timeout: 60_000 }, async () => {
  const socket = connectPlainly({ host: cluster.nodeAddress, port: 9092 });
  await once(socket, "connect");
  socket.write(apiVersionsRequest);
  const answer: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => answer.push(chunk)).on("error", () => undefined);
  await once(socket, "close", { signal: AbortSignal.timeout(20_000) });
  // At most TLS's own alert (0x15), no answer of Kafka's.
  expect(Buffer.concat(answer).subarray(0, 1).toString("hex")).toMatch(/^(15)?$/);

  const [valkey, postgres] = ["valkey", "pg"].map((engine) =>
    stage.cloud.objects("DatabaseCluster").find(({ inputs }) => inputs["engine"] === engine),
  );
  const at = (made: typeof valkey) => ({
    host: cluster.nodeAddress,
    port: Number(made?.made["port"]),
    password: String(made?.made["password"]),
  });
  const { host: address, ...rest } = at(valkey);
  await expect(call({ address, ...rest, tls: undefined, command: ["PING"] })).rejects.toThrow();
  const servername = String(valkey?.made["privateHost"]);
  expect(await call({ address, ...rest, tls: { ca: stage.ca("public"), servername }, command: ["PING"] })).toBe(
    "+PONG",
  );

  const database = { ...at(postgres), user: "doadmin", database: "defaultdb" };
  await expect(new pg.Client({ ...database, ssl: false }).connect()).rejects.toThrow("no encryption");
  const dir = join(stage.cloud.directory, "databases", String(postgres?.id));
  const client = new pg.Client({
    ...database,
    // The admin doesn't see others' connections.
    user: "postgres",
    password: readFileSync(join(dir, "superuser"), "utf8"),
    ssl: { ca: stage.ca("account"), servername: String(postgres?.made["privateHost"]) },
  });
  await client.connect();
  const { rows } = await client.query<{ ssl: boolean }>(
    "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'todo'",
  );
  await client.end();
  expect(rows.length).toBeGreaterThan(0);
  expect(rows.every(({ ssl }) => ssl)).toBe(true);
});

test("all sentries issue certificates by the one root that they were given", { timeout: 30_000 }, async () => {
  const log = await k("logs", `--namespace=${daprNamespace}`, "--selector=app=dapr-sentry", "--tail=-1");
  expect(log.match(/issuer certs found/g)?.length).toBeGreaterThanOrEqual(3);
  expect(log).not.toMatch(/generating self.signed/i);
});

test("sidecars have loaded the Components, without an error", { timeout: 60_000 }, async () => {
  const loaded = async (service: ServiceIdentity) => {
    const [pod = ""] = Object.keys(await pods(service.name));
    const { url, close } = await forward(stage.access, `pod/${pod}`, 3500);
    try {
      const answer = await (
        await fetch(`${url}/v1.0/metadata`, { headers: await tokenHeader(stage.access, service) })
      ).json();
      const log = await k("logs", pod, "--container=daprd");
      expect(log).not.toMatch(/level=(error|fatal)/);
      return (answer as { components: { name: string; type: string }[] }).components.map(
        ({ name, type }) => `${name}: ${type}`,
      );
    } finally {
      close();
    }
  };
  expect(await loaded(services.backend)).toEqual([`${components.pubsub}: pubsub.kafka`]);
  for (const subscriber of subscribers) {
    expect((await loaded(subscriber)).sort()).toEqual([
      `${components.pubsub}: pubsub.kafka`,
      `${components.stateStore}: state.redis`,
    ]);
  }
});

test("connections take the ways that the flow needs, and no others", { timeout: 180_000 }, async () => {
  const port = (engine: string) =>
    Number(stage.cloud.objects("DatabaseCluster").find(({ inputs }) => inputs["engine"] === engine)?.made["port"]);
  const managed = Object.entries({ redpanda: 9092, postgres: port("pg"), valkey: port("valkey") });
  const { backend, notificationService, recurringTaskService, analyticsService } = services;
  const expected = ways(
    together(commonWays, {
      [backend.name]: ["redpanda", "postgres"],
      [notificationService.name]: ["redpanda", "valkey"],
      [recurringTaskService.name]: ["redpanda", "valkey", `${backend.name}:50002`],
      [analyticsService.name]: ["redpanda", "valkey", "postgres"],
      [lagExporter.name]: ["redpanda"],
      // Everybody, as by the load balancer.
      neighbour: [`${backend.name}:${backend.port}`],
    }),
  );
  const more = managed.map(([name, at]) => ({ name, host: cluster.nodeAddress, port: at }));
  const { found, dead, tried } = await tryEveryWay(cluster, stage.access, { expected, more });
  expect(dead).toEqual([]);
  expect(found).toEqual(expected);
  expect(tried).toBeGreaterThan(10 * found.length);
});

test("the doctor finds nothing, and then what is broken", { timeout: 180_000 }, async () => {
  const doctor = async () => {
    const { env } = stage.stack;
    const { exitCode, stdout, stderr } = await execa(
      "node",
      ["commands/doctor.ts", "--stack=prod", `--context=${stage.access.context}`, "--namespace=event-flow", "--json"],
      {
        cwd: repositoryRoot,
        env: {
          ...env,
          ...stage.access.env,
          PATH: [dirname(stage.access.kubectl), env["PATH"] ?? ""].join(delimiter),
        },
        extendEnv: false,
        reject: false,
      },
    );
    expect(stdout, stderr).toMatch(/^\{/);
    const { checks } = reportSchema.parse(JSON.parse(stdout));
    return { exitCode, unsound: checks.filter(({ verdict }) => verdict !== "sound") };
  };
  expect(await doctor()).toEqual({ exitCode: 0, unsound: [] });

  const { name } = services.analyticsService;
  await k("scale", `deployment/${name}`, "--replicas=0");
  await waitFor("its pods to be gone", 60, async () => (Object.keys(await pods(name)).length === 0 ? true : undefined));
  const { exitCode, unsound } = await doctor();
  expect(exitCode).toBe(1);
  expect(unsound.map(({ check }) => check)).toContain("pods");
  expect(JSON.stringify(unsound)).toContain(`${name} is scaled to 0; the stack has 2`);
  await k("scale", `deployment/${name}`, "--replicas=2");
  await k("rollout", "status", `deployment/${name}`, "--timeout=60s");
});

test("up again plans nothing, also when DigitalOcean has a newer Kubernetes", { timeout: 120_000 }, async () => {
  succeeded(await stage.pulumi("up", "--yes", "--expect-no-changes"));
  stage.cloud.steer({ kubernetesVersions: ["1.34.2-do.0", ...stage.cloud.steering.kubernetesVersions] });
  succeeded(await stage.pulumi("preview", "--expect-no-changes"));
});

test("a new image rolls without a failed request or a lost event", { timeout: 300_000 }, async () => {
  const log = join(stage.directory, "ctr.log");
  const next = await eachService(async (service) => {
    const image = `${stage.images[service]}-next`;
    await ctr(log, "images", "tag", "--force", stage.images[service], image);
    return image;
  });
  const before = await settledPods();
  await set("event-flow:images", JSON.stringify({ from: "prebuilt", ...next }));
  const load = await generateLoad(stage.access, `http://${cluster.nodeAddress}`);
  const output = succeeded(await up());
  const { requests, failures, created } = await load.stop();
  expect(failures).toEqual([]);
  expect(requests).toBeGreaterThan(200);
  // The exporter of the lag and the broker's check run from the backend's image.
  expect(counts(output)).toMatchObject({ updated: serviceKeys.length + 1, replaced: 1 });

  expectReplaced(before, await settledPods());
  const client = await connect(stage.access, load.userId);
  try {
    await waitFor("every event to be handled", 60, async () => {
      const { body } = await client.call("notificationService", { path: "/notifications" });
      const told = new Set((body as { event_id: string }[]).map(({ event_id }) => event_id));
      return told.size >= Math.min(created, 100) ? true : undefined;
    });
  } finally {
    client.close();
  }
});

test("a wrong password is told, and reaches no service", { timeout: 300_000 }, async () => {
  const before = await settledPods();
  await setSecret("event-flow:redpandaPassword", "not-the-password", "a wrong password at Redpanda");
  const output = failed(await up());
  expect(output).toMatch(/refuses the user event-flow with the password in event-flow:redpandaPassword/);
  // Longer than a sidecar that reloads its Components would take to end.
  await staysSo(65, async () => {
    expect(await eachService((service) => pods(services[service].name))).toEqual(before);
  });
  await followAnEvent();
});

test("a rotated password is taken up", { timeout: 300_000 }, async () => {
  const rotated = randomBytes(18).toString("base64url");
  await stage.redpanda.setPassword(rotated);
  await setSecret("event-flow:redpandaPassword", rotated, "the second password at Redpanda");
  const before = await settledPods();
  const output = succeeded(await up());
  expect(output).not.toMatch(/DatabaseCluster|KubernetesCluster/);
  expectReplaced(before, await settledPods());
  await followAnEvent();
});

test("more nodes are an update, larger ones are refused", { timeout: 180_000 }, async () => {
  await set("event-flow:nodes", '{"size":"s-2vcpu-4gb","min":3,"max":8}');
  const output = succeeded(await up());
  expect(counts(output)).toEqual({ updated: 1, unchanged: expect.any(Number) as number });
  expect(output).toMatch(/KubernetesCluster cluster-kubernetes updated/);
  const [made] = stage.cloud.objects("KubernetesCluster");
  expect(made?.inputs["nodePool"]).toMatchObject({ minNodes: 3, maxNodes: 8 });

  await set("event-flow:nodes", '{"size":"s-4vcpu-8gb","min":3,"max":8}');
  expect(failed(await stage.pulumi("preview"))).toMatch(
    /unable to replace resource .*\s+as it is currently marked for protection/,
  );
  await set("event-flow:nodes", '{"size":"s-2vcpu-4gb","min":3,"max":8}');
});

test("a token that expired between two runs replaces nothing", { timeout: 180_000 }, async () => {
  const old = readFileSync(join(stage.cloud.directory, "kubeconfig-token"), "utf8");
  secretValues.set(old, "the first token of the kubeconfig");
  expect(await statusWith(old)).toBe(200);
  await hardware(stage.cloud.directory).forgetTokens();
  await waitFor("the old token to be refused", 30, async () => ((await statusWith(old)) === 401 ? true : undefined));

  const planned = counts(succeeded(await stage.pulumi("preview")));
  expect(Object.keys(planned).filter((what) => !["update", "unchanged"].includes(what))).toEqual([]);
  const done = counts(succeeded(await up()));
  // The provider's kubeconfig is another one; nothing that it deploys is.
  expect(done).toEqual({ updated: 1, unchanged: expect.any(Number) as number });
  await followAnEvent();
});

test("no secret value is to be found where it doesn't belong", { timeout: 180_000 }, async () => {
  for (const object of stage.cloud.objects()) {
    if (typeof object.made["password"] === "string")
      secretValues.set(object.made["password"], `${object.kind}'s password`);
  }
  secretValues.set(readFileSync(join(stage.cloud.directory, "kubeconfig-token"), "utf8"), "the kubeconfig's token");
  secretValues.set(stage.passphrase, "the stack's passphrase");
  const issuerKey = ["get", "secret", "dapr-trust-bundle", `--namespace=${daprNamespace}`];
  const [, line = ""] = Buffer.from(await k(...issuerKey, "--output=jsonpath={.data.issuer\\.key}"), "base64")
    .toString()
    .split("\n");
  secretValues.set(line, "the key of Dapr's issuer");
  const printed = stage.printed();
  const open = JSON.parse(succeeded(await stage.pulumi("stack", "export", "--show-secrets"))) as Exported;
  for (const { type, urn, outputs } of open.deployment.resources ?? []) {
    if (type !== "random:index/randomPassword:RandomPassword") continue;
    const { plaintext } = outputs?.["result"] as { plaintext: string };
    secretValues.set(JSON.parse(plaintext) as string, urn);
  }

  const places: Record<string, string> = {
    "the exported state": succeeded(await stage.pulumi("stack", "export")),
    "the stack's outputs": succeeded(await stage.pulumi("stack", "output", "--json")),
    "the stack's config": readFileSync(stage.stack.configFile, "utf8"),
    "what Pulumi printed": printed,
    "a preview": succeeded(await stage.pulumi("preview", "--diff")),
    ...(await kubernetesObjects()),
    ...logs(join(cluster.dir, "pod-logs")),
    ...logs(join(stage.directory, "pulumi", "home")),
  };
  // The search finds what is there.
  const jwtKey = [...secretValues].find(([, what]) => what.endsWith("::secrets-jwt"))?.[0] ?? "";
  const encoded = await k("get", "secret", secrets.todo.name, "--output=json");
  expect(found(jwtKey, encoded)).toBe(true);

  const leaks = [...secretValues].flatMap(([value, what]) =>
    Object.entries(places).flatMap(([place, content]) => (found(value, content) ? [`${what} in ${place}`] : [])),
  );
  expect(secretValues.size).toBeGreaterThan(10);
  expect(leaks).toEqual([]);
});

test("destroy refuses what holds data, and says how to lift that", { timeout: 300_000 }, async () => {
  const before = stage.cloud.objects().length;
  const output = failed(await stage.pulumi("destroy", "--yes"));
  expect(output).toMatch(/cannot be deleted\s+because it is protected/);
  expect(output).toContain("pulumi state unprotect");
  // Nothing else is gone either.
  expect(stage.cloud.objects()).toHaveLength(before);
  await followAnEvent();
});

test("without its preview, it takes all down but data, and up brings it back", { timeout: 600_000 }, async () => {
  const client = await connect(stage.access, randomUUID());
  await client.call("backend", { method: "POST", path: "/tasks", body: { title: "Outlive a destroy" } });
  client.close();
  failed(await stage.pulumi("destroy", "--yes", "--skip-preview"));
  const kinds = stage.cloud.objects().map(({ kind }) => kind);
  expect(kinds.sort()).toEqual([
    ...["DatabaseCluster", "DatabaseCluster", "DatabaseDb", "DatabaseDb", "DatabaseFirewall", "DatabaseFirewall"],
    ...["DatabaseUser", "DatabaseUser", "KubernetesCluster", "Vpc"],
  ]);
  // `destroy` takes the kubeconfig that the last `up` has left; a later `up` gets one of today.
  await hardware(stage.cloud.directory).forgetTokens();
  succeeded(await up());
  const again = await connect(stage.access, client.userId);
  const { body } = await again.call("backend", { path: "/tasks" });
  again.close();
  expect(JSON.stringify(body)).toContain("Outlive a destroy");
});

test("unprotected, it leaves nothing", { timeout: 600_000 }, async () => {
  succeeded(await stage.pulumi("state", "unprotect", "--all", "--yes"));
  succeeded(await stage.pulumi("destroy", "--yes"));
  expect(stage.cloud.objects()).toEqual([]);
  const state = JSON.parse(succeeded(await stage.pulumi("stack", "export"))) as Exported;
  expect(state.deployment.resources ?? []).toEqual([]);

  const names = async (...args: string[]) => (await k("get", ...args, "--output=name")).split("\n").filter(Boolean);
  await waitFor("what was made in Kubernetes to go", 60, async () =>
    (await names("namespaces")).some((name) => /event-flow|dapr/.test(name)) ? undefined : true,
  );
  expect((await names("crds")).filter((name) => name.includes("dapr"))).toEqual([]);
  expect(await names("persistentvolumes")).toEqual([]);
  expect((await names("clusterroles,clusterrolebindings,mutatingwebhookconfigurations")).join()).not.toMatch(/dapr/);
  expect(readdirSync(join(stage.cloud.directory, "databases"))).toEqual([]);
});

interface Exported {
  readonly deployment: {
    /** Left out when there are none. */
    readonly resources?: {
      readonly urn: string;
      readonly type: string;
      readonly id?: string;
      readonly outputs?: Readonly<Record<string, unknown>>;
    }[];
  };
}

/** Whether a value is in a text, as it is or in base64. */
function found(value: string, content: string): boolean {
  const encoded = Buffer.from(value).toString("base64").replace(/=+$/, "");
  // The last characters of base64 depend on what follows.
  return content.includes(value) || content.includes(encoded.slice(0, -2));
}

/** Everything in the cluster that may hold no secret value, by its kind. */
async function kubernetesObjects(): Promise<Record<string, string>> {
  const kinds = [
    ...["pods", "deployments", "replicasets", "statefulsets", "jobs", "services", "configmaps", "events", "namespaces"],
    ...["components.dapr.io", "configurations.dapr.io", "customresourcedefinitions", "persistentvolumeclaims"],
  ];
  const entries = kinds.map(
    async (kind) => [`Kubernetes' ${kind}`, await k("get", kind, "--all-namespaces", "--output=json")] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** Every log below a folder. */
function logs(dir: string): Record<string, string> {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".log") && statSync(join(dir, name)).isFile(),
  );
  return Object.fromEntries(files.map((name) => [name, readFileSync(join(dir, name), "utf8")]));
}

/** The HTTP status of a call to the API server with a token. */
async function statusWith(token: string): Promise<number | undefined> {
  const ca = readFileSync(join(cluster.pki, "ca.crt"));
  const request = get(`${cluster.apiServer}/api/v1/namespaces`, { ca, headers: { authorization: `Bearer ${token}` } });
  const [response] = (await once(request, "response")) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}
