import { services, subscribers } from "@event-flow/events";
import { beforeAll, describe, expect, test } from "vitest";
import { internet, outside, policiesOf } from "../../components/network-policies.ts";
import { devConfig, prodConfig, prodSecrets } from "./support/config.ts";
import { runProgram } from "./support/program.ts";
import type { Recorded, Run } from "./support/pulumi.ts";

interface Selector {
  readonly matchLabels?: Record<string, string>;
  readonly matchExpressions?: { key: string; operator: string; values: string[] }[];
}

interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { cidr: string; except?: string[] };
}

interface Rule {
  readonly ports: { port: number; protocol: string }[];
  readonly from?: Peer[];
  readonly to?: Peer[];
}

interface Policy {
  readonly metadata: { name: string; namespace: string };
  readonly spec: { podSelector: Selector; policyTypes: string[]; ingress?: Rule[]; egress?: Rule[] };
}

interface Template {
  readonly metadata: { labels: Record<string, string> };
  readonly spec: { containers: { ports?: { containerPort: number }[] }[] };
}

const ofType = (run: Run, pattern: RegExp): Recorded[] => run.resources.filter(({ type }) => pattern.test(type));
const policiesIn = (run: Run) => ofType(run, /:NetworkPolicy$/).map(({ inputs }) => inputs as unknown as Policy);

/** What runs in the namespace of the services. */
const workloadsIn = (run: Run) => ofType(run, /:(Deployment|StatefulSet|DaemonSet|Job|CronJob|Pod)$/);
const templatesIn = (run: Run) =>
  workloadsIn(run).map(({ inputs }) => (inputs["spec"] as { template: Template }).template);

function selects(selector: Selector, labels: Record<string, string>): boolean {
  const { matchLabels = {}, matchExpressions = [], ...others } = selector;
  expect(others).toEqual({});
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values }) => {
      expect(operator).toBe("In");
      return values.includes(labels[key] ?? "");
    })
  );
}

const isNeighbour = ({ podSelector, namespaceSelector, ipBlock }: Peer): boolean =>
  podSelector !== undefined && namespaceSelector === undefined && ipBlock === undefined;

/** The ways between pods of the namespace, as one side's policies tell them: `backend > postgres:5432`. */
function waysBetween(run: Run, side: "ingress" | "egress"): string[] {
  const pods = templatesIn(run).map(({ metadata }) => metadata.labels);
  const found = policiesIn(run).flatMap(({ spec }) =>
    (spec[side] ?? []).flatMap((rule) => {
      const own = pods.filter((labels) => selects(spec.podSelector, labels));
      const peers = (side === "egress" ? rule.to : rule.from) ?? [];
      const others = pods.filter((labels) =>
        peers.filter(isNeighbour).some(({ podSelector }) => selects(podSelector ?? {}, labels)),
      );
      return own.flatMap((mine) =>
        others.flatMap((other) =>
          rule.ports.map(({ port }) => {
            const [from, to] = side === "egress" ? [mine, other] : [other, mine];
            return `${from["app"]} > ${to["app"]}:${port}`;
          }),
        ),
      );
    }),
  );
  return [...new Set(found)].sort();
}

/** What the rest of a side's rules let through, in words. */
function waysBeyond(run: Run, side: "ingress" | "egress"): string[] {
  const words = ({ podSelector, namespaceSelector, ipBlock }: Peer): string => {
    if (ipBlock !== undefined) return ipBlock.cidr;
    const labels = Object.entries({ ...namespaceSelector?.matchLabels, ...podSelector?.matchLabels });
    return labels.map(([key, value]) => `${key}=${value}`).join(" ");
  };
  return policiesIn(run)
    .flatMap(({ metadata, spec }) =>
      (spec[side] ?? []).flatMap((rule) => {
        const peers = side === "egress" ? rule.to : rule.from;
        const beyond = peers?.filter((peer) => !isNeighbour(peer)).map(words) ?? ["anybody"];
        const ports = rule.ports.map(({ port, protocol }) => `${port}/${protocol}`).join(" ");
        return beyond.map((peer) => `${metadata.name}: ${peer} ${ports}`);
      }),
    )
    .sort();
}

/** Who may take a policy's way. */
const podsOf = (run: Run, name: string) =>
  policiesIn(run)
    .filter(({ metadata }) => metadata.name === name)
    .flatMap(({ spec }) => templatesIn(run).filter(({ metadata }) => selects(spec.podSelector, metadata.labels)))
    .map(({ metadata }) => metadata.labels["app"])
    .sort();

const prodWith = (config: Record<string, string> = {}) =>
  runProgram({ ...prodConfig, ...config }, "prod", [...prodSecrets, "event-flow:smtpPassword"]);

let dev: Run;
let prod: Run;
beforeAll(async () => {
  dev = await runProgram(devConfig);
  prod = await prodWith();
}, 120_000);

describe.each([
  ["dev", () => dev, "default"],
  ["prod", () => prod, "event-flow"],
] as const)("stack %s", (_, run, namespace) => {
  test("isolates every pod of the namespace, in and out", () => {
    const denials = policiesIn(run()).filter(({ spec }) => spec.ingress === undefined && spec.egress === undefined);
    expect(denials).toEqual([
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "deny-all", namespace },
        spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
      },
    ]);
    expect(policiesIn(run()).filter(({ metadata }) => metadata.namespace !== namespace)).toEqual([]);
  });

  test("has no pod that policies don't know by its label, and no rule without ports", () => {
    const templates = templatesIn(run());
    expect(templates.length).toBeGreaterThan(Object.keys(services).length);
    expect(templates.filter(({ metadata }) => metadata.labels["app"] === undefined)).toEqual([]);
    const rules = policiesIn(run()).flatMap(({ spec }) => [...(spec.ingress ?? []), ...(spec.egress ?? [])]);
    expect(rules.filter(({ ports }) => ports.length === 0)).toEqual([]);
  });

  test("opens each way between its pods at both of their ends", () => {
    expect(waysBetween(run(), "egress")).toEqual(waysBetween(run(), "ingress"));
  });

  test("lets no pod start before its policies are there", () => {
    const top = (resource: Recorded): Recorded =>
      resource.parent === "" || !run().resources.some(({ name }) => name === resource.parent)
        ? resource
        : top(run().resource(resource.parent));
    const policies = run()
      .resources.filter(({ parent }) => parent === "network")
      .map(({ name }) => name);
    for (const workload of workloadsIn(run())) {
      const { name, dependsOn } = top(workload);
      expect(dependsOn, name).toEqual(expect.arrayContaining(policies));
    }
  });

  test("opens the control plane's ports to services, names to all, and metrics to those whose namespace says so", () => {
    const out = waysBeyond(run(), "egress");
    expect(out.filter((way) => way.includes("kubernetes.io/metadata.name"))).toEqual([
      "to-dapr-operator: kubernetes.io/metadata.name=dapr-system app=dapr-operator 6500/TCP",
      "to-dapr-placement-server: kubernetes.io/metadata.name=dapr-system app=dapr-placement-server 50005/TCP",
      "to-dapr-scheduler-server: kubernetes.io/metadata.name=dapr-system app=dapr-scheduler-server 50006/TCP",
      "to-dapr-sentry: kubernetes.io/metadata.name=dapr-system app=dapr-sentry 50001/TCP",
      "to-dns: kubernetes.io/metadata.name=kube-system k8s-app=kube-dns 53/UDP 53/TCP",
    ]);
    const all = Object.values(services).map(({ name }) => name);
    expect(podsOf(run(), "to-dapr-sentry")).toEqual(all.sort());
    expect(podsOf(run(), "to-dns")).toEqual(
      templatesIn(run())
        .map(({ metadata }) => metadata.labels["app"])
        .sort(),
    );
    expect(waysBeyond(run(), "ingress").filter((way) => way.includes("monitoring"))).toEqual([
      "into-analytics-service-metrics: event-flow/monitoring=true 8003/TCP 9090/TCP",
      "into-backend-metrics: event-flow/monitoring=true 8000/TCP 9090/TCP",
      "into-lag-exporter-metrics: event-flow/monitoring=true 9308/TCP",
      "into-notification-service-metrics: event-flow/monitoring=true 8001/TCP 9090/TCP",
      "into-recurring-task-service-metrics: event-flow/monitoring=true 8002/TCP 9090/TCP",
    ]);
  });
});

const byDapr = "recurring-task-service > backend:50002";

test("in stack dev, pods reach these of each other and no others", () => {
  expect(waysBetween(dev, "egress")).toEqual(
    [
      byDapr,
      ...["backend", "analytics-service", "postgres-analytics"].map((name) => `${name} > postgres:5432`),
      ...["lag-exporter", ...Object.values(services).map(({ name }) => name)].map((name) => `${name} > redpanda:9092`),
      ...subscribers.map(({ name }) => `${name} > redis:6379`),
      "notification-service > maildev:1025",
    ].sort(),
  );
});

test("in stack dev, the ways between pods lead to ports that they serve", () => {
  const served = templatesIn(dev).flatMap(({ metadata, spec }) =>
    spec.containers.flatMap(({ ports = [] }) =>
      ports.map(({ containerPort }) => `${metadata.labels["app"]}:${containerPort}`),
    ),
  );
  const targets = waysBetween(dev, "egress")
    .filter((way) => way !== byDapr)
    .map((way) => way.split(" > ")[1]);
  expect(targets.filter((target) => !served.includes(target ?? ""))).toEqual([]);
});

test("in stack dev, nobody gets in from beyond but monitoring, and out only to push services", () => {
  expect(waysBeyond(dev, "ingress").filter((way) => !way.includes("monitoring"))).toEqual([]);
  expect(waysBeyond(dev, "egress").filter((way) => !way.includes("kubernetes.io/metadata.name"))).toEqual([
    "to-push-services: 0.0.0.0/0 443/TCP",
    "to-push-services: 2000::/3 443/TCP",
  ]);
  expect(podsOf(dev, "to-push-services")).toEqual(["notification-service"]);
});

test("in stack prod, only the backend is reached, and only what is set is reached", () => {
  expect(waysBetween(prod, "egress")).toEqual([byDapr]);
  expect(waysBeyond(prod, "ingress").filter((way) => !way.includes("monitoring"))).toEqual([
    "into-backend: anybody 8000/TCP",
  ]);
  expect(waysBeyond(prod, "egress").filter((way) => !way.includes("kubernetes.io/metadata.name"))).toEqual([
    "to-postgres: 10.114.0.0/20 25060/TCP",
    "to-redpanda: 0.0.0.0/0 9092/TCP",
    "to-redpanda: ::/0 9092/TCP",
    "to-valkey: 10.114.0.0/20 25060/TCP",
  ]);
  expect(podsOf(prod, "to-postgres")).toEqual(["analytics-service", "backend", "postgres-grant"]);
  expect(podsOf(prod, "to-valkey")).toEqual(subscribers.map(({ name }) => name).sort());
  expect(podsOf(prod, "to-redpanda")).toEqual(
    ["lag-exporter", "redpanda-check", ...Object.values(services).map(({ name }) => name)].sort(),
  );
});

test("the job that readies the managed database waits for its way there", () => {
  expect(prod.resource("database-grant").dependsOn).toContain("database-to-postgres");
});

test("mail, push and traces have a way when they are set", async () => {
  const all = await prodWith({
    "event-flow:redpandaBrokers": "seed-1.example.com:9092,seed-2.example.com:30092",
    "event-flow:smtpHost": "smtp.example.com",
    "event-flow:smtpFrom": "tasks@example.com",
    "event-flow:pushContact": "mailto:admin@example.com",
    "event-flow:otlpEndpoint": "http://collector.observability:4318",
  });
  expect(waysBeyond(all, "egress").filter((way) => !way.includes("kubernetes.io/metadata.name"))).toEqual([
    "to-collector: anybody 4318/TCP",
    "to-mail: 0.0.0.0/0 587/TCP",
    "to-mail: ::/0 587/TCP",
    "to-postgres: 10.114.0.0/20 25060/TCP",
    "to-push-services: 0.0.0.0/0 443/TCP",
    "to-push-services: 2000::/3 443/TCP",
    "to-redpanda: 0.0.0.0/0 9092/TCP 30092/TCP",
    "to-redpanda: ::/0 9092/TCP 30092/TCP",
    "to-valkey: 10.114.0.0/20 25060/TCP",
  ]);
  expect(podsOf(all, "to-mail")).toEqual(["notification-service"]);
  expect(podsOf(all, "to-push-services")).toEqual(["notification-service"]);
});

test.each([
  ["http://collector:4318", 4318],
  ["http://collector", 80],
  ["https://collector.example.com", 443],
])("traces to %s go by port %i", async (endpoint, port) => {
  const run = await runProgram({ ...devConfig, "event-flow:otlpEndpoint": endpoint });
  expect(waysBeyond(run, "egress")).toContain(`to-collector: anybody ${port}/TCP`);
});

test("the metadata service of a cloud is nowhere within reach", () => {
  for (const peers of [outside, internet]) {
    expect(JSON.stringify(peers)).toContain('"169.254.0.0/16"');
  }
});

test("a way to others is opened at its beginning, and one from others at its end", () => {
  const others = [{ ipBlock: { cidr: "192.0.2.0/24" } }];
  const names = (from: "pods" | "others", to: "pods" | "others") => {
    const ends = { pods: { pods: ["a"] }, others: { others } } as const;
    return policiesOf({ name: "way", from: ends[from], to: ends[to], ports: [1] }).map(({ name }) => name);
  };
  expect(names("pods", "others")).toEqual(["to-way"]);
  expect(names("others", "pods")).toEqual(["into-way"]);
  expect(names("pods", "pods")).toEqual(["to-way", "into-way"]);
});
