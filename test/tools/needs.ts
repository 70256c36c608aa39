import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { logFile } from "./cache.ts";
import { step } from "./progress.ts";
import { capture, run } from "./run.ts";

/** Programs that the tools and the cluster need, and the Debian package that brings each. */
const programs: Readonly<Record<string, string>> = {
  mmdebstrap: "mmdebstrap",
  mvn: "maven",
  containerd: "containerd",
  ctr: "containerd",
  runc: "runc",
  dockerd: "docker.io",
  docker: "docker.io",
  iptables: "iptables",
  conntrack: "conntrack",
  ip: "iproute2",
  nsenter: "util-linux",
  "/usr/lib/cni/ptp": "containernetworking-plugins",
};

const oldestGo = [1, 26] as const;

export function isOnPath(program: string): boolean {
  const candidates = program.startsWith("/")
    ? [program]
    : (process.env["PATH"] ?? "").split(delimiter).map((dir) => join(dir, program));
  return candidates.some((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function goProblem(): Promise<string | undefined> {
  const mend = `Install Go ${oldestGo.join(".")} or later: https://go.dev/dl`;
  if (!isOnPath("go")) return `there is no \`go\` on PATH. ${mend}`;
  const [, major, minor] = /go(\d+)\.(\d+)/.exec(await capture("go", ["env", "GOVERSION"])) ?? [];
  const found = [Number(major), Number(minor)] as const;
  const isOld = found[0] < oldestGo[0] || (found[0] === oldestGo[0] && found[1] < oldestGo[1]);
  return isOld ? `the \`go\` on PATH is version ${found.join(".")}. ${mend}` : undefined;
}

/**
 * Checks that this machine can build the tools and run a cluster, and installs the Debian packages that it lacks. The error
 * lists all that is missing and how to get it.
 */
export async function needs(): Promise<void> {
  const problems: string[] = [];
  if (process.platform !== "linux" || process.arch !== "x64") {
    problems.push(
      `this is ${process.platform} on ${process.arch}; a cluster of one's own needs Linux on x64. Use Minikube`,
    );
  }
  if (process.getuid?.() !== 0) {
    problems.push("this isn't root, and namespaces, mounts and containers need it. Run it with sudo, or use Minikube");
  }
  const go = await goProblem();
  if (go !== undefined) problems.push(go);
  const missing = Object.keys(programs).filter((program) => !isOnPath(program));
  const packages = [...new Set(missing.map((program) => programs[program] ?? program))];
  if (packages.length > 0 && !isOnPath("apt-get")) {
    problems.push(
      `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} missing. Install them by your system's packages`,
    );
  }
  if (problems.length > 0) {
    throw new Error(`This machine can't run a cluster of its own:\n${problems.map((p) => `  - ${p}.`).join("\n")}`);
  }
  if (packages.length > 0) {
    const log = logFile("packages");
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    await step(
      `install Debian packages: ${packages.join(" ")}`,
      async () => {
        await run("apt-get", ["update"], { log, env });
        await run("apt-get", ["install", "--yes", "--no-install-recommends", ...packages], { log, env });
      },
      log,
    );
  }
}
