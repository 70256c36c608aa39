/**
 * Looks for what is wrong with a stack, and says how to mend it. It changes nothing: all it sends is one message to a topic
 * that nobody reads, and it opens connections that no policy allows.
 */
import { styleText } from "node:util";
import { repositoryRoot } from "../components/content-tag.ts";
import { capture } from "../test/tools/run.ts";
import { print, say } from "../test/tools/progress.ts";
import { type Check, examine, reason } from "./doctor/check.ts";
import { checks } from "./doctor/checks/index.ts";
import { exitCodes, render, type Report, type Verdict, worst } from "./doctor/report.ts";
import { outputsSchema } from "./doctor/stack.ts";
import { ClusterSystem, type Way } from "./doctor/system.ts";
import { readArguments } from "./process.ts";
import { inherited, visitWorkspace } from "./workspace.ts";

const usage = `usage: doctor.ts [--stack dev | prod] [--context <context> --namespace <namespace>] [--json]

Stack dev is looked for where \`make up\` put it, stack prod by \`pulumi stack output\`; with --context, through that one of the
kubeconfig. It needs kubectl, and Pulumi with the stack's state to know what there is to be.

--json prints a report of a fixed form (commands/doctor/report.ts) instead of text.

Exit codes: 0 nothing is wrong; 1 something is; 2 nothing was found, but not all of it could be looked at.

Checks: ${checks.map(({ name }) => name).join(", ")}.`;

/** How long a check may take. */
const timeoutMs = 45_000;

async function findWay({
  stack,
  context,
  namespace,
}: {
  stack: "dev" | "prod";
  context?: string;
  namespace?: string;
}): Promise<Way> {
  if (stack === "dev" && context === undefined) {
    return { ...(await visitWorkspace()), stack, repository: repositoryRoot, isFoundByItself: true };
  }
  const env = inherited();
  const outputs = async () => {
    const json = await capture("pulumi", ["stack", "output", "--stack", stack, "--json"], { cwd: repositoryRoot, env });
    return outputsSchema.parse(JSON.parse(json));
  };
  const found = context === undefined || namespace === undefined ? await outputs() : undefined;
  return {
    kubectl: "kubectl",
    pulumi: "pulumi",
    context: context ?? found?.kubeContext ?? "",
    namespace: namespace ?? found?.namespace ?? "",
    env,
    stack,
    repository: repositoryRoot,
    isFoundByItself: false,
  };
}

async function diagnose(system: ClusterSystem): Promise<Report> {
  const { stack, context, namespace } = system;
  const unreachable = await system.reach().then(
    () => undefined,
    (error: unknown) => `the cluster doesn't answer: ${reason(error)}`,
  );
  const each = (check: Check): Check =>
    unreachable === undefined ? check : { ...check, look: () => Promise.reject(new Error(unreachable)) };
  const results = await examine(system, checks.map(each), timeoutMs);
  return { stack, context, namespace, verdict: worst(results.map(({ verdict }) => verdict)), checks: results };
}

const colours: Record<Verdict, "green" | "red" | "yellow"> = { sound: "green", found: "red", unknown: "yellow" };

async function run(): Promise<number> {
  const { values } = readArguments(
    usage,
    {
      options: {
        stack: { type: "string", default: "dev" },
        context: { type: "string" },
        namespace: { type: "string" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    },
    exitCodes.unknown,
  );
  const { stack, context, namespace, json, help } = values;
  if (help) {
    print(usage);
    return exitCodes.sound;
  }
  if (stack !== "dev" && stack !== "prod") throw new Error(usage);
  const way = await findWay({
    stack,
    ...(context !== undefined && { context }),
    ...(namespace !== undefined && { namespace }),
  });
  const report = await diagnose(new ClusterSystem(way));
  // `styleText` leaves out colours where nobody sees them, or doesn't want to.
  const colour = (verdict: Verdict, text: string) => styleText(colours[verdict], text, { stream: process.stdout });
  if (!json && report.verdict === "found" && way.kubectl !== "kubectl") {
    say('These commands need an environment: eval "$(node_modules/.bin/node commands/environment.ts)"');
  }
  print(json ? JSON.stringify(report, undefined, 2) : render(report, colour));
  return exitCodes[report.verdict];
}

// Each way to a pod has a listener to this process's end.
process.setMaxListeners(100);
let exitCode = exitCodes.unknown;
try {
  exitCode = await run();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
}
// At once: what still waits for an answer is given up, and the ways to pods end with this process.
process.exit(exitCode);
