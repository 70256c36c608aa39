import { join } from "node:path";
import { pythonOf, pythonTool } from "../test/tools/python.ts";

export const recipeSources = join(import.meta.dirname, "peers", "recipe");

/** What the recipe's Python imports, in a virtual environment. */
export const recipePackages = pythonTool("recipe-packages", "1", 15, join(recipeSources, "requirements.txt"));

export function python(): string {
  return pythonOf(recipePackages);
}
