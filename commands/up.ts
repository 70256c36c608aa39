import { repositoryRoot } from "../components/content-tag.ts";
import { deployed, followOneEvent } from "../test/flow/flow.ts";
import { say, seconds } from "../test/tools/progress.ts";
import { main, runShown } from "./process.ts";
import { startWorkspace } from "./workspace.ts";

/** Everything from nothing: a cluster, `pulumi up --stack dev` on it, and one event followed through it. */
await main(async () => {
  const begun = performance.now();
  const workspace = await startWorkspace();
  await runShown(workspace.pulumi, ["up", "--stack", "dev", "--yes", "--skip-preview"], {
    cwd: repositoryRoot,
    env: workspace.env,
  });
  await followOneEvent(deployed(workspace));
  say(
    `\nStack dev is up after ${seconds(performance.now() - begun)}. \`make flow\` proves it again, \`make down\` takes it down.`,
  );
});
