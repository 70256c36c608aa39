import { components, deadLetterTopic, secrets, services, subscribers, topic } from "@event-flow/events";
import { beforeEach, describe, expect, test } from "vitest";
import { type Check, examine } from "../../commands/doctor/check.ts";
import { endOfToken } from "../../commands/doctor/checks/certificates.ts";
import { checks } from "../../commands/doctor/checks/index.ts";
import { render, type Report, reportSchema, type Result, worst } from "../../commands/doctor/report.ts";
import { contains } from "../../commands/doctor/stack.ts";
import { certificate, Patient } from "./support/patient.ts";

let patient: Patient;

beforeEach(async () => {
  patient = await Patient.make();
});

const { backend } = services;
const [subscriber] = subscribers as [(typeof subscribers)[number]];
const { name: reader } = subscriber;

async function look(): Promise<Result[]> {
  return examine(patient, checks, 1_000);
}

/** The findings, each with the check that found it. */
async function findings(): Promise<(readonly [string, string])[]> {
  return (await look()).flatMap(({ check, findings: found }) => found.map(({ what }) => [check, what] as const));
}

/** The only finding there is. */
async function finding(): Promise<readonly [string, string, string]> {
  const found = (await look()).flatMap(({ check, findings: of }) =>
    of.map(({ what, mend }) => [check, what, mend] as const),
  );
  expect(found.map(([check, what]) => `${check}: ${what}`)).toHaveLength(1);
  return found[0] ?? ["", "", ""];
}

test("a sound stack has nothing that is found, and nothing that isn't seen", async () => {
  const results = await look();
  expect(results.filter(({ verdict }) => verdict !== "sound")).toEqual([]);
  expect(results.filter(({ looked_at }) => looked_at.length === 0)).toEqual([]);
});

describe("names what is wrong, by the one check that it is a matter of", () => {
  const rollout = (name: string) =>
    `kubectl --context do-fra1-event-flow-prod --namespace event-flow rollout restart deployment/${name}`;
  const repair = "pulumi up --refresh --stack prod";

  test("an annotation that is missing, or another", async () => {
    const { annotations } = patient.deployment(reader).spec.template.metadata;
    delete annotations["dapr.io/enabled"];
    annotations["dapr.io/app-port"] = "1";
    expect(await finding()).toEqual([
      "injection",
      `Deployment ${reader}: dapr.io/enabled is missing instead of "true", dapr.io/app-port is "1" instead of "${subscriber.port}"`,
      repair,
    ]);
  });

  test("an annotation beyond the contract's", async () => {
    patient.deployment(backend.name).spec.template.metadata.annotations["dapr.io/config"] = "another";
    expect(await finding()).toEqual([
      "injection",
      `Deployment ${backend.name}: dapr.io/config is "another" instead of "backend"`,
      repair,
    ]);
  });

  test("a pod without a sidecar, for which its service waits", async () => {
    const { spec, status } = patient.pod(reader);
    spec.containers = spec.containers.filter(({ name }) => name !== "daprd");
    status.containerStatuses = [{ name: reader, ready: false, state: { running: {} } }];
    expect(await finding()).toEqual([
      "injection",
      `${reader} has 1 pod without a sidecar: begun while nobody injected one`,
      rollout(reader),
    ]);
  });

  test("a Deployment that is gone", async () => {
    patient.deployments.splice(0, 1);
    patient.pods.splice(0, 1);
    expect(await finding()).toEqual(["injection", `There is no Deployment ${backend.name}`, repair]);
  });

  test.each([0, 2])("an injector of which there are %i", async (ready) => {
    const injector = patient.controlPlane[2];
    Object.assign(injector?.status ?? {}, { readyReplicas: ready });
    if (ready === 0) Object.assign(injector?.spec ?? {}, { replicas: 0 });
    const [check, what, mend] = await finding();
    expect(check).toBe("control-plane");
    expect(what).toBe(
      ready === 0 ? "dapr-sidecar-injector is scaled to 0" : "Of dapr-sidecar-injector, 2 of 3 are ready",
    );
    const how =
      ready === 0
        ? "scale deployment/dapr-sidecar-injector --replicas=3"
        : "rollout restart deployment/dapr-sidecar-injector";
    expect(mend).toBe(`kubectl --context do-fra1-event-flow-prod --namespace dapr-system ${how}`);
  });

  test("the injector's webhook", async () => {
    patient.webhooks = [];
    const [check, , mend] = await finding();
    expect(check).toBe("control-plane");
    expect(mend).toMatch(/^helm get manifest dapr .* apply --filename -$/);
  });

  test("a service that is scaled down", async () => {
    patient.deployment(reader).spec.replicas = 0;
    patient.pods.splice(patient.pods.indexOf(patient.pod(reader)), 1);
    expect(await finding()).toEqual([
      "pods",
      `${reader} is scaled to 0; the stack has 1`,
      `kubectl --context do-fra1-event-flow-prod --namespace event-flow scale deployment/${reader} --replicas=1`,
    ]);
  });

  test("a service that crashes", async () => {
    patient.crash(reader, reader, '{"level":60,"msg":"Could not start","err":{"message":"JWT_SECRET is too short"}}');
    expect(await finding()).toEqual([
      "pods",
      `${reader}-1 is not ready: CrashLoopBackOff: Could not start: JWT_SECRET is too short`,
      rollout(reader),
    ]);
  });

  test("a service that says why it isn't ready", async () => {
    patient.status(reader, reader).ready = false;
    patient.answers.set(`${reader}:${subscriber.port}/ready`, {
      status: 503,
      text: '{"detail":"Not ready: stateStore"}',
    });
    const [check, what] = await finding();
    expect([check, what]).toEqual(["pods", `${reader}-1 is not ready: runs, but is not ready: Not ready: stateStore`]);
  });

  test("a NetworkPolicy that is gone, and one that lets more through", async () => {
    patient.policies.shift();
    expect(await finding()).toEqual(["network", "There is no NetworkPolicy deny-all", repair]);
    const [policy] = patient.policies;
    Object.assign(policy?.spec ?? {}, { egress: [{}] });
    expect(await findings()).toContainEqual(["network", "NetworkPolicy to-broker is not as it was made"]);
  });

  test.each([
    [
      "prod",
      "do-fra1",
      "kubectl --context do-fra1-event-flow-prod --namespace kube-system rollout restart daemonset/cilium",
    ],
    ["dev", "minikube", "make down && minikube delete && minikube start --cni=calico && make up"],
    ["dev", "event-flow-dev", "make down && make up"],
  ])("a network that enforces no NetworkPolicies: stack %s in %s", async (stack, context, mend) => {
    Object.assign(patient, { stack, context });
    const { podIP } = patient.pod(reader).status;
    patient.open.add(`${podIP}:${subscriber.port}`);
    expect(await finding()).toEqual([
      "network",
      `No NetworkPolicy keeps lag-exporter from ${reader}-1: the network enforces none`,
      mend,
    ]);
  });

  test("a pod that no node takes", async () => {
    const { status } = patient.pod("kafka");
    status.phase = "Pending";
    status.conditions = [{ type: "PodScheduled", status: "False", message: "0/3 nodes are available" }];
    status.containerStatuses = [];
    const [check, what] = await finding();
    expect([check, what]).toEqual(["pods", "kafka-1 has no node: 0/3 nodes are available"]);
  });

  test("a secret, and a key of one", async () => {
    patient.secrets.splice(
      patient.secrets.findIndex(({ metadata }) => metadata.name === secrets.redis.name),
      1,
    );
    const todo = patient.secrets.find(({ metadata }) => metadata.name === secrets.todo.name);
    delete todo?.data["JWT_SECRET"];
    Object.assign(todo?.data ?? {}, { DATABASE_URL: "" });
    expect(await findings()).toEqual([
      ["secrets", "Secret todo-secrets: it has no JWT_SECRET; empty: DATABASE_URL"],
      ["secrets", "Secret redis-credentials: it is not there"],
    ]);
  });

  test("a pod that waits for a secret", async () => {
    patient.secrets.splice(
      patient.secrets.findIndex(({ metadata }) => metadata.name === secrets.todo.name),
      1,
    );
    Object.assign(patient.status(reader, reader), {
      ready: false,
      state: { waiting: { reason: "CreateContainerConfigError", message: 'secret "todo-secrets" not found' } },
    });
    expect(await finding()).toEqual(["secrets", "Secret todo-secrets: it is not there", repair]);
  });

  test.each([
    [
      "daprd",
      'level=fatal msg="init failed: redis store: error connecting to redis: WRONGPASS invalid username-password pair"',
    ],
    ["daprd", 'level=error msg="kafka: client has run out of brokers: SASL Authentication failed"'],
  ])("a password that isn't taken", async (container, line) => {
    patient.crash(reader, container, `time="2026-01-01" ${line} scope=dapr.runtime`);
    const [check, what] = await finding();
    expect(check).toBe("secrets");
    expect(what).toMatch(new RegExp(`^daprd of ${reader}-1 isn't let in: .*(WRONGPASS|SASL)`));
  });

  test("a password of the database that isn't taken", async () => {
    patient.crash(
      backend.name,
      backend.name,
      '{"level":60,"msg":"","err":{"message":"password authentication failed for user \\"todo\\""}}',
    );
    const [check, what] = await finding();
    expect([check, what]).toEqual([
      "secrets",
      `backend of backend-1 isn't let in: password authentication failed for user "todo"`,
    ]);
  });

  test("a Component that is gone", async () => {
    patient.components.pop();
    expect(await finding()).toEqual(["components", `There is no Component ${components.stateStore}`, repair]);
  });

  test("a Component that is another, for others, with a password written into it", async () => {
    const [pubsub] = patient.components;
    pubsub?.scopes.splice(1);
    pubsub?.spec.metadata.splice(
      0,
      2,
      { name: "brokers", value: "kafak:9092" },
      { name: "saslPassword", value: "hunter2hunter2" },
    );
    const [check, what] = await finding();
    expect(check).toBe("components");
    expect(what).toContain('brokers is "kafak:9092" instead of "kafka:9092"');
    expect(what).toContain(`it is not for ${subscribers.map(({ appId }) => appId).join(", ")}`);
    expect(what).toContain("saslPassword comes from another secret");
    expect(what).not.toContain("hunter2");
  });

  test("a Component that a sidecar has not loaded", async () => {
    patient.loaded[reader] = [components.pubsub];
    expect(await finding()).toEqual([
      "components",
      `The sidecar of ${reader}-1 has not loaded ${components.stateStore}`,
      rollout(reader),
    ]);
  });

  test("a sidecar that can't begin with a Component", async () => {
    const error =
      "Failed to init component kafka-pubsub (pubsub.kafka/v1): kafka: client has run out of available brokers";
    patient.crash(
      reader,
      "daprd",
      `level=error msg="${error}"\nlevel=fatal msg="Fatal error from runtime: process component"`,
    );
    const [check, what] = await finding();
    expect([check, what]).toEqual([
      "components",
      `The sidecar of ${reader}-1 is not ready (CrashLoopBackOff): ${error}`,
    ]);
  });

  test("a sidecar that has yet to say that it can't begin, as a Component is another", async () => {
    patient.components[0]?.spec.metadata.splice(0, 1, { name: "brokers", value: "kafak:9092" });
    Object.assign(patient.status(reader, "daprd"), { ready: false, state: { running: {} } });
    patient.status(reader, reader).ready = false;
    const mends = (await look()).flatMap(({ findings: found }) => found.map(({ mend }) => mend));
    expect(mends).toEqual([repair, repair]);
  });

  test("a subscription that the sidecar doesn't have", async () => {
    patient.registered[reader] = (patient.subscribed[reader] ?? []).slice(1);
    expect(await finding()).toEqual([
      "subscriptions",
      `The sidecar of ${reader}-1 has no subscription to ${topic("task_created")}`,
      rollout(reader),
    ]);
  });

  test("a service that doesn't tell its sidecar what to subscribe to", async () => {
    patient.answers.set(`${reader}:${subscriber.port}/dapr/subscribe`, { status: 401, text: "" });
    patient.registered[reader] = [];
    const [check, what] = await finding();
    expect([check, what]).toEqual([
      "subscriptions",
      `${reader} answers HTTP 401 to GET /dapr/subscribe; its sidecar has 0 subscriptions`,
    ]);
  });

  test("a service that asks for another token than its sidecar shows", async () => {
    patient.answers.set(`${reader}:${subscriber.port}/dapr/subscribe`, { status: 401, text: "" });
    const [container] = patient.deployment(reader).spec.template.spec.containers;
    if (container !== undefined) container.env = (container.env ?? []).filter(({ name }) => name !== "APP_API_TOKEN");
    expect((await finding())[2]).toBe(
      `${patient.kubectl} --namespace event-flow set env deployment/${reader} ` +
        `--from=secret/${reader}-dapr-app-token --prefix=APP_API_`,
    );
  });

  test("a Component that is for others, too", async () => {
    const [pubsub, store] = patient.components;
    store?.scopes.push(backend.appId);
    pubsub?.scopes.splice(0);
    patient.loaded[backend.name] = [components.pubsub, components.stateStore];
    expect(await findings()).toEqual([
      ["components", expect.stringContaining("it is for everybody: it has no scopes")],
      ["components", expect.stringContaining(`it is for ${backend.appId}, too`)],
    ]);
  });

  test("a subscriber without its dead letters", async () => {
    patient.subscribed[reader]?.pop();
    const [check, what] = await finding();
    expect([check, what]).toEqual([
      "subscriptions",
      `${reader}: it doesn't subscribe to its dead letters (${deadLetterTopic(subscriber)})`,
    ]);
  });

  test("an event that nobody subscribes to", async () => {
    for (const topics of Object.values(patient.subscribed)) topics.splice(0, 2);
    expect(await finding()).toEqual([
      "subscriptions",
      `Nobody subscribes to ${topic("task_created")}, ${topic("task_updated")}`,
      repair,
    ]);
  });

  test("a sidecar that can't publish", async () => {
    const text = '{"errorCode":"ERR_PUBSUB_PUBLISH_MESSAGE","message":"circuit breaker is open"}';
    patient.answers.set("backend:3500/v1.0/publish/kafka-pubsub/task-events.probe", { status: 500, text });
    expect(await finding()).toEqual([
      "publishing",
      "The sidecar of backend can't publish: circuit breaker is open",
      rollout("backend"),
    ]);
  });

  test.each([
    "Request was for a topic or partition that does not exist on this broker",
    "The client is not authorized to access this topic",
  ])("no topic for the probe is an answer of the broker: %s", async (words) => {
    const text = JSON.stringify({ message: `kafka server: ${words}` });
    patient.answers.set("backend:3500/v1.0/publish/kafka-pubsub/task-events.probe", { status: 500, text });
    expect(await findings()).toEqual([]);
  });

  test("events that wait in the outbox", async () => {
    patient.outbox = { events: 3, age: 31 };
    expect(await finding()).toEqual([
      "outbox",
      "Events wait to be published, the first of 3 for 31 s",
      rollout("backend"),
    ]);
    patient.outbox = { events: 3, age: 29 };
    expect(await findings()).toEqual([]);
  });

  test("a subscriber that takes nothing of what waits; one that does is sound", async () => {
    patient.lag[subscriber.appId] = 7;
    expect(await finding()).toEqual([
      "consumers",
      `7 events wait for ${reader}, which took none within 8 s`,
      rollout(reader),
    ]);
    patient.taken[subscriber.appId] = 1;
    expect(await findings()).toEqual([]);
  });

  test("dead letters, with where to look at them", async () => {
    const letter = {
      id: "t/0/1",
      topic: "t",
      key: null,
      cause: "no title",
      failed_at: "2026-01-02T03:04:05Z",
      event_id: null,
    };
    patient.letters[reader] = [letter, letter];
    expect(await finding()).toEqual([
      "dead-letters",
      `${reader} gave 2 events up, the last at 2026-01-02T03:04:05Z: no title`,
      `node commands/dead-letters.ts list --service ${reader} --context do-fra1-event-flow-prod --namespace event-flow`,
    ]);
  });

  test.each([
    [13, "expires within 13 days"],
    [-2, "has expired"],
  ])("an issuer's certificate that ends in %i days", async (days, words) => {
    patient.trustBundle["issuer.crt"] = Buffer.from(await certificate(days)).toString("base64");
    const [check, what, mend] = await finding();
    expect(check).toBe("certificates");
    expect(what).toContain(`issuer.crt of Dapr's trust bundle ${words}`);
    expect(mend).toBe("dapr mtls renew-certificate --kubernetes --valid-until 365 --restart");
  });

  test("a kubeconfig that ends soon", async () => {
    const claims = Buffer.from(JSON.stringify({ exp: Date.now() / 1_000 + 3_600 })).toString("base64url");
    patient.user = { certificate: undefined, token: `x.${claims}.y` };
    const [check, what, mend] = await finding();
    expect(check).toBe("certificates");
    expect(what).toContain("the kubeconfig's token expires within 1 days");
    expect(mend).toBe("doctl kubernetes cluster kubeconfig save event-flow-prod");
    patient.user = { certificate: await certificate(3), token: undefined };
    expect((await finding())[1]).toContain("the kubeconfig's certificate expires within 3 days");
  });

  test("versions that are not in step", async () => {
    const [operator] = patient.controlPlane;
    for (const container of operator?.spec.template.spec.containers ?? [])
      container.image = "ghcr.io/dapr/operator:1.17.0";
    for (const container of patient.pod(reader).spec.containers.slice(1)) container.image = "ghcr.io/dapr/daprd:1.17.0";
    for (const container of patient.deployment("backend").spec.template.spec.containers) container.image = "backend:2";
    Object.assign(patient.crds[0]?.spec ?? {}, { versions: [{ name: "v1alpha1" }] });
    expect(await findings()).toEqual([
      ["versions", "dapr-operator runs ghcr.io/dapr/operator:1.17.0 instead of Dapr 1.18.0"],
      ["versions", `The sidecar of ${reader} is ghcr.io/dapr/daprd:1.17.0 instead of Dapr 1.18.0`],
      ["versions", "The CRD components.dapr.io is not that of Dapr 1.18.0"],
      ["versions", "backend runs backend:2; the stack has backend:1"],
    ]);
  });
});

describe("says what it could not look at, and goes on", () => {
  test("without the stack's state", async () => {
    patient.made = () => Promise.reject(new Error("pulumi stack: no stack named 'prod' found"));
    patient.deployment(reader).spec.replicas = 0;
    const results = await look();
    expect(results.filter(({ verdict }) => verdict === "found").map(({ check }) => check)).toEqual(["pods"]);
    expect(results.filter(({ verdict }) => verdict === "unknown").map(({ check, unseen }) => [check, unseen])).toEqual([
      ["injection", ["annotations beyond the contract's: pulumi stack: no stack named 'prod' found"]],
      ["network", ["which NetworkPolicies there are to be: pulumi stack: no stack named 'prod' found"]],
      ["secrets", ["what else there is to be: pulumi stack: no stack named 'prod' found"]],
      ["components", ["what the Components are to be: pulumi stack: no stack named 'prod' found"]],
      [
        "versions",
        ["CRDs", "the services' images"].map((part) => `${part}: pulumi stack: no stack named 'prod' found`),
      ],
    ]);
  });

  test("without a pod to try the network from", async () => {
    patient.status("lag-exporter", "lag-exporter").ready = false;
    const network = (await look()).find(({ check }) => check === "network");
    expect(network).toMatchObject({
      verdict: "unknown",
      unseen: ["lag-exporter has no pod that is ready, to try from what no policy allows"],
    });
  });

  test("without a database", async () => {
    patient.outbox = undefined;
    const [outbox] = (await look()).filter(({ verdict }) => verdict !== "sound");
    expect(outbox).toMatchObject({
      check: "outbox",
      verdict: "unknown",
      unseen: ["the backend shows no outbox: its database doesn't answer"],
    });
  });

  test("without a broker that lag-exporter can ask", async () => {
    patient.brokers = 0;
    const [consumers] = (await look()).filter(({ verdict }) => verdict !== "sound");
    expect(consumers).toMatchObject({ check: "consumers", verdict: "unknown" });
  });

  test("when a check takes too long", async () => {
    const never: Check = { name: "never", look: () => new Promise(() => undefined) };
    const [first, second] = await examine(patient, [never, ...checks.slice(0, 1)], 50);
    expect(first).toMatchObject({ verdict: "unknown", unseen: ["not done within 0.05 s"] });
    expect(second).toMatchObject({ verdict: "sound" });
  });
});

test("what is in the report follows its schema, and shows no secret", async () => {
  patient.letters[reader] = [
    { id: "t/0/1", topic: "t", key: null, cause: "hunter2hunter2", failed_at: "2026-01-02T03:04:05Z", event_id: null },
  ];
  patient.redact = (text) => text.replaceAll("hunter2hunter2", "[secret]");
  patient.brokers = 0;
  const results = await look();
  const { stack, context, namespace } = patient;
  const report: Report = {
    stack,
    context,
    namespace,
    verdict: worst(results.map(({ verdict }) => verdict)),
    checks: results,
  };
  expect(reportSchema.parse(report)).toEqual(report);
  expect(JSON.stringify(report)).not.toContain("hunter2");

  const text = render(report);
  expect(text).toContain("Stack prod, namespace event-flow of do-fra1-event-flow-prod");
  expect(text).toMatch(/^✗ dead-letters +\S+: 1/m);
  expect(text).toMatch(/^ +found: .*: \[secret\]$/m);
  expect(text).toMatch(/^ +mend: {2}node commands\/dead-letters\.ts list/m);
  expect(text).toMatch(/^\? consumers /m);
  expect(text).toMatch(/1 thing is wrong\.$/);
});

test("one thing that is wrong outweighs what isn't known", () => {
  expect(worst(["sound", "unknown", "found"])).toBe("found");
  expect(worst(["sound", "unknown"])).toBe("unknown");
  expect(worst([])).toBe("sound");
});

test("a CRD may have more than what was made, and lack what is empty", () => {
  const made = { a: { b: [1, { c: "x" }] }, empty: [], none: null, no: false };
  expect(contains({ a: { b: [1, { c: "x", d: "default" }] }, e: 1 }, made)).toBe(true);
  expect(contains({ a: { b: [1] } }, made)).toBe(false);
  expect(contains({ a: { b: [1, { c: "y" }] } }, made)).toBe(false);
  expect(contains({}, made)).toBe(false);
});

test("a token that is no JWT tells no end", () => {
  expect(endOfToken("dop_v1_abc")).toBeUndefined();
  expect(endOfToken("a.b.c")).toBeUndefined();
});

describe("what keeps a sidecar from being asked", () => {
  const unseen = async () => (await look()).flatMap(({ check, unseen: why }) => why.map((each) => `${check}: ${each}`));

  test("a token that was changed since its pod began", async () => {
    patient.setSecret(`${backend.name}-dapr-api-token`, { token: "a new one, of which nobody is told" });
    const told = await unseen();
    expect(told).toContain(
      `publishing: the sidecar of ${backend.name}-1 doesn't take the token in the secret ${backend.name}-dapr-api-token: ` +
        `both are taken up by \`${patient.kubectl} --namespace event-flow rollout restart deployment/${backend.name}\``,
    );
    expect(told.join()).not.toContain("a new one");
  });

  test("no token", async () => {
    patient.setSecret(`${reader}-dapr-api-token`, {});
    expect(await unseen()).toContainEqual(
      expect.stringMatching(/^dead-letters: .*the token is needed to ask, and there is none in the secret/),
    );
  });

  test("no right to read secrets", async () => {
    const list = patient.list.bind(patient);
    patient.list = (kind, where) =>
      kind === "secrets" ? Promise.reject(new Error('secrets is forbidden: User "guest"')) : list(kind, where);
    expect(await unseen()).toContainEqual(
      `publishing: the token in the secret ${backend.name}-dapr-api-token is needed to ask, and can't be read: ` +
        'secrets is forbidden: User "guest"',
    );
  });
});
