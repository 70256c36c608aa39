import { join } from "node:path";
import { pythonOf, pythonTool } from "./python.ts";

/** Makes requests out of an OpenAPI document and judges the answers by it (https://schemathesis.readthedocs.io). */
export const schemathesis = pythonTool(
  "schemathesis",
  "4.32.5",
  30,
  join(import.meta.dirname, "schemathesis", "requirements.txt"),
);

export function schemathesisCommand(): readonly string[] {
  return [pythonOf(schemathesis), "-m", "schemathesis.cli"];
}
