import { main } from "../../commands/process.ts";
import { destroy, down, up } from "./cluster.ts";
import { type ClusterName, clusterNames } from "./layout.ts";

const actions = { up, down, destroy };

const [action = "", name = "dev"] = process.argv.slice(2);

const isOneOf = <T extends string>(allowed: readonly T[], word: string): word is T =>
  (allowed as readonly string[]).includes(word);

if (!isOneOf(Object.keys(actions) as (keyof typeof actions)[], action) || !isOneOf<ClusterName>(clusterNames, name)) {
  process.stderr.write(`usage: cli.ts ${Object.keys(actions).join("|")} [${clusterNames.join("|")}]\n`);
  process.exit(2);
}
await main(async () => {
  await actions[action](name);
});
