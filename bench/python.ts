import { readFileSync } from "node:fs";
import { join } from "node:path";
import { toolDir } from "../test/tools/index.ts";
import type { Artifact } from "../test/tools/cache.ts";
import { run } from "../test/tools/run.ts";

export const recipeSources = join(import.meta.dirname, "peers", "recipe");

const requirements = join(recipeSources, "requirements.txt");

/** What the recipe's Python imports, in a virtual environment. */
export const recipePackages: Artifact = {
  name: "recipe-packages",
  version: "1",
  coldSeconds: 15,
  recipe: [readFileSync(requirements, "utf8")],
  build: async (dir, log) => {
    await run("python3", ["-m", "venv", dir], { log });
    await run(join(dir, "bin", "python"), ["-m", "pip", "install", "--requirement", requirements], { log });
  },
};

/** By its interpreter: the paths in an environment's other scripts are those of the folder that it was built in. */
export function python(): string {
  return join(toolDir(recipePackages), "bin", "python");
}
