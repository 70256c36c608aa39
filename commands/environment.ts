import { delimiter, dirname } from "node:path";
import { print } from "../test/tools/progress.ts";
import { main } from "./process.ts";
import { openWorkspace } from "./workspace.ts";

function quote(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** Prints the shell commands that let `pulumi` and `kubectl` work on the stack that is up, for `eval`. */
await main(async () => {
  const { env, kubectl } = await openWorkspace();
  const path = [env["PATH"] ?? "", ...(kubectl.includes("/") ? [dirname(kubectl)] : [])].join(delimiter);
  const changed = Object.entries({ ...env, PATH: path }).filter(([name, value]) => process.env[name] !== value);
  for (const [name, value] of changed) print(`export ${name}=${quote(value)}`);
});
