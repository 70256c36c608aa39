import { Resolver } from "node:dns/promises";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import { eachService, type ServiceKey } from "@event-flow/events";
import { withLock } from "../tools/cache.ts";
import * as tools from "../tools/go-tools.ts";
import { buildTools, toolDir } from "../tools/index.ts";
import { unmountBelow } from "../tools/mounts.ts";
import { needs } from "../tools/needs.ts";
import { say, seconds, step, waitFor } from "../tools/progress.ts";
import { capture, run, tail } from "../tools/run.ts";
import { addons } from "./addons.ts";
import { clusterImages, type ImageArchive, type NamedImage, prometheusImage, serviceImage } from "./images.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { type ClusterName, layout, type Layout } from "./layout.ts";
import { createNetwork, removeNetwork } from "./network.ts";
import { containerdSocket, startKubelet, startParts, stateDir } from "./parts.ts";
import { createPki } from "./pki.ts";
import { ControlGroup } from "./processes.ts";

export function kubectl(cluster: Layout, ...args: string[]): Promise<string> {
  return capture(join(toolDir(tools.kubernetes), "kubectl"), [`--kubeconfig=${cluster.kubeconfig}`, ...args]);
}

const group = (cluster: Layout) => new ControlGroup(cluster.id);

async function isReady(cluster: Layout): Promise<boolean> {
  if (!existsSync(cluster.kubeconfig) || group(cluster).processes().length === 0) return false;
  try {
    await kubectl(cluster, "get", "--raw=/readyz", "--request-timeout=5s");
    await kubectl(cluster, "wait", "--for=condition=Ready", "node", "--all", "--timeout=1s");
    return await answersNames(cluster);
  } catch {
    return false;
  }
}

/** Loads an archive of images into the cluster, unless it was loaded before. */
async function loadImages(cluster: Layout, images: ImageArchive): Promise<void> {
  const marker = join(cluster.dir, "containerd", "root", `loaded-${images.id}`);
  if (existsSync(marker)) return;
  const log = join(cluster.logs, "images.log");
  await step(
    `load ${images.id}`,
    async () => {
      const ctr = ["--address", containerdSocket(cluster), "--namespace=k8s.io", "images"];
      await run("ctr", [...ctr, "import", images.path], { log });
      for (const { name, as } of images.pinned ?? []) await run("ctr", [...ctr, "tag", "--force", name, as], { log });
    },
    log,
  );
  writeFileSync(marker, "");
}

/**
 * Starts the cluster, or mends it where one is half made; does nothing when it runs. What it held when it was stopped is there
 * again.
 */
export async function up(name: ClusterName): Promise<Layout> {
  const cluster = layout(name);
  await withLock(cluster.id, async () => {
    await needs("run a cluster of its own");
    await buildTools();
    const images = await clusterImages();
    if (await isReady(cluster)) {
      say(`The cluster ${cluster.id} is up (kubeconfig: ${cluster.kubeconfig}).`);
      return;
    }
    const begun = performance.now();
    await stop(cluster);
    mkdirSync(cluster.dir, { recursive: true });
    await createPki(cluster);
    writeKubeconfig(cluster, "admin", cluster.kubeconfig);
    await step("make the network namespace", () => createNetwork(cluster));
    group(cluster).create();
    const startedAt = new Date();
    startParts(cluster, group(cluster));
    await waitForPart(cluster, "containerd", () => servesContainers(cluster));
    startKubelet(cluster, group(cluster));
    await loadImages(cluster, images);
    await step(
      "start Kubernetes",
      async () => {
        await waitForPart(cluster, "kube-apiserver", async () => {
          await kubectl(cluster, "get", "--raw=/readyz", "--request-timeout=5s");
          return true;
        });
        await waitForPart(cluster, "kubelet", () => hasReportedSince(cluster, startedAt));
      },
      cluster.logs,
    );
    await step("start CoreDNS", async () => {
      await run(
        join(toolDir(tools.kubernetes), "kubectl"),
        [`--kubeconfig=${cluster.kubeconfig}`, "apply", "--server-side", "--force-conflicts", "-f", "-"],
        { log: join(cluster.logs, "addons.log"), input: addons(cluster) },
      );
      await waitForPart(cluster, "kubelet", () => answersNames(cluster));
    });
    say(
      `The cluster ${cluster.id} is up after ${seconds(performance.now() - begun)} (kubeconfig: ${cluster.kubeconfig}).`,
    );
  });
  return cluster;
}

/** What kubelet, too, asks first: containerd answers on its socket before its service for Kubernetes is ready. */
function servesContainers(cluster: Layout): Promise<true> {
  const client = new Client(`unix://${containerdSocket(cluster)}`, credentials.createInsecure());
  const asIs = (message: Buffer) => message;
  return new Promise<true>((resolve, reject) => {
    // A VersionRequest without fields is an empty message.
    const request = Buffer.alloc(0);
    client.makeUnaryRequest("/runtime.v1.RuntimeService/Version", asIs, asIs, request, (error) => {
      if (error === null) resolve(true);
      else reject(error);
    });
  }).finally(() => {
    client.close();
  });
}

/** A cluster that was stopped shows what it was before, until kubelet reports anew. */
async function hasReportedSince(cluster: Layout, time: Date): Promise<true | undefined> {
  const ready = '{.status.conditions[?(@.type=="Ready")]';
  const path = `jsonpath=${ready}.status} ${ready}.lastHeartbeatTime}`;
  const [status, heartbeat = ""] = (await kubectl(cluster, "get", "node", cluster.id, "-o", path)).split(" ");
  // Heartbeats are in whole seconds.
  return status === "True" && new Date(heartbeat).getTime() >= time.getTime() - 1000 ? true : undefined;
}

/** Whether CoreDNS answers, asked from the host over its service's address: pods' network and kube-proxy work then, too. */
async function answersNames(cluster: Layout): Promise<true> {
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([cluster.dnsAddress]);
  await resolver.resolve4("kubernetes.default.svc.cluster.local");
  return true;
}

async function waitForPart(cluster: Layout, part: string, probe: () => Promise<true | undefined>): Promise<void> {
  const log = join(cluster.logs, `${part}.log`);
  await waitFor(part, 90, probe, () => `${log}:\n${tail(log)}`);
}

async function loadImage(cluster: Layout, built: NamedImage): Promise<string> {
  await loadImages(cluster, built);
  return built.image;
}

/** Builds a service's image, of its sources as they are now, loads it into the running cluster and says what it is called. */
export async function loadService(cluster: Layout, service: ServiceKey): Promise<string> {
  return loadImage(cluster, await serviceImage(service));
}

/** Does so with the image of Prometheus. */
export async function loadPrometheus(cluster: Layout): Promise<string> {
  return loadImage(cluster, await prometheusImage());
}

/** Builds and loads the images of all services. */
export function loadServices(cluster: Layout): Promise<Record<ServiceKey, string>> {
  return eachService((service) => loadService(cluster, service));
}

/** Stops the cluster: ends each process, mount, interface and namespace of it. What it held stays on disk. */
export async function down(name: ClusterName): Promise<void> {
  const cluster = layout(name);
  await withLock(cluster.id, () => step(`stop the cluster ${cluster.id}`, () => stop(cluster)));
}

/** Stops the cluster and forgets what it held; its images stay loaded. */
export async function destroy(name: ClusterName): Promise<void> {
  const cluster = layout(name);
  await down(name);
  for (const part of ["etcd", "volumes", "kubelet", "pod-logs", "pulumi"]) {
    rmSync(join(cluster.dir, part), { recursive: true, force: true });
  }
}

async function stop(cluster: Layout): Promise<void> {
  const sockets = shimSockets(cluster);
  await group(cluster).end(5);
  await unmountBelow(cluster.dir);
  await removeNetwork(cluster);
  rmSync(stateDir(cluster), { recursive: true, force: true });
  for (const socket of sockets) rmSync(socket, { force: true });
  removeNotes(cluster);
}

/** Containerd's shims listen on sockets in a folder that all containerds of a machine share. */
function shimSockets(cluster: Layout): string[] {
  const tasks = join(stateDir(cluster), "io.containerd.runtime.v2.task", "k8s.io");
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).flatMap((task) => {
    const address = join(tasks, task, "address");
    return existsSync(address)
      ? [
          readFileSync(address, "utf8")
            .trim()
            .replace(/^unix:\/\//, ""),
        ]
      : [];
  });
}

/** Network plugins and kubelet leave notes in folders that all clusters of a machine share; these are this cluster's. */
function removeNotes(cluster: Layout): void {
  const isOurs = (content: string) => content.includes(`${cluster.dir}/`);
  removeEach("/var/lib/cni/results", (path) => isOurs(readFileSync(path, "utf8")));
  removeEach("/var/log/containers", (path) => lstatSync(path).isSymbolicLink() && isOurs(readlinkSync(path)));
}

function removeEach(dir: string, isOurs: (path: string) => boolean): void {
  if (!existsSync(dir)) return;
  for (const path of readdirSync(dir).map((name) => join(dir, name))) {
    try {
      if (isOurs(path)) rmSync(path);
    } catch (error) {
      // Another cluster has taken its own away meanwhile.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}
