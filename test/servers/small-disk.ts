import { once } from "node:events";
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { dieWithParent, unprivileged } from "./process.ts";

/** A small disk, in memory, that can be filled up. What is on it is there for as long as this process is. */
export interface SmallDisk {
  /** The beginning of a command line that runs what follows where the disk is mounted. */
  readonly enter: readonly string[];
  /** Takes all the room that is left. */
  fill(): Promise<void>;
  /** Gives it back. */
  free(): void;
}

/** Mounts a disk over a folder, in a mount namespace of its own: nothing of it outlives this process. */
export async function mountSmallDisk(dir: string, megabytes: number): Promise<SmallDisk> {
  const mount = `mount -t tmpfs -o size=${megabytes}m,uid=${unprivileged},gid=${unprivileged},mode=0750 tmpfs ${dir}`;
  const [program, ...args] = [...dieWithParent, "unshare", "--mount", "sh", "-ec"];
  const holder = spawn(program, [...args, `${mount}; echo mounted; exec sleep infinity`], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  holder.unref();
  await once(holder.stdout, "data", { signal: AbortSignal.timeout(10_000) });
  holder.stdout.destroy();
  const filler = join(`/proc/${holder.pid ?? 0}/root`, dir, "filler");
  return {
    enter: ["nsenter", `--mount=/proc/${holder.pid ?? 0}/ns/mnt`],
    fill: async () => {
      // The second takes what is less than a block of the first.
      await execa("dd", ["if=/dev/zero", `of=${filler}`, "bs=1M"], { reject: false });
      await execa("dd", ["if=/dev/zero", `of=${filler}-rest`, "bs=4k"], { reject: false });
    },
    free: () => {
      for (const file of [filler, `${filler}-rest`]) rmSync(file, { force: true });
    },
  };
}
