import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { daprVersion } from "../../components/versions.ts";
import { containerdSocket } from "../cluster/parts.ts";
import { cluster } from "../providers/digitalocean/hardware.ts";
import { daprd } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { run } from "../tools/run.ts";

/**
 * Gives the cluster a sidecar image that trusts a public authority, as Dapr's own does: it has the root certificates of the
 * public ones in it. `state.redis` has no other way to be told one.
 */
export async function trustInSidecars(dir: string, caFile: string): Promise<void> {
  rmSync(dir, { recursive: true, force: true });
  const root = join(dir, "root");
  mkdirSync(join(root, "etc", "ssl", "certs"), { recursive: true });
  copyFileSync(caFile, join(root, "etc", "ssl", "certs", "ca-certificates.crt"));
  copyFileSync(join(toolDir(daprd), "daprd"), join(root, "daprd"));

  const log = join(dir, "log");
  const layer = join(dir, "layer.tar");
  await run("tar", ["--owner=0", "--group=0", "-C", root, "-cf", layer, "."], { log });
  const digest = createHash("sha256");
  for await (const chunk of createReadStream(layer)) digest.update(chunk as Buffer);
  const image = `ghcr.io/dapr/daprd:${daprVersion}`;
  writeFileSync(
    join(dir, "config.json"),
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: { Entrypoint: ["/daprd"], User: "65532" },
      rootfs: { type: "layers", diff_ids: [`sha256:${digest.digest("hex")}`] },
    }),
  );
  writeFileSync(
    join(dir, "manifest.json"),
    JSON.stringify([{ Config: "config.json", RepoTags: [image], Layers: ["layer.tar"] }]),
  );
  const archive = join(dir, "image.tar");
  await run("tar", ["-C", dir, "-cf", archive, "manifest.json", "config.json", "layer.tar"], { log });
  await ctr(log, "images", "import", archive);
  rmSync(dir, { recursive: true });
}

/** Runs containerd's own client on the cluster. */
export async function ctr(log: string, ...args: string[]): Promise<void> {
  await run("ctr", [`--address=${containerdSocket(cluster)}`, "--namespace=k8s.io", ...args], { log });
}
