import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { ServiceKey } from "@event-flow/events";
import { execa } from "execa";
import { repositoryRoot } from "../../components/content-tag.ts";
import { destroy, down, loadServices, up } from "../cluster/cluster.ts";
import { authority } from "../cluster/pki.ts";
import { cacheDir } from "../tools/cache.ts";
import type { Access } from "../flow/access.ts";
import * as tools from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { step } from "../tools/progress.ts";
import { Cloud } from "../providers/digitalocean/cloud.ts";
import { cluster, zones } from "../providers/digitalocean/hardware.ts";
import { createStack, installPulumi, type Stack } from "../pulumi/plugins.ts";
import { runLoadBalancers } from "./load-balancers.ts";
import { type Redpanda, startRedpanda } from "./redpanda.ts";
import { trustInSidecars } from "./trust.ts";

export interface Ended {
  readonly code: number | undefined;
  readonly output: string;
}

/** A command of Pulumi's that has not ended yet. */
export interface Running {
  readonly ended: Promise<Ended>;
  /** What Ctrl-C does. */
  readonly interrupt: () => void;
}

/** Everything around stack prod: an account at DigitalOcean, a user at Redpanda Cloud, and Pulumi. */
export interface Stage {
  readonly cloud: Cloud;
  readonly directory: string;
  readonly redpanda: Redpanda;
  readonly redpandaPassword: string;
  readonly token: string;
  readonly passphrase: string;
  /** The services' images in the cluster. */
  readonly images: Readonly<Record<ServiceKey, string>>;
  /** The cluster, for those who look on. */
  readonly access: Access;
  readonly stack: Stack;
  /** Everything that Pulumi has printed so far. */
  readonly printed: () => string;
  /** Runs a command of Pulumi's on stack prod. */
  readonly pulumi: (...args: string[]) => Promise<Ended>;
  readonly startPulumi: (...args: string[]) => Running;
  /** Sets a key of the config by what `pulumi config set` reads from its input: no shell's history has it then. */
  readonly configure: (key: string, value: string, ...flags: string[]) => Promise<Ended>;
  /** The certificate of an authority: of the public one, of the account's own, or of another. */
  readonly ca: (of: "public" | "account" | "other") => string;
  readonly close: () => Promise<void>;
}

/** Sets the stage from nothing: what an earlier time has left is forgotten. */
export async function setStage(): Promise<Stage> {
  await destroy("prod");
  const directory = join(cacheDir, "rehearsal");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  await up("prod");
  const images = await loadServices(cluster);

  const cloudDir = join(directory, "cloud");
  const cloud = new Cloud(cloudDir);
  const token = `dop_v1_${randomBytes(32).toString("hex")}`;
  cloud.steer({
    token,
    kubernetesVersions: ["1.34.1-do.0", "1.33.5-do.0", "1.32.9-do.0"],
    secondsToReady: 2,
    faults: [],
  });
  for (const [name, commonName] of [
    ["public", "Rehearsal Public Root"],
    ["account", "Rehearsal Account CA"],
    ["other", "Somebody Else's Root"],
  ] as const) {
    const dir = join(cloudDir, name);
    mkdirSync(dir);
    const issue = await authority(dir, commonName);
    const names = Object.values(zones).map((zone) => ({ type: "dns", value: `*.${zone}.svc.cluster.local` }) as const);
    await issue("server", "CN=server", names);
  }
  const publicDir = join(cloudDir, "public");
  await step("make the sidecar's image trust the public root", () =>
    trustInSidecars(join(directory, "daprd"), join(publicDir, "ca.crt")),
  );
  const redpandaPassword = randomBytes(18).toString("base64url");
  const redpanda = await step("start Redpanda Cloud", () =>
    startRedpanda(join(directory, "redpanda"), publicDir, redpandaPassword),
  );
  const stopLoadBalancers = runLoadBalancers();

  const passphrase = randomBytes(24).toString("base64url");
  const installed = await installPulumi({
    directory: join(directory, "pulumi"),
    cli: join(toolDir(tools.pulumi), "pulumi"),
    kubernetesProvider: join(toolDir(tools.pulumiKubernetes), "pulumi-resource-kubernetes"),
    passphrase,
    digitalocean: cloudDir,
  });
  const stack = await createStack(installed, {
    project: repositoryRoot,
    stack: "prod",
    config: {
      "event-flow:environment": "prod",
      "event-flow:images": { from: "prebuilt", ...images },
      "event-flow:daprChart": join(toolDir(tools.daprControlPlane), "charts", "dapr"),
    },
  });

  let printed = "";
  const startPulumi = (...args: string[]): Running => start("", args);
  const start = (input: string, args: readonly string[]): Running => {
    const child = execa(installed.cli, ["--non-interactive", "--color", "never", ...args], {
      cwd: repositoryRoot,
      env: stack.env,
      extendEnv: false,
      reject: false,
      all: true,
      input,
    });
    child.all.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    return {
      ended: child.then(({ exitCode, all }) => ({ code: exitCode, output: all })),
      interrupt: () => child.kill("SIGINT"),
    };
  };
  return {
    cloud,
    directory,
    redpanda,
    redpandaPassword,
    token,
    passphrase,
    images,
    access: {
      kubectl: join(toolDir(tools.kubernetes), "kubectl"),
      context: cluster.id,
      namespace: "event-flow",
      env: { KUBECONFIG: cluster.kubeconfig },
    },
    stack,
    printed: () => printed,
    startPulumi,
    configure: (key, value, ...flags) => start(value, ["config", "set", ...flags, key]).ended,
    pulumi: (...args) => startPulumi(...args).ended,
    ca: (of) => readFileSync(join(cloudDir, of, "ca.crt"), "utf8"),
    close: async () => {
      stopLoadBalancers();
      await down("prod");
    },
  };
}
