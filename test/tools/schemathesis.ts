import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Artifact } from "./cache.ts";
import { toolDir } from "./index.ts";
import { run } from "./run.ts";

const requirements = join(import.meta.dirname, "schemathesis", "requirements.txt");

/** Makes requests out of an OpenAPI document and judges the answers by it (https://schemathesis.readthedocs.io). */
export const schemathesis: Artifact = {
  name: "schemathesis",
  version: "4.32.5",
  coldSeconds: 30,
  recipe: [readFileSync(requirements, "utf8")],
  build: async (dir, log) => {
    await run("python3", ["-m", "venv", dir], { log });
    await run(join(dir, "bin", "python"), ["-m", "pip", "install", "--requirement", requirements], { log });
  },
};

/** By its interpreter: the paths in an environment's scripts are those of the folder that it was built in. */
export function schemathesisCommand(): readonly string[] {
  return [join(toolDir(schemathesis), "bin", "python"), "-m", "schemathesis.cli"];
}
