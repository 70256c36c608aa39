import { accessSync, constants } from "node:fs";
import path from "node:path";

/** The `pulumi` command line that the tests drive: the one that EVENT_FLOW_PULUMI names, or else the first on PATH. */
export function pulumiCli(): string {
  const named = process.env["EVENT_FLOW_PULUMI"];
  const places = (process.env["PATH"] ?? "").split(path.delimiter).map((directory) => path.join(directory, "pulumi"));
  const found = (named === undefined ? places : [named]).find(isExecutable);
  if (found === undefined) {
    throw new Error(
      named === undefined
        ? "no pulumi on PATH; set EVENT_FLOW_PULUMI to the path of one"
        : `EVENT_FLOW_PULUMI must be the path of a program, got ${named}`,
    );
  }
  return found;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
