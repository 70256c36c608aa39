import { randomInt } from "node:crypto";
import { join } from "node:path";
import { writeReport } from "../bench/report.ts";
import { runBench } from "../bench/run.ts";
import { repositoryRoot } from "../components/content-tag.ts";
import { print } from "../test/tools/progress.ts";
import { main, readArguments } from "./process.ts";

const usage = "usage: bench.ts [--quick] [--profile] [--seed <n>] [--output <folder>]";

await main(async () => {
  const { values } = readArguments(usage, {
    options: {
      /** Measures a little of everything, in about two minutes: to try the bench itself. */
      quick: { type: "boolean", default: false },
      /** Also says where the services' time goes. */
      profile: { type: "boolean", default: false },
      seed: { type: "string", default: String(randomInt(2 ** 31)) },
      output: { type: "string", default: join(repositoryRoot, "bench", "results") },
    },
  });
  const seed = Number(values.seed);
  if (!Number.isInteger(seed)) throw new Error(`--seed is ${values.seed}; it must be a whole number`);
  const results = await runBench({ quick: values.quick, profile: values.profile, seed });
  print(await writeReport(results, values.output));
});
