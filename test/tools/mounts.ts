import { readFileSync } from "node:fs";
import { capture } from "./run.ts";

/** Unmounts everything that is mounted below a folder, the deepest first. */
export async function unmountBelow(dir: string): Promise<void> {
  const points = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    // The kernel writes blanks in paths as octal escapes.
    .map((path) => path.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))))
    .filter((path) => path.startsWith(`${dir}/`));
  // Later mounts may lie on earlier ones.
  for (const path of points.reverse()) await capture("umount", ["--lazy", path]);
}
