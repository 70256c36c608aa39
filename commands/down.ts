import { repositoryRoot } from "../components/content-tag.ts";
import { destroy } from "../test/cluster/cluster.ts";
import { say } from "../test/tools/progress.ts";
import { main, runShown } from "./process.ts";
import { openWorkspace, ownCluster, usesMinikube } from "./workspace.ts";

/** Takes stack dev down with all its data; a cluster of our own goes with it, a Minikube stays. */
await main(async () => {
  if (!usesMinikube()) {
    // The stack is nowhere but in this cluster, so that it is gone with it, even when half of it is broken.
    await destroy(ownCluster);
    say("The cluster and its data are gone; tools and images stay, so that `make up` is quick.");
    return;
  }
  const workspace = await openWorkspace();
  await runShown(workspace.pulumi, ["destroy", "--stack", "dev", "--yes", "--skip-preview"], {
    cwd: repositoryRoot,
    env: workspace.env,
  });
  say("Stack dev is gone; Minikube still runs (`minikube stop` stops it).");
});
