import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Artifact } from "./cache.ts";
import { toolDir } from "./index.ts";
import { run } from "./run.ts";

/** A virtual environment with what a file of requirements lists. */
export function pythonTool(name: string, version: string, coldSeconds: number, requirements: string): Artifact {
  return {
    name,
    version,
    coldSeconds,
    recipe: [readFileSync(requirements, "utf8")],
    build: async (dir, log) => {
      await run("python3", ["-m", "venv", dir], { log });
      await run(join(dir, "bin", "python"), ["-m", "pip", "install", "--requirement", requirements], { log });
    },
  };
}

/** Its interpreter. By that alone it's used: the paths in an environment's other scripts are those of the folder that it was built in. */
export function pythonOf(tool: Artifact): string {
  return join(toolDir(tool), "bin", "python");
}
