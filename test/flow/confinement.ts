/** What the kernel holds the processes of pods to: read of it rather than of what was asked for, as it is for images without a shell, too. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { ControlGroup } from "../cluster/processes.ts";
import { type Access, kubectl } from "./access.ts";

const podsSchema = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      status: z.object({
        containerStatuses: z.array(
          z.object({
            name: z.string(),
            containerID: z.string(),
            state: z.object({ running: z.unknown().optional() }),
          }),
        ),
      }),
    }),
  ),
});

export interface RunningContainer {
  readonly pod: string;
  readonly container: string;
  /** Its processes, by their ids on this machine. */
  readonly processes: readonly number[];
}

/** Every container that runs in the namespace, sidecars included, of a cluster of this machine's own. */
export async function runningContainers(access: Access, clusterId: string): Promise<RunningContainer[]> {
  const { items } = podsSchema.parse(JSON.parse(await kubectl(access, "get", "pods", "--output=json")));
  const inPods = new ControlGroup(clusterId)
    .processes("kubepods")
    .map((pid) => ({ pid, group: readFileSync(`/proc/${pid}/cgroup`, "utf8") }));
  return items.flatMap(({ metadata, status }) =>
    status.containerStatuses
      .filter(({ state }) => state.running !== undefined)
      .map(({ name, containerID }) => {
        const id = containerID.replace(/^\w+:\/\//, "");
        const processes = inPods.filter(({ group }) => group.includes(id)).map(({ pid }) => pid);
        return { pod: metadata.name, container: name, processes };
      }),
  );
}

/** What a process may do that it should not be able to. */
export function freedomsOf(pid: number): string[] {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.split(/\s+/) ?? [];
  const freedoms: string[] = [];
  const must = (holds: boolean, what: string) => {
    if (!holds) freedoms.push(what);
  };
  for (const ids of ["Uid", "Gid"]) {
    must(field(ids).length === 4 && !field(ids).includes("0"), `has root's ${ids}`);
  }
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
    must(/^0+$/.test(field(set)[0] ?? ""), `has capabilities: ${set} ${field(set).join()}`);
  }
  must(field("NoNewPrivs")[0] === "1", "may gain privileges");
  must(field("Seccomp")[0] === "2", "may make any system call");
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8")
    .split("\n")
    .map((line) => line.split(" "));
  const root = mounts.find(([, , , , path]) => path === "/");
  must(root?.[5]?.split(",").includes("ro") === true, "may write to its root file system");
  must(
    !mounts.some(([, , , , path]) => path?.includes("/secrets/kubernetes.io") === true),
    "has a service account's token",
  );
  return freedoms;
}
