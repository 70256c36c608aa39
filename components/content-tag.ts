import { services, type ServiceKey } from "@event-flow/events";
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";

/** The root of this repository: the context that the images are built in. */
export const repositoryRoot = path.join(import.meta.dirname, "..");

/** The Dockerfile of all services, relative to the root; its build argument `SERVICE` says which. */
export const dockerfile = "apps/Dockerfile";

/**
 * A tag that is the same exactly as long as everything that a service's image is built from is: the Dockerfile, what
 * it installs, the service's own sources and those it shares. Tests are no part of an image.
 */
export function contentTag(service: ServiceKey, root: string = repositoryRoot): string {
  const hash = createHash("sha256").update(`${service}:`);
  for (const file of imageSources(service, root)) {
    // A length before each part, so that no two lists of files can be written alike.
    const content = readFileSync(path.join(root, file));
    hash.update(`${file.length}:${file}${content.length}:`).update(content);
  }
  return hash.digest("hex").slice(0, 16);
}

/** The files that `contentTag` looks at, relative to the root, sorted. */
export function imageSources(service: ServiceKey, root: string = repositoryRoot): string[] {
  const folders = [...withShared(`apps/${services[service].name}`, root)];
  const patterns = [
    dockerfile,
    ".dockerignore",
    "package.json",
    "package-lock.json",
    // `npm ci` needs the manifest of every workspace that the lockfile names.
    "apps/*/package.json",
    ...folders.map((folder) => `${folder}/**/*`),
  ];
  const excluded = folders.flatMap((folder) => [`${folder}/**/node_modules/**`, `${folder}/test/**`]);
  const found = globSync(patterns, { cwd: root, exclude: excluded, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"));
  return [...new Set(found)].sort();
}

const manifestSchema = z.object({ dependencies: z.record(z.string(), z.string()).default({}) });

/** A folder, and those of this repository that its package depends on: each has the name of its package. */
function withShared(folder: string, root: string, found = new Set<string>()): Set<string> {
  if (!found.has(folder)) {
    found.add(folder);
    const manifest = JSON.parse(readFileSync(path.join(root, folder, "package.json"), "utf8")) as unknown;
    for (const dependency of Object.keys(manifestSchema.parse(manifest).dependencies)) {
      const [scope, name = ""] = dependency.split("/");
      if (scope === "@event-flow") withShared(`apps/${name}`, root, found);
    }
  }
  return found;
}
