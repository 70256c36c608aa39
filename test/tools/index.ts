/**
 * The tools that a machine without Minikube and Pulumi needs: each built once from package registries and kept in the cache.
 */
import { type Artifact, artifactDir, build, isBuilt, logFile } from "./cache.ts";
import { goTools } from "./go-tools.ts";
import { needs } from "./needs.ts";
import { say, step } from "./progress.ts";
import { firefox, nodeRoot, prometheus, servers } from "./root-filesystems.ts";

const allTools: readonly Artifact[] = [servers, prometheus, firefox, nodeRoot, ...goTools];

/** The folder of a built tool; an error says how to build it. */
export function toolDir(artifact: Artifact): string {
  if (!isBuilt(artifact)) {
    throw new Error(`${artifact.name} ${artifact.version} isn't built; \`make tools\` builds it`);
  }
  return artifactDir(artifact);
}

/**
 * Builds what isn't built yet. Go builds take both cores, so they run one after the other; what mostly waits for the network
 * runs beside them.
 */
export async function buildTools(artifacts: readonly Artifact[] = allTools): Promise<void> {
  const missing = artifacts.filter((artifact) => !isBuilt(artifact));
  if (missing.length === 0) return;
  await needs("build tools");
  const minutes = Math.ceil(missing.reduce((sum, artifact) => sum + artifact.coldSeconds, 0) / 60);
  say(
    `${missing.length} of ${artifacts.length} tools are to be built, once for this machine: about ${minutes} min on 2 cores ` +
      `if nothing of them is cached. A run that is broken off goes on where it stopped.`,
  );
  let started = 0;
  const lane = async (own: readonly Artifact[]) => {
    for (const artifact of own) {
      started += 1;
      const log = logFile(`build-${artifact.name}`);
      const name = `[${started}/${missing.length}] build ${artifact.name} ${artifact.version}`;
      await step(name, () => build(artifact, log), log);
    }
  };
  const isGo = (artifact: Artifact) => goTools.includes(artifact);
  const lanes = await Promise.allSettled([
    lane(missing.filter(isGo)),
    lane(missing.filter((artifact) => !isGo(artifact))),
  ]);
  const failed = lanes.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}
