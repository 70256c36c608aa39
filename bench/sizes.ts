import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { serviceKeys, services } from "@event-flow/events";
import { contentTag, repositoryRoot } from "../components/content-tag.ts";
import { cacheDir } from "../test/tools/cache.ts";
import { toolDir } from "../test/tools/index.ts";
import { recipePackages } from "./python.ts";
import type { Size } from "./results.ts";

interface Lock {
  readonly packages: Readonly<
    Record<
      string,
      { readonly dependencies?: Record<string, string>; readonly link?: boolean; readonly resolved?: string }
    >
  >;
}

function folderBytes(dir: string, exclude: readonly string[] = []): number {
  return globSync("**/*", { cwd: dir, exclude, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** The folders of everything that a workspace's production dependencies come to, found as Node finds a package. */
function productionFolders({ packages }: Lock, folder: string, found = new Set<string>()): Set<string> {
  if (found.has(folder)) return found;
  found.add(folder);
  for (const name of Object.keys(packages[folder]?.dependencies ?? {})) {
    let from = folder;
    while (packages[join(from, "node_modules", name)] === undefined && from !== "") {
      from = from.includes("/node_modules/") ? from.slice(0, from.lastIndexOf("/node_modules/")) : "";
    }
    const dependency = join(from, "node_modules", name);
    const { link, resolved } = packages[dependency] ?? {};
    productionFolders({ packages }, link === true ? (resolved ?? "") : dependency, found);
  }
  return found;
}

/** How large the services are: their images, where they have been built, and what is installed for each. */
export function measureSizes(): Size[] {
  const lock = JSON.parse(readFileSync(join(repositoryRoot, "package-lock.json"), "utf8")) as Lock;
  const ofServices = serviceKeys.flatMap((service) => {
    const { name } = services[service];
    const [archive] = globSync(`image-${name}-${contentTag(service)}-*/images.tar`, { cwd: join(cacheDir, "tools") });
    const folders = [...productionFolders(lock, `apps/${name}`)];
    return [
      ...(archive === undefined
        ? []
        : [{ what: `image of ${name}, with its base`, bytes: statSync(join(cacheDir, "tools", archive)).size }]),
      {
        what: `${name} with its production dependencies`,
        bytes: folders
          .map((folder) => join(repositoryRoot, folder))
          .filter((folder) => existsSync(folder))
          .reduce((sum, folder) => sum + folderBytes(folder, ["node_modules/**", "test/**"]), 0),
      },
    ];
  });
  return [
    ...ofServices,
    { what: "the recipe's Python packages", bytes: folderBytes(toolDir(recipePackages), ["**/__pycache__/**"]) },
  ];
}
