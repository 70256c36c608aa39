import { createReadStream, globSync, lstatSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { execa } from "execa";
import { z } from "zod";

/** A file of an image, or a folder. */
export interface Entry {
  /** From the image's root, without a leading `/`. */
  readonly path: string;
  readonly isFile: boolean;
  readonly isLink: boolean;
  readonly mode: number;
  readonly owner: number;
  readonly group: number;
  readonly bytes: number;
}

/** An image as a container would see it. */
export interface ImageRoot {
  /** The folder that its layers were put into. */
  readonly dir: string;
  readonly entries: readonly Entry[];
  /** How it runs, as its Dockerfile says. */
  readonly config: z.infer<typeof configSchema>["config"];
  /** What all its layers have, one upon the other, before they are compressed. */
  readonly bytes: number;
  readonly remove: () => void;
}

const manifestSchema = z.array(z.object({ Config: z.string(), Layers: z.array(z.string()) })).length(1);

const configSchema = z.object({
  config: z.object({ User: z.string(), Env: z.array(z.string()), WorkingDir: z.string(), Cmd: z.array(z.string()) }),
});

/** Unpacks an image's archive, as `docker save` writes it. */
export async function unpackImage(archive: string): Promise<ImageRoot> {
  const parent = await mkdtemp(join(tmpdir(), "event-flow-image-"));
  const [layers, dir] = [join(parent, "layers"), join(parent, "root")];
  mkdirSync(layers);
  mkdirSync(dir);
  await execa("tar", ["--extract", `--directory=${layers}`], { input: createReadStream(archive) });
  const json = (file: string): unknown => JSON.parse(readFileSync(join(layers, file), "utf8"));
  const [manifest] = manifestSchema.parse(json("manifest.json"));
  const { Config, Layers } = manifest ?? { Config: "", Layers: [] };
  const { config } = configSchema.parse(json(Config));
  for (const layer of Layers) {
    await execa(
      "tar",
      ["--extract", "--same-owner", "--numeric-owner", "--preserve-permissions", `--directory=${dir}`],
      {
        input: createReadStream(join(layers, layer)),
      },
    );
  }
  const bytes = Layers.reduce((sum, layer) => sum + lstatSync(join(layers, layer)).size, 0);
  rmSync(layers, { recursive: true });
  const entries = globSync("**/*", { cwd: dir, withFileTypes: true }).map((entry) => {
    const path = join(entry.parentPath, entry.name);
    const { mode, uid, gid, size } = lstatSync(path);
    return {
      path: relative(dir, path),
      isFile: entry.isFile(),
      isLink: entry.isSymbolicLink(),
      mode: mode & 0o7777,
      owner: uid,
      group: gid,
      bytes: entry.isFile() ? size : 0,
    };
  });
  const remove = () => {
    rmSync(parent, { recursive: true });
  };
  return { dir, entries, config, bytes, remove };
}
