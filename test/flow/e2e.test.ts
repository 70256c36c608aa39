import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import {
  components,
  daprTokenSecrets,
  deadLetterTopic,
  eventTypes,
  metrics,
  nextTaskPath,
  secrets,
  type ServiceIdentity,
  services,
  subscribers,
  topic,
} from "@event-flow/events";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { ownWorkspace, type Workspace } from "../../commands/workspace.ts";
import { repositoryRoot } from "../../components/content-tag.ts";
import { dashboardQueries } from "../../components/dashboard.ts";
import { lagExporter } from "../../components/lag-exporter.ts";
import { jobs } from "../../components/scraping.ts";
import { startLoad } from "../chaos/load.ts";
import { readLoadLog, requestsOf } from "../chaos/load-log.ts";
import { verify } from "../chaos/verify.ts";
import { destroy, down, loadPrometheus, up } from "../cluster/cluster.ts";
import { layout } from "../cluster/layout.ts";
import { ControlGroup } from "../cluster/processes.ts";
import { mailsAt } from "../servers/maildev.ts";
import { alertName, findNothing } from "../servers/prometheus.ts";
import { say, seconds, waitFor } from "../tools/progress.ts";
import { capture } from "../tools/run.ts";
import { apply, type Client, connect, eventLog, forward, jwtSecretOf, kubectl, tokenHeader } from "./access.ts";
import { freedomsOf, runningContainers } from "./confinement.ts";
import { clusterEvidence } from "./evidence.ts";
import { commonWays, together, tryEveryWay, ways } from "./network.ts";
import { type ClusterPrometheus, startHurriedPrometheus, startPrometheus } from "./prometheus.ts";

/** What the tests of one stack have in common: they run in the order in which they stand, on one cluster. */
const cluster = layout("test");
let workspace: Workspace;
let machineBefore: string[];
let objectsBefore: string[];
/** What watches the stack: by the configuration that it emits, and by the same with its times shortened. */
let prometheus: ClusterPrometheus;
let hurriedPrometheus: ClusterPrometheus;

const figures: { what: string; target: string; measured: string }[] = [];

async function timed(what: string, target: string, action: () => Promise<unknown>): Promise<void> {
  const begun = performance.now();
  await action();
  figures.push({ what, target, measured: seconds(performance.now() - begun) });
}

interface Result {
  readonly exitCode: number | undefined;
  readonly output: string;
}

/** The literal command, in the repository's root. */
async function pulumi(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Result> {
  const { exitCode, all } = await execa(workspace.pulumi, [...args, "--color=never"], {
    cwd: repositoryRoot,
    env: { ...workspace.env, ...env },
    extendEnv: false,
    all: true,
    reject: false,
    stdin: "ignore",
  });
  return { exitCode, output: all };
}

/** What `up` makes on the machine, and `down` must take away. */
async function machine(): Promise<string[]> {
  const isOurs = (line: string) =>
    line.includes(cluster.dir) || line.includes(cluster.id) || line.includes(cluster.hostInterface);
  const commandLines = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    });
  const lines = [
    readFileSync("/proc/self/mountinfo", "utf8").split("\n"),
    (await capture("ip", ["-oneline", "link"])).split("\n"),
    (await capture("ip", ["route"])).split("\n"),
    (await capture("ip", ["netns"])).split("\n"),
    commandLines,
  ].flat();
  return [
    ...lines.filter(isOurs),
    ...new ControlGroup(cluster.id).processes().map((pid) => `process ${pid}`),
    ...notes("/var/log/containers", readlinkSync),
    ...notes("/var/lib/cni/results", (file) => readFileSync(file, "utf8")),
  ];
}

/** The files of a folder, shared by all clusters of a machine, that tell of this one. */
function notes(dir: string, content: (file: string) => string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .map((name) => join(dir, name))
    .filter((file) => {
      try {
        return content(file).includes(cluster.dir);
      } catch {
        return false; // Another cluster's, gone meanwhile.
      }
    });
}

/** Every object in the cluster but those that come and go by themselves. */
async function objects(): Promise<string[]> {
  const kinds = (await kubectl(workspace, "api-resources", "--verbs=list,delete", "--output=name"))
    .split("\n")
    .filter((kind) => !/^(events|leases|endpoints|endpointslices|pods|replicasets|controllerrevisions)\b/.test(kind));
  const listed = await kubectl(
    workspace,
    ...["get", kinds.join(","), "--all-namespaces", "--ignore-not-found"],
    "--output=jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{'\\n'}{end}",
  );
  return listed.split("\n").filter(Boolean).sort();
}

interface Task {
  readonly id: number;
  readonly [field: string]: unknown;
}

interface Notification {
  readonly event_id: string;
  readonly type: string;
  readonly task_id: number;
  readonly message: string;
}

async function notifications(client: Client): Promise<Notification[]> {
  const { status, body } = await client.call("notificationService", { path: "/notifications" });
  expect(status).toBe(200);
  return body as Notification[];
}

async function notificationsOf(client: Client, count: number): Promise<Notification[]> {
  return waitFor(`${count} notifications`, 90, async () => {
    const found = await notifications(client);
    return found.length >= count ? found : undefined;
  });
}

function inKafka(script: string, ...args: string[]): Promise<string> {
  return kubectl(workspace, "exec", "kafka-0", "--", `/opt/kafka/bin/${script}`, ...args);
}

/** What a script prints that runs in a service's container. */
function inService(name: string, script: string): Promise<string> {
  return kubectl(workspace, "exec", `deployment/${name}`, `--container=${name}`, "--", "node", "--eval", script);
}

/** How many messages each topic has, over all its partitions. */
async function messageCounts(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const offsets = await inKafka("kafka-get-offsets.sh", "--bootstrap-server=localhost:9092", "--topic=task-events.*");
  for (const line of offsets.split("\n").filter(Boolean)) {
    const [name = "", , offset] = line.split(":");
    counts[name] = (counts[name] ?? 0) + Number(offset);
  }
  return counts;
}

/** Alerts by their names, each once. */
const names = (alerts: readonly Record<string, string>[]) => [...new Set(alerts.map(alertName))].sort();

beforeAll(async () => {
  await destroy("test");
  machineBefore = await machine();
});

afterAll(async () => {
  const width = Math.max(...figures.map(({ what }) => what.length));
  say("\nMeasured on this machine:");
  for (const { what, target, measured } of figures)
    say(`  ${what.padEnd(width)}  ${measured.padStart(9)}  (to reach: ${target})`);
  await destroy("test");
});

describe("a cluster of one's own", () => {
  test("comes up from nothing", async () => {
    await timed("cluster up", "under 60 s", () => up("test"));
    workspace = await ownWorkspace(cluster);
    const nodes = await kubectl(
      workspace,
      "get",
      "nodes",
      "--output=jsonpath={.items[*].status.nodeInfo.kubeletVersion}",
    );
    expect(nodes).toBe("v1.34.4");
    objectsBefore = await objects();
  });

  test.each([
    { what: "its API server and what that stores in", programs: ["server", "kube-apiserver"] },
    // Until then nothing gets to a pod, the cluster's DNS included.
    { what: "what enforces policies", programs: ["kube-network-policies"] },
  ])("is mended when parts of it have died: $what", async ({ programs }) => {
    const group = new ControlGroup(cluster.id);
    const running = () =>
      group.processes("system").filter((pid) => {
        const [program = ""] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return programs.includes(basename(program));
      });
    const victims = running();
    expect(victims).toHaveLength(programs.length);
    for (const pid of victims) process.kill(pid, "SIGKILL");
    await up("test");
    expect(running()).toHaveLength(programs.length);
    expect(await objects()).toEqual(objectsBefore);
  });
});

describe("a config that is wrong", () => {
  async function upWith(change: Record<string, unknown>): Promise<Result> {
    const file = workspace.env["PULUMI_OPTION_CONFIG_FILE"] ?? "";
    const config = parse(readFileSync(file, "utf8")) as { config: Record<string, unknown> };
    const dir = mkdtempSync(join(tmpdir(), "event-flow-config-"));
    try {
      const changed = join(dir, "Pulumi.dev.yaml");
      writeFileSync(changed, stringify({ ...config, config: { ...config.config, ...change } }));
      return await pulumi(["up", "--stack", "dev", "--yes", "--skip-preview"], { PULUMI_OPTION_CONFIG_FILE: changed });
    } finally {
      rmSync(dir, { recursive: true });
    }
  }

  test.each([
    ["an unknown key", { "event-flow:brokr": "kafka" }, "Did you mean event-flow:broker?"],
    ["an unknown value", { "event-flow:broker": "rabbit" }, 'event-flow:broker is "rabbit"; allowed: redpanda, kafka.'],
    ["an unknown context", { "event-flow:kubeContext": "do-fra1-prod" }, `It has: ${cluster.id}.`],
  ])("is refused before anything is made: %s", async (_, change, message) => {
    const { exitCode, output } = await upWith(change);
    expect(output).toContain(message);
    expect(output).toMatch(/pulumi config (set|rm) event-flow:\w+/);
    expect(exitCode).not.toBe(0);
    expect(await objects()).toEqual(objectsBefore);
  });

  test("is refused before anything is made: a production cluster", async () => {
    const dir = mkdtempSync(join(tmpdir(), "event-flow-kubeconfig-"));
    try {
      const kubeconfig = join(dir, "config");
      const own = readFileSync(cluster.kubeconfig, "utf8");
      writeFileSync(kubeconfig, own.replace(cluster.apiServer, "https://a1b2c3d4.k8s.ondigitalocean.com"));
      const { exitCode, output } = await upWith({ "event-flow:kubeconfig": kubeconfig });
      expect(output).toContain("https://a1b2c3d4.k8s.ondigitalocean.com is not on this machine or a private network");
      expect(exitCode).not.toBe(0);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe("stack dev", () => {
  test("is previewed and deployed", async () => {
    expect(await pulumi(["preview", "--stack", "dev"])).toMatchObject({ exitCode: 0 });
    await timed("pulumi up of the whole stack dev", "under 120 s", async () => {
      const { exitCode, output } = await pulumi(["up", "--stack", "dev", "--yes", "--skip-preview"]);
      expect(exitCode, output).toBe(0);
    });
  });

  test("confines every container, sidecars included, as the kernel says", async () => {
    const containers = await runningContainers(workspace, cluster.id);
    const sidecars = Object.values(services).map(({ name }) => `${name} daprd`);
    const others = ["kafka", "lag-exporter", "maildev", "postgres", "redis"].map((name) => `${name} ${name}`);
    const apps = Object.values(services).map(({ name }) => `${name} ${name}`);
    const found = containers.map(({ pod, container }) => `${pod.replace(/-(\d+|[^-]+-[^-]{5})$/, "")} ${container}`);
    expect(found.sort()).toEqual([...apps, ...sidecars, ...others].sort());
    for (const { pod, container, processes } of containers) {
      expect(processes, `processes of ${container} in ${pod}`).not.toEqual([]);
      for (const pid of processes) expect(freedomsOf(pid), `${container} in ${pod}`).toEqual([]);
    }
  });

  test("lets nothing write to a root file system", async () => {
    for (const pod of ["kafka-0", "postgres-0", "redis-0", "maildev-0"]) {
      await expect(kubectl(workspace, "exec", pod, "--", "touch", "/x"), pod).rejects.toThrow("Read-only file system");
    }
    for (const { name } of Object.values(services)) {
      await expect(inService(name, `fs.writeFileSync("/app/x", "")`), name).rejects.toThrow("EROFS");
    }
  });

  test.each([
    ["is privileged", { containers: [{ name: "x", image: "x", securityContext: { privileged: true } }] }],
    ["mounts a folder of the node", { volumes: [{ name: "node", hostPath: { path: "/" } }] }],
    ["shares the node's network", { hostNetwork: true }],
    ["may be root", {}],
  ])("has its namespace refuse a pod that %s", async (_, spec) => {
    const overrides = JSON.stringify({ apiVersion: "v1", spec });
    const run = kubectl(workspace, "run", "intruder", "--image=x", "--dry-run=server", `--overrides=${overrides}`);
    await expect(run).rejects.toThrow('violates PodSecurity "restricted:v1.34"');
  });

  test("lets a Prometheus of the cluster take its configuration", async () => {
    const image = await loadPrometheus(cluster);
    [prometheus, hurriedPrometheus] = await Promise.all([
      startPrometheus(workspace, image),
      startHurriedPrometheus(workspace, image),
    ]);
  });

  test("gives each annotated pod a sidecar that is ready", async () => {
    const pods = JSON.parse(await kubectl(workspace, "get", "pods", "--output=json")) as {
      items: {
        metadata: { name: string; annotations?: Record<string, string> };
        status: { containerStatuses: { name: string; ready: boolean }[] };
      }[];
    };
    const annotated = pods.items.filter(({ metadata }) => metadata.annotations?.["dapr.io/enabled"] === "true");
    expect(annotated.map(({ metadata }) => metadata.annotations?.["dapr.io/app-id"]).sort()).toEqual(
      Object.values(services)
        .map(({ appId }) => appId)
        .sort(),
    );
    for (const { status } of annotated) {
      expect(status.containerStatuses.filter(({ ready }) => ready)).toHaveLength(2);
      expect(status.containerStatuses.map(({ name }) => name)).toContain("daprd");
    }
  });

  test("lets connections take the ways that the flow needs, and no others", async () => {
    const expected = ways(
      together(commonWays, {
        [services.backend.name]: ["kafka:9092", "postgres:5432"],
        [services.notificationService.name]: ["kafka:9092", "redis:6379", "maildev:1025", "internet:443"],
        [services.recurringTaskService.name]: ["kafka:9092", "redis:6379", `${services.backend.name}:50002`],
        [services.analyticsService.name]: ["kafka:9092", "redis:6379", "postgres:5432"],
        [lagExporter.name]: ["kafka:9092"],
        ...Object.fromEntries(["kafka", "postgres", "redis", "maildev"].map((server) => [server, ["dns:53"]])),
      }),
    );
    const { found, dead, tried } = await tryEveryWay(cluster, workspace, { expected });
    expect(dead).toEqual([]);
    expect(found).toEqual(expected);
    expect(tried).toBeGreaterThan(10 * found.length);
  });

  test.each([
    { ...services.backend, expected: [components.pubsub], deadLetters: [] },
    ...subscribers.map((subscriber) => ({
      ...subscriber,
      expected: [
        ...(subscriber === services.notificationService ? [components.email] : []),
        ...[components.pubsub, components.stateStore],
      ],
      deadLetters: [deadLetterTopic(subscriber)],
    })),
  ])("loads the Components of $appId, as its sidecar says", async ({ expected, deadLetters, ...service }) => {
    const { name, appId } = service;
    const sidecar = await forward(workspace, `deployment/${name}`, 3500);
    try {
      expect((await fetch(`${sidecar.url}/v1.0/metadata`)).status).toBe(401);
      const response = await fetch(`${sidecar.url}/v1.0/metadata`, {
        headers: await tokenHeader(workspace, service),
      });
      const metadata = (await response.json()) as {
        id: string;
        runtimeVersion: string;
        components: { name: string; type: string }[];
        subscriptions?: { topic: string }[];
      };
      expect(metadata.id).toBe(appId);
      expect(metadata.runtimeVersion).toBe("1.18.0");
      expect(metadata.components.map((component) => component.name).sort()).toEqual(expected);
      const topics = (metadata.subscriptions ?? []).map((subscription) => subscription.topic);
      expect(topics.filter((topic) => !topic.includes(".task_"))).toEqual(deadLetters);
      expect(topics.length > deadLetters.length).toBe(deadLetters.length > 0);
    } finally {
      sidecar.close();
    }
  });

  test("lets one service call another by mTLS only, and only to have next tasks made", async () => {
    const { backend, recurringTaskService, notificationService } = services;
    const invoke = async (service: ServiceIdentity, path: string) => {
      const sidecar = await forward(workspace, `deployment/${service.name}`, 3500);
      try {
        const headers = await tokenHeader(workspace, service);
        const response = await fetch(`${sidecar.url}/v1.0/invoke/${backend.appId}/method${path}`, { headers });
        return `${response.status} ${await response.text()}`;
      } finally {
        sidecar.close();
      }
    };
    // It gets there, where NEXT_TASK_TOKEN isn't shown.
    expect(await invoke(recurringTaskService, nextTaskPath(randomUUID(), 1))).toMatch(/^401 .*by NEXT_TASK_TOKEN/);
    expect(await invoke(recurringTaskService, `/api/${randomUUID()}/tasks`)).toMatch(
      /^403 .*access control policy has denied access/,
    );
    // Others can't even ask.
    expect(await invoke(notificationService, nextTaskPath(randomUUID(), 1))).toMatch(/^404 /);
    for (const { name } of Object.values(services)) {
      const selector = `--selector=app=${name}`;
      const sidecar = `--output=jsonpath={.items[*].spec.containers[?(@.name=="daprd")].args}`;
      expect(await kubectl(workspace, "get", "pods", selector, sidecar)).toContain("--enable-mtls");
    }
  });

  test.each(Object.values(services))("does nothing of a sidecar's for who isn't that of $name", async (service) => {
    const app = await forward(workspace, `deployment/${service.name}`, service.port);
    try {
      const subscribe = (headers: Record<string, string> = {}) =>
        fetch(`${app.url}/dapr/subscribe`, { headers }).then(({ status }) => status);
      expect(await subscribe()).toBe(401);
      expect(await subscribe(await tokenHeader(workspace, service, "api"))).toBe(401);
      const isSubscriber = subscribers.some(({ name }) => name === service.name);
      expect(await subscribe(await tokenHeader(workspace, service, "app"))).toBe(isSubscriber ? 200 : 404);
    } finally {
      app.close();
    }
  });

  test("follows a recurring task by its next one, which one service has another make", async () => {
    const client = await connect(workspace, randomUUID());
    try {
      const created = await client.call("backend", {
        method: "POST",
        path: "/tasks",
        body: {
          title: "Water the plants",
          due_date: "2032-10-30T09:00:00+02:00",
          recurrence: { rule: "FREQ=DAILY;COUNT=2", time_zone: "Europe/Berlin" },
        },
      });
      const { id } = created.body as Task;
      await client.call("backend", { method: "PATCH", path: `/tasks/${id}/complete`, body: {} });
      const due = await waitFor("the next task", 60, async () => {
        const { body } = await client.call("backend", { path: "/tasks?completed=false" });
        return (body as { items: { due_date: string }[] }).items[0]?.due_date;
      });
      // Clocks have changed in between.
      expect(due).toBe("2032-10-31T08:00:00.000Z");
    } finally {
      client.close();
    }
  });

  test("carries all four events, with the right data, to the notification service", async () => {
    const client = await connect(workspace, randomUUID());
    try {
      const created = await client.call("backend", {
        method: "POST",
        path: "/tasks",
        body: { title: "Water the plants", priority_id: 2, due_date: "2030-01-02T03:04:05+01:00" },
      });
      expect(created.status).toBe(201);
      const task = created.body as Task;
      const path = `/tasks/${task.id}`;
      const updated = await client.call("backend", { method: "PUT", path, body: { title: "Water all the plants" } });
      expect(updated.status).toBe(200);
      const completed = await client.call("backend", { method: "PATCH", path: `${path}/complete`, body: {} });
      expect(completed.status).toBe(200);
      expect((await client.call("backend", { path })).body).toMatchObject({
        completed: true,
        title: "Water all the plants",
      });
      expect((await client.call("backend", { method: "DELETE", path })).status).toBe(204);
      expect((await client.call("backend", { path })).status).toBe(404);

      const told = await notificationsOf(client, 4);
      expect(told.map(({ type, task_id, message }) => ({ type, task_id, message }))).toEqual([
        { type: "task_deleted", task_id: task.id, message: `TASK DELETED: ID ${task.id}` },
        { type: "task_completed", task_id: task.id, message: `TASK COMPLETED: ID ${task.id}` },
        { type: "task_updated", task_id: task.id, message: `TASK UPDATED: ID ${task.id}` },
        { type: "task_created", task_id: task.id, message: `NEW TASK: Water the plants (User: ${client.userId})` },
      ]);

      const life = { created: 1, completed: 1, reopened: 0, deleted: 1, open: 0, overdue: 0 };
      await waitFor("the figures of it", 60, async () => {
        const { status, body } = await client.call("analyticsService", { path: "/stats" });
        expect(status).toBe(200);
        const stats = body as Record<string, unknown>;
        return Object.entries(life).every(([figure, value]) => stats[figure] === value) ? true : undefined;
      });

      const published = await eventLog(workspace, services.backend, client.userId);
      const handled = await eventLog(workspace, services.notificationService, client.userId);
      const ids = told.map(({ event_id }) => event_id).sort();
      expect(published.map(({ eventId }) => eventId).sort()).toEqual(ids);
      expect(handled.map(({ eventId }) => eventId).sort()).toEqual(ids);

      const data = await Promise.all(
        eventTypes.map(async (type) => {
          const messages = await inKafka(
            "kafka-console-consumer.sh",
            ...["--bootstrap-server=localhost:9092", `--topic=${topic(type)}`, "--from-beginning", "--timeout-ms=5000"],
          );
          const own = messages.split("\n").filter((message) => message.includes(client.userId));
          expect(own).toHaveLength(1);
          return (JSON.parse(own[0] ?? "") as { data: unknown }).data;
        }),
      );
      const whose = { task_id: task.id, user_id: client.userId };
      const after = (answer: { body: unknown }) => (answer.body as Task)["updated_at"];
      expect(data).toMatchObject([
        {
          ...whose,
          title: "Water the plants",
          priority_id: 2,
          due_date: "2030-01-02T02:04:05.000Z",
          created_at: task["created_at"],
        },
        { ...whose, title: "Water all the plants", completed: false, priority_id: null, updated_at: after(updated) },
        { ...whose, completed: true, completed_at: after(completed) },
        { ...whose, deleted_at: expect.stringMatching(/^\d{4}-/) as string },
      ]);
    } finally {
      client.close();
    }
  });

  test("mails what a user is told, to be seen on MailDev's page", async () => {
    const client = await connect(workspace, randomUUID());
    const { url, close } = await forward(workspace, "pod/maildev-0", 1080);
    try {
      const email = `${client.userId}@example.com`;
      const preferred = await client.call("notificationService", {
        method: "PUT",
        path: "/notifications/preferences",
        body: { email, channels: ["email"] },
      });
      expect(preferred.status).toBe(200);
      await client.call("backend", { method: "POST", path: "/tasks", body: { title: "Water the plants" } });
      const mails = await waitFor("the mail", 60, async () => {
        const all = await mailsAt(url, email);
        return all.length > 0 ? all : undefined;
      });
      expect(mails.map(({ subject }) => subject)).toEqual([`NEW TASK: Water the plants (User: ${client.userId})`]);
    } finally {
      close();
      client.close();
    }
  });

  describe("watched by Prometheus", () => {
    const each = (name: string) => [`${jobs.apps} ${name} up`, `${jobs.sidecars} ${name} up`];
    const all = [...Object.values(services).flatMap(({ name }) => each(name)), `${jobs.broker} lag-exporter up`].sort();

    test("shows all of itself, by the configuration that it emits, and every figure of the dashboard", async () => {
      const targets = async () =>
        (await prometheus.targets())
          .map(({ labels: { job, service }, health, lastError }) => `${job} ${service} ${health}${lastError}`)
          .sort();
      await waitFor("all targets to be scraped", 60, async () => {
        expect(await targets()).toEqual(all);
        return true;
      });
      // As long as Grafana makes a rate's window, of four scrapes.
      await waitFor("all figures", 60, async () => {
        expect(await findNothing(prometheus, dashboardQueries, "1m")).toEqual([]);
        return true;
      });
      await waitFor("how far each subscriber is behind", 60, async () => {
        const lag = await prometheus.query(`sum by (consumergroup) (${metrics.consumerLag})`);
        const groups = lag.map(({ metric }) => metric["consumergroup"]).sort();
        expect(groups).toEqual(subscribers.map(({ appId }) => appId).sort());
        return true;
      });
      await waitFor("no alert to fire", 60, async () => {
        expect(names([...(await prometheus.firing()), ...(await hurriedPrometheus.firing())])).toEqual([]);
        return true;
      });
    });

    test.each([
      {
        what: "a service",
        workload: `deployment/${services.notificationService.name}`,
        app: services.notificationService.name,
        right: `EventFlowAppDown ${services.notificationService.name}`,
      },
      { what: "the broker", workload: "statefulset/kafka", app: "kafka", right: "EventFlowBrokerUnreachable" },
    ])("the death of $what makes the right alert fire, and no other", async ({ workload, app, right }) => {
      const begun = Date.now();
      const scale = (replicas: number) => kubectl(workspace, "scale", workload, `--replicas=${replicas}`);
      await scale(0);
      const atOnce = ["--force", "--grace-period=0", "--ignore-not-found"];
      await kubectl(workspace, "delete", "pod", `--selector=app=${app}`, ...atOnce);
      await waitFor("the alert, and the beginning of its two minutes where nothing is shortened", 60, async () => {
        expect(names(await prometheus.raisedSince(begun))).toEqual([right]);
        expect(names(await hurriedPrometheus.firedSince(begun))).toEqual([right]);
        return true;
      });
      await scale(1);
      await kubectl(workspace, "rollout", "status", workload, "--timeout=120s");
      await waitFor("nothing of that to be wrong any more", 90, async () => {
        expect(names(await prometheus.raisedSince(begun))).toEqual([]);
        expect(names(await hurriedPrometheus.raisedSince(begun))).toEqual([]);
        return true;
      });
      expect(names(await hurriedPrometheus.firedSince(begun))).toEqual([right]);
    });

    afterAll(() => Promise.all([prometheus.stop(), hurriedPrometheus.stop()]));
  });

  test.each(Object.values(services))("runs $name by what its image has kept of compiling it", async ({ name }) => {
    // By Node itself, as its image has no shell.
    const loading = await inService(
      name,
      `const { spawnSync } = require("node:child_process");
       const env = { ...process.env, NODE_DEBUG_NATIVE: "COMPILE_CACHE" };
       spawnSync(process.execPath, ["src/server.ts", "--load-only"], { env, stdio: ["ignore", 1, 1] });`,
    );
    expect(loading).toMatch(/transpile cache for StrippedTypeScript \S+\/src\/server\.ts\.\.\.success/);
    expect(loading).not.toContain("no transpile cache");
  });

  test("publishes nothing for a request that it refuses", async () => {
    const client = await connect(workspace, randomUUID());
    try {
      const body = { title: "Not mine" };
      const before = await messageCounts();
      const answers = [
        await client.call("backend", { method: "POST", path: "/tasks", body, withToken: false }),
        await client.call("backend", { method: "POST", path: "/tasks", body, owner: randomUUID() }),
        await client.call("backend", { method: "POST", path: "/tasks", body: { title: "" } }),
        await client.call("backend", { method: "POST", path: "/tasks", body: { title: "x", colour: "red" } }),
        await client.call("backend", { method: "DELETE", path: "/tasks/1", owner: randomUUID() }),
        await client.call("notificationService", { path: "/notifications", owner: randomUUID() }),
      ];
      expect(answers.map(({ status }) => status)).toEqual([401, 403, 400, 400, 403, 403]);
      // One that it takes shows that the count counts, and that nothing was still on its way before it.
      expect((await client.call("backend", { method: "POST", path: "/tasks", body })).status).toBe(201);
      await notificationsOf(client, 1);
      const created = topic("task_created");
      expect(await messageCounts()).toEqual({ ...before, [created]: (before[created] ?? 0) + 1 });
    } finally {
      client.close();
    }
  });

  test("keeps every change and its event while pods and the broker are deleted under load", async () => {
    const address = async ({ name }: ServiceIdentity) =>
      `http://${await kubectl(workspace, "get", "service", name, "--output=jsonpath={.spec.clusterIP}")}`;
    const dir = mkdtempSync(join(tmpdir(), "event-flow-chaos-"));
    const log = join(dir, "load.log");
    const backend = await address(services.backend);
    const jwtSecret = await jwtSecretOf(workspace);
    // The load comes from this machine, and nobody is let in from there: whoever puts it on is, for as long as it takes.
    const apps = [services.backend.name, services.notificationService.name];
    await apply(workspace, [
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "load" },
        spec: {
          podSelector: { matchExpressions: [{ key: "app", operator: "In", values: apps }] },
          policyTypes: ["Ingress"],
          ingress: [{ from: [{ ipBlock: { cidr: `${cluster.hostAddress}/32` } }] }],
        },
      },
    ]);
    // So many users that each is told no more than is kept.
    const load = startLoad({ log, backends: [backend, backend], seed: 1, rate: 20, users: 48, jwtSecret });
    const force = ["--force", "--grace-period=0"];
    for (const options of [[], force]) {
      for (const pod of ["--selector=app=backend", "--selector=app=notification-service", "kafka-0"]) {
        await new Promise((resolve) => setTimeout(resolve, 3_000));
        await kubectl(workspace, "delete", "pod", pod, ...options);
        for (const workload of ["deployment/backend", "deployment/notification-service", "statefulset/kafka"]) {
          await kubectl(workspace, "rollout", "status", workload, "--timeout=120s");
        }
      }
    }
    await load.stop();
    const requests = requestsOf(readLoadLog(log));
    const notifications = await address(services.notificationService);
    const evidence = await waitFor("every change to be told", 120, async () => {
      const found = await clusterEvidence(workspace, { requests, notifications });
      return verify(found).some(({ kind }) => kind === "lost" || kind === "not published") ? undefined : found;
    });
    expect(verify(evidence)).toEqual([]);
    const acknowledged = requests.filter(({ acknowledgedAt }) => acknowledgedAt !== undefined);
    expect(acknowledged.length).toBeGreaterThan(500);
    await kubectl(workspace, "delete", "networkpolicy", "load");
    rmSync(dir, { recursive: true });
  });

  test("is not changed by another `up`", async () => {
    await timed("pulumi up without changes", "under 10 s", async () => {
      const { exitCode, output } = await pulumi([
        "up",
        "--stack",
        "dev",
        "--yes",
        "--skip-preview",
        "--expect-no-changes",
      ]);
      expect(exitCode, output).toBe(0);
    });
  });

  test("tells no secret: not in its outputs, its state or its logs", async () => {
    const values: string[] = [];
    for (const name of [
      secrets.todo.name,
      secrets.analytics.name,
      secrets.nextTask.name,
      secrets.redis.name,
      ...Object.values(services).flatMap((service) => Object.values(daprTokenSecrets(service))),
    ]) {
      const data = await kubectl(workspace, "get", "secret", name, "--output=jsonpath={.data}");
      for (const [key, encoded] of Object.entries(JSON.parse(data) as Record<string, string>)) {
        // Where the state store is, is no secret.
        if (key !== secrets.redis.keys.host) values.push(Buffer.from(encoded, "base64").toString(), encoded);
      }
    }
    expect(values.every((value) => value.length > 20)).toBe(true);
    const outputs = await pulumi(["stack", "output", "--stack", "dev", "--json"]);
    expect(Object.keys(JSON.parse(outputs.output) as object)).toContain("reachBackend");
    const state = await pulumi(["stack", "export", "--stack", "dev"]);
    const logs = await Promise.all(
      Object.values(services).map(({ name }) =>
        kubectl(workspace, "logs", `--selector=app=${name}`, "--all-containers", "--tail=-1"),
      ),
    );
    const searched = [outputs.output, state.output, ...logs];
    expect(searched.every((text) => text.length > 100)).toBe(true);
    expect(values.filter((value) => searched.some((text) => text.includes(value)))).toEqual([]);
  });

  test("is there again after its cluster was stopped", async () => {
    const before = await connect(workspace, randomUUID());
    const { body } = await before.call("backend", { method: "POST", path: "/tasks", body: { title: "Still here" } });
    before.close();
    figures.push({
      what: "memory of the cluster with the stack",
      target: "under 6 GiB",
      measured: `${(new ControlGroup(cluster.id).memoryInUse() / 2 ** 30).toFixed(2)} GiB`,
    });
    await down("test");
    expect(await machine()).toEqual(machineBefore);
    await timed("a stopped cluster up", "seconds", () => up("test"));
    const found = await waitFor("the task to be read", 120, async () => {
      // A new connection each time: a port that leads to a pod's last life stays dead.
      const after = await connect(workspace, before.userId);
      try {
        const answer = await after.call("backend", { path: `/tasks/${(body as Task).id}` });
        return answer.status === 200 ? answer.body : undefined;
      } finally {
        after.close();
      }
    });
    expect(found).toMatchObject({ title: "Still here" });
  });

  test("leaves nothing in the cluster when it is destroyed", async () => {
    const { exitCode, output } = await pulumi(["destroy", "--stack", "dev", "--yes", "--skip-preview"]);
    expect(exitCode, output).toBe(0);
    await waitFor("the cluster to be as it was", 60, async () => {
      const left = (await objects()).filter((object) => !objectsBefore.includes(object));
      if (left.length > 0) throw new Error(`still there: ${left.join(", ")}`);
      return true;
    });
    expect(
      (
        JSON.parse((await pulumi(["stack", "export", "--stack", "dev"])).output) as {
          deployment: { resources?: unknown[] };
        }
      ).deployment.resources ?? [],
    ).toEqual([]);
  });
});

test("a stopped cluster leaves nothing on the machine", async () => {
  expect((await machine()).length).toBeGreaterThan(machineBefore.length);
  await down("test");
  expect(await machine()).toEqual(machineBefore);
});
