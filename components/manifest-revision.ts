import * as pulumi from "@pulumi/pulumi";
import { createHash } from "node:crypto";

/** What is the same exactly as long as what a manifest says is: sidecars read Dapr's manifests only when they start. */
export function manifestRevision(says: unknown, { id }: pulumi.CustomResource): pulumi.Output<string> {
  // The manifest's id is in it so that nobody has the new revision before the manifest is the new one.
  return pulumi
    .all([pulumi.output(says), id])
    .apply(([plain]) => createHash("sha256").update(JSON.stringify(plain)).digest("hex").slice(0, 16));
}
