/** Tries every way through a cluster's network, from each pod of a stack, and says which ones lead somewhere. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { services } from "@event-flow/events";
import { z } from "zod";
import { lagExporter } from "../../components/lag-exporter.ts";
import { monitoringLabel } from "../../components/scraping.ts";
import { daprNamespace } from "../../components/versions.ts";
import { pauseImage } from "../cluster/images.ts";
import type { Layout } from "../cluster/layout.ts";
import { inNamespace } from "../cluster/network.ts";
import { ControlGroup } from "../cluster/processes.ts";
import { capture } from "../tools/run.ts";
import { type Access, apply, kubectl } from "./access.ts";

/** Somewhere that a connection may lead. */
export interface Place {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** @default tcp */
  readonly by?: "tcp" | "udp";
}

/** Somewhere that connections come from: a pod, or the node itself. */
interface Source {
  readonly name: string;
  /** What runs a command there. */
  readonly inside: (command: readonly string[]) => string[];
  /** Its own address, which is no way through the network. */
  readonly address: string | undefined;
}

/** What came of trying: `silent` if nothing answered, not even that nobody listens there. */
type Outcome = "open" | "refused" | "silent";

/** What a connection has no need of, so that the machine's own load is not taken for a wall. */
const patienceMs = 2_000;

/** Run by Node with the places as its argument; prints what came of each. */
const tries = `
const { connect } = require("node:net");
const { createSocket } = require("node:dgram");
const byTcp = ({ host, port }) => new Promise((resolve) => {
  const socket = connect({ host, port });
  const end = (outcome) => { socket.destroy(); resolve(outcome); };
  socket.setTimeout(${patienceMs}, () => end("silent"));
  socket.on("connect", () => end("open"));
  socket.on("error", ({ code }) => end(code === "ECONNREFUSED" ? "refused" : "silent"));
});
const byUdp = ({ host, port }) => new Promise((resolve) => {
  const socket = createSocket("udp4");
  const end = (outcome) => { clearTimeout(timer); socket.close(); resolve(outcome); };
  const timer = setTimeout(() => end("silent"), ${patienceMs});
  socket.on("message", () => end("open"));
  socket.on("error", () => end("refused"));
  socket.connect(port, host, () => socket.send("?"));
});
Promise.all(JSON.parse(process.argv[1]).map((place) => (place.by === "udp" ? byUdp(place) : byTcp(place))))
  .then((outcomes) => console.log(JSON.stringify(outcomes)));
`;

const outcomesSchema = z.array(z.enum(["open", "refused", "silent"]));

/** All at once, so that a source takes no longer than one way that leads nowhere. */
async function tryAll(source: Source, places: readonly Place[]): Promise<Outcome[]> {
  const [command = "", ...args] = source.inside([process.execPath, "--eval", tries, JSON.stringify(places)]);
  return outcomesSchema.parse(JSON.parse(await capture(command, args)));
}

const podsSchema = z.object({
  items: z.array(
    z.object({
      metadata: z.object({
        uid: z.string(),
        labels: z.record(z.string(), z.string()).default({}),
        deletionTimestamp: z.string().optional(),
      }),
      spec: z.object({
        containers: z.array(z.object({ ports: z.array(z.object({ containerPort: z.int() })).default([]) })),
      }),
      status: z.object({ phase: z.string(), podIP: z.string().optional() }),
    }),
  ),
});

interface Pod {
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: string;
  readonly ports: readonly number[];
}

async function podsIn(access: Access): Promise<Pod[]> {
  const { items } = podsSchema.parse(JSON.parse(await kubectl(access, "get", "pods", "--output=json")));
  return items
    .filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status.phase === "Running")
    .map(({ metadata: { uid, labels }, spec, status }) => ({
      uid,
      labels,
      address: status.podIP ?? "",
      ports: spec.containers.flatMap(({ ports }) => ports.map(({ containerPort }) => containerPort)),
    }));
}

/** What /proc has of a process, or nothing if that has ended meanwhile, as a probe's does. */
function ofProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}

/**
 * What is tried is tried by a process of this machine in the pod's network namespace, with its addresses, routes and interface: no image
 * needs a tool for it. The namespace is that of the pod's sandbox, which is there for as long as the pod is.
 */
function podSource(cluster: Layout, name: string, { uid, address }: Pod): Source {
  const sandbox = new ControlGroup(cluster.id)
    .processes("kubepods")
    .find((pid) => ofProcess(pid, "comm") === "pause\n" && ofProcess(pid, "cgroup").includes(`/pod${uid}/`));
  if (sandbox === undefined) throw new Error(`the sandbox of the pod ${name} (${uid}) was not found`);
  return { name, address, inside: (command) => ["nsenter", `--target=${sandbox}`, "--net", ...command] };
}

/** The ports of a sidecar: its APIs for its app, for other sidecars, and its metrics. */
const sidecarPorts = [3500, 50001, 50002, 9090];

/** The ports of the control plane's pods that others have business with, or had better not. */
const controlPlanePorts: Readonly<Record<string, readonly number[]>> = {
  "dapr-operator": [6500, 9090],
  "dapr-sentry": [50001, 9090],
  "dapr-placement-server": [50005, 8201],
  "dapr-scheduler-server": [50006, 2379],
  "dapr-sidecar-injector": [4000],
};

/** Addresses that are nobody's here: the machine itself stands for them while ways are tried. */
const elsewhere = { internet: "9.9.9.9", "private network": "192.168.250.1", "metadata service": "169.254.169.254" };
const elsewherePorts = [25, 80, 443];

async function placesOf(cluster: Layout, access: Access): Promise<Place[]> {
  const at = (name: string, host: string, ports: readonly number[]): Place[] =>
    ports.map((port) => ({ name: `${name}:${port}`, host, port }));
  const names = Object.values(services).map((service): string => service.name);
  const own = (await podsIn(access)).flatMap(({ labels: { app = "" }, address, ports }) =>
    at(
      app,
      address,
      names.includes(app) ? [...ports.filter((port) => !sidecarPorts.includes(port)), ...sidecarPorts] : ports,
    ),
  );
  const controlPlane = (await podsIn({ ...access, namespace: daprNamespace })).flatMap(
    ({ labels: { app = "" }, address }) => at(app, address, controlPlanePorts[app] ?? []),
  );
  const dns = (await podsIn({ ...access, namespace: "kube-system" })).flatMap(({ address }) =>
    at("dns", address, [53, 8181]),
  );
  return [
    ...own,
    ...controlPlane,
    ...dns,
    { name: "kubernetes.default", host: cluster.apiServiceAddress, port: 443 },
    ...at("node", cluster.nodeAddress, [6443, 10250]),
    ...Object.entries(elsewhere).flatMap(([name, host]) => at(name, host, elsewherePorts)),
    { name: "internet:53/udp", host: elsewhere.internet, port: 53, by: "udp" },
  ];
}

/** Has the node answer at those addresses; returns how to end it. */
async function answerElsewhere(cluster: Layout): Promise<() => Promise<void>> {
  const addresses = Object.values(elsewhere);
  const ip = async (what: "replace" | "delete") => {
    for (const address of addresses) {
      await capture("ip", ["-n", cluster.id, "address", what, `${address}/32`, "dev", "lo"]);
    }
  };
  await ip("replace");
  const listens = `
    const [addresses, ports] = JSON.parse(process.argv[1]);
    const tcp = addresses.flatMap((host) => ports.map((port) => new Promise((resolve) =>
      require("node:net").createServer((socket) => socket.on("error", () => undefined).end()).listen(port, host, resolve))));
    const socket = require("node:dgram").createSocket("udp4");
    socket.on("message", (_, { port, address }) => socket.send("!", port, address));
    const udp = new Promise((resolve) => socket.bind(53, addresses[0], resolve));
    Promise.all([...tcp, udp]).then(() => console.log("listening"));
  `;
  const [command = "", ...args] = inNamespace(cluster, [
    ...[process.execPath, "--eval", listens, JSON.stringify([addresses, elsewherePorts])],
  ]);
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  await Promise.race([
    once(child.stdout, "data"),
    once(child, "exit").then(() => Promise.reject(new Error("what answers at other addresses ended"))),
  ]);
  return async () => {
    const ended = once(child, "exit");
    kill();
    process.off("exit", kill);
    await ended;
    await ip("delete");
  };
}

/** Who is no part of the stack: a pod beside it, one of another namespace, and one of a namespace that monitors it. */
const strangers = { beside: "stranger", away: "neighbour", monitoring: "monitoring" } as const;

function idlePod(name: string): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      securityContext: { runAsNonRoot: true, runAsUser: 65_534, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          name,
          image: pauseImage,
          imagePullPolicy: "Never",
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        },
      ],
    },
  };
}

async function startStrangers(
  cluster: Layout,
  access: Access,
): Promise<{ sources: Source[]; end: () => Promise<void> }> {
  const namespaces = [
    { name: strangers.away, labels: {} },
    { name: strangers.monitoring, labels: monitoringLabel },
  ];
  await apply(
    access,
    namespaces.map(({ name, labels }) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } })),
  );
  const sources: Source[] = [];
  for (const [name, namespace] of [
    [strangers.beside, access.namespace],
    [strangers.away, strangers.away],
    [strangers.monitoring, strangers.monitoring],
  ] as const) {
    const there = { ...access, namespace };
    await apply(there, [idlePod(name)]);
    await kubectl(there, "wait", "--for=condition=Ready", `pod/${name}`, "--timeout=60s");
    const uid = await kubectl(there, "get", "pod", name, "--output=jsonpath={.metadata.uid}");
    const [pod] = (await podsIn(there)).filter((each) => each.uid === uid);
    if (pod === undefined) throw new Error(`the pod ${name} doesn't run`);
    sources.push(podSource(cluster, name, pod));
  }
  return {
    sources,
    end: async () => {
      await kubectl(access, "delete", `pod/${strangers.beside}`, "--ignore-not-found");
      await kubectl(access, "delete", "namespace", strangers.away, strangers.monitoring, "--ignore-not-found");
    },
  };
}

/** What ways there are, each as `<from> > <to>:<port>`. */
export interface Ways {
  /** Those by which something answered, if only that nobody listens there. */
  readonly found: readonly string[];
  /** The places that don't answer the node itself, to which policies don't apply: nothing can be said of the ways there. */
  readonly dead: readonly string[];
  /** How many were tried. */
  readonly tried: number;
}

/**
 * Tries them all: from every kind of pod in the stack's namespace, and from strangers in it and elsewhere, to every port there is in the
 * stack, around it and beyond. Those that are expected are tried up to three times, as a busy machine may answer late.
 */
export async function tryEveryWay(
  cluster: Layout,
  access: Access,
  { expected, more = [] }: { readonly expected: readonly string[]; readonly more?: readonly Place[] },
): Promise<Ways> {
  const endAnswers = await answerElsewhere(cluster);
  const outsiders = await startStrangers(cluster, access);
  try {
    const [beside] = outsiders.sources;
    const places = [
      ...(await placesOf(cluster, access)),
      // Whatever somebody puts there is isolated, too, of which no other policy knows.
      { name: `${strangers.beside}:80`, host: beside?.address ?? "", port: 80 },
      ...more,
    ];
    const kinds = new Map(
      (await podsIn(access))
        .filter(({ labels }) => labels["app"] !== undefined)
        .map((pod) => [pod.labels["app"] ?? "", pod] as const),
    );
    const inside = [...kinds].map(([app, pod]) => podSource(cluster, app, pod));
    const own = new Set([...kinds.keys(), strangers.beside]);
    const sources = [...inside, ...outsiders.sources];
    const node: Source = { name: "node", address: undefined, inside: (command) => inNamespace(cluster, command) };
    const fromNode = await tryAll(node, places);
    const dead = places.filter((_, index) => fromNode[index] === "silent").map(({ name }) => name);

    const found = new Set<string>();
    let tried = 0;
    for (let round = 0; round < 3 && (round === 0 || expected.some((way) => !found.has(way))); round++) {
      const results = await Promise.all(
        sources.map(async (source) => {
          // What pods of other namespaces do elsewhere is none of the stack's business.
          const isOutside = source.name === strangers.away || source.name === strangers.monitoring;
          const tries = places
            .filter(({ host }) => host !== source.address)
            .filter(({ name }) => !isOutside || own.has(name.split(":")[0] ?? ""))
            .filter(({ name }) => round === 0 || expected.includes(`${source.name} > ${name}`));
          const outcomes = await tryAll(source, tries);
          return tries.map(({ name }, index) => ({ way: `${source.name} > ${name}`, outcome: outcomes[index] }));
        }),
      );
      for (const { way, outcome } of results.flat()) {
        if (round === 0) tried += 1;
        if (outcome !== "silent") found.add(way);
      }
    }
    return { found: [...found].sort(), dead, tried };
  } finally {
    await outsiders.end();
    await endAnswers();
  }
}

/** The ways that a stack is to have, for a table that says who goes where. */
export function ways(table: Readonly<Record<string, readonly string[]>>): string[] {
  return Object.entries(table)
    .flatMap(([from, to]) => to.map((place) => `${from} > ${place}`))
    .sort();
}

/** Those of both stacks. */
export const commonWays: Readonly<Record<string, readonly string[]>> = (() => {
  const controlPlane = [
    "dapr-operator:6500",
    "dapr-sentry:50001",
    "dapr-placement-server:50005",
    "dapr-scheduler-server:50006",
  ];
  const names = Object.values(services).map(({ name }) => name);
  return {
    ...Object.fromEntries(names.map((name) => [name, ["dns:53", ...controlPlane]])),
    [lagExporter.name]: ["dns:53"],
    [strangers.beside]: ["dns:53"],
    [strangers.monitoring]: [
      ...Object.values(services).flatMap(({ name, port }) => [`${name}:${port}`, `${name}:9090`]),
      `${lagExporter.name}:${lagExporter.port}`,
    ],
  };
})();

/** A table with another's ways added to it. */
export function together(
  ...tables: readonly Readonly<Record<string, readonly string[]>>[]
): Record<string, readonly string[]> {
  const sum: Record<string, readonly string[]> = {};
  for (const table of tables) {
    for (const [from, to] of Object.entries(table)) sum[from] = [...(sum[from] ?? []), ...to];
  }
  return sum;
}
