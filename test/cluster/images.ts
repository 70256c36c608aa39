import { cpSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { services, type ServiceKey } from "@event-flow/events";
import { contentTag, dockerfile, repositoryRoot } from "../../components/content-tag.ts";
import { daprVersion, images as official } from "../../components/versions.ts";
import {
  type Artifact,
  artifactDir,
  build,
  cacheDir,
  folderContents,
  isBuilt,
  logFile,
  withLock,
} from "../tools/cache.ts";
import * as tools from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { unmountBelow } from "../tools/mounts.ts";
import { say, step, waitFor } from "../tools/progress.ts";
import { nodeRoot, nodeVersion, prometheus, servers } from "../tools/root-filesystems.ts";
import { run, tail } from "../tools/run.ts";
import { ControlGroup } from "./processes.ts";

export const pauseImage = "localhost/event-flow/pause:1";
export const coreDnsImage = `registry.k8s.io/coredns/coredns:v${tools.versions.coredns}`;

/** An image's name and tag, without the digest that pins it: a stand-in has another, and is made by its tag. */
const tagOf = (image: string) => image.split("@")[0] ?? "";

/** The base that the services' Dockerfile names. */
const nodeImage = `node:${nodeVersion}-trixie-slim`;

/** PostgreSQL, Valkey, Java and Kafka: what the stand-ins below it are made of. */
const serversImage = "localhost/event-flow/servers:latest";

const sources = join(import.meta.dirname, "images");

/** An image that holds one static program. */
interface ProgramImage {
  readonly image: string;
  readonly program: string;
  /** Its name inside the image, at the root. */
  readonly as: string;
  readonly user?: string;
}

/** Dapr's chart demands that its parts don't run as root, and Kubernetes believes that of a numeric user only. */
const daprUser = "65532";

function programImages(): ProgramImage[] {
  const daprImage = (artifact: Artifact, part: string) => ({
    image: `ghcr.io/dapr/${part}:${daprVersion}`,
    program: join(toolDir(artifact), part),
    as: part,
    user: daprUser,
  });
  return [
    { image: pauseImage, program: join(toolDir(tools.pause), "pause"), as: "pause" },
    { image: coreDnsImage, program: join(toolDir(tools.coredns), "coredns"), as: "coredns" },
    daprImage(tools.daprd, "daprd"),
    ...tools.daprControlPlaneParts.map((part) => daprImage(tools.daprControlPlane, part)),
  ];
}

/** Images made from a Dockerfile in `images/<folder>`, by the official image's name. */
const serverImages: readonly {
  readonly folder: string;
  readonly image: string;
  readonly args?: Readonly<Record<string, string>>;
}[] = [
  { folder: "postgres", image: tagOf(official.postgres) },
  { folder: "valkey", image: tagOf(official.valkey) },
  { folder: "kafka", image: tagOf(official.kafka) },
  {
    folder: "maildev",
    image: tagOf(official.maildev),
    args: { NODE_IMAGE: nodeImage, MAILDEV_VERSION: tagOf(official.maildev).split(":").at(-1) ?? "" },
  },
];

const dockerDir = join(cacheDir, "docker");
const dockerEnv = {
  DOCKER_HOST: `unix://${join(dockerDir, "docker.sock")}`,
  // Without Docker's plugin for BuildKit, which Debian doesn't have, its client builds by the classic builder.
  DOCKER_BUILDKIT: "0",
};

type Docker = (...args: string[]) => Promise<void>;

/** Runs an action with a Docker engine of our own, which is stopped again after it. It only builds images: pods run on containerd. */
function withDocker<T>(action: (docker: Docker) => Promise<T>, log: string): Promise<T> {
  // One engine at a time has the data.
  return withLock("docker", () => runWithDocker(action, log));
}

async function runWithDocker<T>(action: (docker: Docker) => Promise<T>, log: string): Promise<T> {
  const group = new ControlGroup("event-flow-docker");
  await group.end();
  group.create();
  rmSync(join(dockerDir, "run"), { recursive: true, force: true });
  mkdirSync(join(dockerDir, "run"), { recursive: true });
  const engineLog = logFile("dockerd");
  group.start(
    [
      "dockerd",
      `--host=${dockerEnv.DOCKER_HOST}`,
      `--data-root=${join(dockerDir, "data")}`,
      `--exec-root=${join(dockerDir, "run")}`,
      // In the folder that is new each time: an engine refuses to start over the note of one that was killed.
      `--pidfile=${join(dockerDir, "run", "dockerd.pid")}`,
      "--cgroup-parent=/event-flow-docker",
      "--exec-opt=native.cgroupdriver=cgroupfs",
      // Builds use the host's network, so that the engine needs none of its own and changes no rule of this machine's.
      "--bridge=none",
      "--iptables=false",
      "--ip6tables=false",
      "--ip-forward=false",
      "--ip-masq=false",
    ],
    engineLog,
  );
  try {
    const docker: Docker = (...args) => run("docker", args, { log, env: dockerEnv });
    await waitFor(
      "Docker's engine",
      60,
      async () => {
        await docker("version");
        return true;
      },
      () => `${engineLog}:\n${tail(engineLog)}`,
    );
    return await action(docker);
  } finally {
    await group.end();
    await unmountBelow(dockerDir);
  }
}

/** Makes the image `FROM` a root filesystem, unless the engine has it. */
async function importRoot(root: Artifact, image: string, log: string, change: readonly string[] = []): Promise<void> {
  const marker = join(dockerDir, "data", `imported-${artifactDir(root).split("/").at(-1) ?? ""}`);
  if (existsSync(marker)) return;
  const changes = change.flatMap((line) => ["--change", line]).map((word) => `'${word}'`);
  const source = join(toolDir(root), "root");
  const command = `tar -C '${source}' -c . | docker import ${changes.join(" ")} - ${image}`;
  await run("bash", ["-o", "pipefail", "-c", command], { log, env: dockerEnv });
  writeFileSync(marker, "");
}

/** Makes the stand-in of the official Node image, unless the engine has it. */
function importNode(log: string): Promise<void> {
  return importRoot(nodeRoot, nodeImage, log, ['CMD ["node"]']);
}

/** All images that the cluster needs besides the services' own, in one archive `images.tar`. */
function standInImages(): Artifact {
  const inputs = [servers, nodeRoot, tools.pause, tools.coredns, tools.daprd, tools.daprControlPlane];
  const names = [...programImages().map(({ image }) => image), ...serverImages.map(({ image }) => image)];
  return {
    name: "images",
    version: "1",
    coldSeconds: 60,
    recipe: [...inputs.map(artifactDir), ...names, ...Object.values(official), ...folderContents(sources)],
    build: (dir, log) =>
      withDocker(async (docker) => {
        await importRoot(servers, serversImage, log);
        await importNode(log);
        for (const { folder, image, args = {} } of serverImages) {
          const buildArgs = Object.entries(args).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]);
          await docker("build", "--network=host", ...buildArgs, "--tag", image, join(sources, folder));
        }
        for (const { image, program, as, user } of programImages()) {
          const context = join(dir, "context");
          mkdirSync(context);
          cpSync(program, join(context, as));
          const lines = ["FROM scratch", `COPY ${as} /${as}`, `ENTRYPOINT ["/${as}"]`];
          if (user !== undefined) lines.push(`USER ${user}`);
          writeFileSync(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
          await docker("build", "--tag", image, context);
          rmSync(context, { recursive: true });
        }
        await docker("save", "--output", join(dir, "images.tar"), ...names);
      }, log),
  };
}

/**
 * What a service's image may take, before it is compressed: Node takes 125 MB of it, its packages and what was made of compiling them
 * some 40.
 */
export const imageBudget = 200e6;

/** A service's image, built from its Dockerfile on the stand-in of the official Node image. */
function serviceArtifact(service: ServiceKey, tag: string, image: string): Artifact {
  return {
    name: `image-${services[service].name}`,
    version: tag,
    coldSeconds: 40,
    recipe: [artifactDir(nodeRoot)],
    build: (dir, log) =>
      withDocker(async (docker) => {
        await importNode(log);
        await docker(
          ...["build", "--network=host", "--build-arg", `SERVICE=${services[service].name}`],
          ...["--build-arg", `NODE_IMAGE=${nodeImage}`],
          ...["--file", join(repositoryRoot, dockerfile), "--tag", image, repositoryRoot],
        );
        await docker("save", "--output", join(dir, "images.tar"), image);
        const { size } = statSync(join(dir, "images.tar"));
        say(`    image of ${services[service].name}: ${(size / 1e6).toFixed(0)} MB of at most ${imageBudget / 1e6}`);
      }, log),
  };
}

export interface ImageArchive {
  readonly path: string;
  /** Tells this archive's content from any other's. */
  readonly id: string;
  /** Names by which pods ask for images of it, besides those that it has: what is pinned, by its digest alone. */
  readonly pinned?: readonly { readonly name: string; readonly as: string }[];
}

/** A name as containerd has it: in full, and by the digest alone where there is one. */
export function inFull(image: string): string {
  const [name = "", digest] = image.split("@");
  const [host = "", ...path] = name.split("/");
  const isHost = path.length > 0 && /[.:]|^localhost$/.test(host);
  const full = isHost ? name : `docker.io/${path.length === 0 ? "library/" : ""}${name}`;
  return digest === undefined ? full : `${full.replace(/:[^:/]+$/, "")}@${digest}`;
}

async function archive(artifact: Artifact): Promise<ImageArchive> {
  const log = logFile(artifact.name);
  if (!isBuilt(artifact)) {
    await step(`build ${artifact.name} ${artifact.version}`, () => build(artifact, log), log);
  }
  const dir = artifactDir(artifact);
  return { path: join(dir, "images.tar"), id: dir.split("/").at(-1) ?? "" };
}

/** Builds what isn't built of the images of the cluster itself. */
export async function clusterImages(): Promise<ImageArchive> {
  const pinned = Object.values(official)
    .filter((image) => image.includes("@") && serverImages.some((made) => made.image === tagOf(image)))
    .map((image) => ({ name: inFull(tagOf(image)), as: inFull(image) }));
  return { ...(await archive(standInImages())), pinned };
}

/** An image by what it is called, and the archive that has it. */
export interface NamedImage extends ImageArchive {
  readonly image: string;
}

/** Builds a service's image of its sources as they are now, unless it is built. */
export async function serviceImage(service: ServiceKey): Promise<NamedImage> {
  const tag = contentTag(service);
  const image = `localhost/event-flow/${services[service].name}:${tag}`;
  return { image, ...(await archive(serviceArtifact(service, tag, image))) };
}

/** Debian's Prometheus as an image, which names no program: the pod does. No image of the cluster's own, for most do without. */
export async function prometheusImage(): Promise<NamedImage> {
  const image = `localhost/event-flow/prometheus:${prometheus.version}`;
  const artifact: Artifact = {
    name: "image-prometheus",
    version: prometheus.version,
    coldSeconds: 30,
    recipe: [artifactDir(prometheus)],
    build: (dir, log) =>
      withDocker(async (docker) => {
        await importRoot(prometheus, image, log);
        await docker("save", "--output", join(dir, "images.tar"), image);
      }, log),
  };
  return { image, ...(await archive(artifact)) };
}
