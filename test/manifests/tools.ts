import { join } from "node:path";
import { execa } from "execa";
import { z } from "zod";
import { artifactDir } from "../tools/cache.ts";
import { kubeconform, kubeScore, versions } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import type { Manifest } from "../unit/support/manifests.ts";
import { location, schemas } from "./schemas.ts";

/** What a tool finds wrong, and in what. */
export interface Finding {
  readonly object: string;
  readonly check: string;
  readonly message: string;
}

/** As a file of manifests: JSON is YAML, and `on` stays a text in it. */
const fileOf = (manifests: readonly Manifest[]) =>
  manifests.map((manifest) => `---\n${JSON.stringify(manifest, null, 2)}\n`).join("");

async function output(command: string, args: readonly string[], input: string): Promise<unknown> {
  const { stdout, stderr } = await execa(command, args, { input, reject: false });
  try {
    return JSON.parse(stdout);
  } catch {
    throw new Error(`\`${[command, ...args].join(" ")}\` failed: ${stderr}${stdout}`);
  }
}

const conformReport = z.object({
  resources: z.array(z.object({ kind: z.string(), name: z.string(), status: z.string(), msg: z.string() })),
});

/** Checks manifests by the schemas of their kinds. Returns all that isn't valid, also what has no schema. */
export async function conform(manifests: readonly Manifest[]): Promise<Finding[]> {
  const args = ["-strict", "-verbose", "-output=json", "-schema-location", location(artifactDir(schemas)), "-"];
  const report = await output(join(toolDir(kubeconform), "kubeconform"), args, fileOf(manifests));
  const { resources } = conformReport.parse(report);
  if (resources.length !== manifests.length) {
    throw new Error(`kubeconform saw ${resources.length} of ${manifests.length} manifests`);
  }
  return resources
    .filter(({ status }) => status !== "statusValid")
    .map(({ kind, name, msg }) => ({ object: `${kind} ${name}`, check: "schema", message: msg }));
}

/** kube-score's grades go from 10, which is right, down to 1. */
const critical = 1;

const scoreReport = z.array(
  z.object({
    type_meta: z.object({ kind: z.string() }),
    object_meta: z.object({ name: z.string() }),
    checks: z.array(
      z.object({
        check: z.object({ id: z.string() }),
        grade: z.number(),
        skipped: z.boolean(),
        comments: z.array(z.object({ path: z.string(), summary: z.string() })).nullable(),
      }),
    ),
  }),
);

/** What it checks only when it's asked to. */
const also = ["container-seccomp-profile", "container-ports-check"].map((id) => `--enable-optional-test=${id}`);

/** Checks manifests by kube-score's rules. Returns what is critical. */
export async function score(manifests: readonly Manifest[]): Promise<Finding[]> {
  const [major, minor] = versions.kubernetes.split(".");
  const args = ["score", "--output-format=json", ...also, `--kubernetes-version=v${major}.${minor}`, "-"];
  const report = scoreReport.parse(await output(join(toolDir(kubeScore), "kube-score"), args, fileOf(manifests)));
  return report.flatMap(({ type_meta, object_meta, checks }) =>
    checks
      .filter(({ grade, skipped }) => !skipped && grade <= critical)
      .flatMap(({ check, comments }) =>
        (comments ?? []).map(({ path, summary }) => ({
          object: `${type_meta.kind} ${object_meta.name}`,
          check: check.id,
          message: path === "" ? summary : `${path}: ${summary}`,
        })),
      ),
  );
}
