import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { logFile } from "./cache.ts";
import { step } from "./progress.ts";
import { capture, run } from "./run.ts";

/** What a machine is to do, with the programs that it takes and the Debian package that brings each. */
const programs = {
  "build tools": { mmdebstrap: "mmdebstrap", mvn: "maven" },
  "run servers as processes": { unshare: "util-linux", setpriv: "util-linux" },
  "run a cluster of its own": {
    containerd: "containerd",
    ctr: "containerd",
    runc: "runc",
    dockerd: "docker.io",
    docker: "docker.io",
    iptables: "iptables",
    ip6tables: "iptables",
    conntrack: "conntrack",
    ip: "iproute2",
    nsenter: "util-linux",
    sysctl: "procps",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
  },
} as const satisfies Record<string, Readonly<Record<string, string>>>;

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

/** What of a machine matters. */
export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly uid: number | undefined;
  /** As `go env GOVERSION` prints it; empty without Go, `undefined` where nothing is to be built. */
  readonly goVersion: string | undefined;
  readonly hasApt: boolean;
  /** The programs that aren't there. */
  readonly missing: readonly string[];
}

/** What keeps a machine from its task, each with the way to mend it; missing packages that apt brings don't. */
export function problemsOf(machine: Machine): string[] {
  const { platform, arch, uid, goVersion, hasApt, missing } = machine;
  const problems: string[] = [];
  if (platform !== "linux" || arch !== "x64") {
    problems.push(`this is ${platform} on ${arch}; it takes Linux on x64. Use Minikube`);
  }
  if (uid !== 0) {
    problems.push("this isn't root, and namespaces, mounts and containers need it. Run it with sudo, or use Minikube");
  }
  const mend = `Install Go ${oldestGo.join(".")} or later: https://go.dev/dl`;
  if (goVersion === "") problems.push(`there is no \`go\` on PATH. ${mend}`);
  else if (goVersion !== undefined && isOlder(goVersion)) problems.push(`the \`go\` on PATH is ${goVersion}. ${mend}`);
  if (missing.length > 0 && !hasApt) {
    const are = missing.length === 1 ? "is" : "are";
    problems.push(`${missing.join(", ")} ${are} missing. Install them by your system's packages`);
  }
  return problems;
}

function goVersion(): Promise<string> {
  return isOnPath("go") ? capture("go", ["env", "GOVERSION"]) : Promise.resolve("");
}

function isOlder(goVersion: string): boolean {
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(goVersion) ?? [];
  const [oldestMajor, oldestMinor] = oldestGo;
  return Number(major) < oldestMajor || (Number(major) === oldestMajor && Number(minor) < oldestMinor);
}

/**
 * Checks that this machine can do something, and installs the Debian packages that it lacks for it. The error lists all that is
 * missing and how to get it.
 */
export async function needs(task: keyof typeof programs): Promise<void> {
  const packageOf = new Map<string, string>(Object.entries(programs[task]));
  const missing = [...packageOf.keys()].filter((program) => !isOnPath(program));
  const problems = problemsOf({
    platform: process.platform,
    arch: process.arch,
    uid: process.getuid?.(),
    goVersion: task === "build tools" ? await goVersion() : undefined,
    hasApt: isOnPath("apt-get"),
    missing,
  });
  if (problems.length > 0) {
    throw new Error(`This machine can't ${task}:\n${problems.map((p) => `  - ${p}.`).join("\n")}`);
  }
  const packages = [...new Set(missing.map((program) => packageOf.get(program) ?? program))];
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
