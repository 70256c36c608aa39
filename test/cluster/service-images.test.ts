import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { serviceKeys, services } from "@event-flow/events";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { dockerfile, repositoryRoot } from "../../components/content-tag.ts";
import { serviceUser } from "../../components/pod-security.ts";
import { say } from "../tools/progress.ts";
import { nodeVersion } from "../tools/root-filesystems.ts";
import { imageBudget, inFull, serviceImage } from "./images.ts";
import { type ImageRoot, unpackImage } from "./image-root.ts";

const sbomSchema = z.object({
  bomFormat: z.literal("CycloneDX"),
  components: z.array(z.object({ name: z.string(), version: z.string(), purl: z.string() })),
});

const packageSchema = z.object({ name: z.string(), version: z.string() });

/** What is installed in an image, as `name@version`, by the manifests that are there: packages', not those of folders in them. */
function installed({ dir, entries }: ImageRoot): string[] {
  const isPackage = /(^app\/apps\/|\/node_modules\/(@[^/]+\/)?)[^/@][^/]*\/package\.json$/;
  return entries
    .filter(({ path, isFile }) => isFile && isPackage.test(path))
    .map(({ path }) => packageSchema.parse(JSON.parse(readFileSync(join(dir, path), "utf8"))))
    .map(({ name, version }) => `${name}@${version}`);
}

test("the base is the Node that all else runs, by its digest", () => {
  const [, base] = /^ARG NODE_IMAGE=(.*)$/m.exec(readFileSync(join(repositoryRoot, dockerfile), "utf8")) ?? [];
  const [name, digest] = base?.split("@") ?? [];
  expect(name).toBe(`node:${nodeVersion}-trixie-slim`);
  expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
});

test.each([
  ["postgres:17.6-trixie", "docker.io/library/postgres:17.6-trixie"],
  ["postgres:17.6-trixie@sha256:01", "docker.io/library/postgres@sha256:01"],
  ["apache/kafka:4.3.1@sha256:01", "docker.io/apache/kafka@sha256:01"],
  ["docker.redpanda.com/redpandadata/redpanda:v25", "docker.redpanda.com/redpandadata/redpanda:v25"],
  ["localhost:5000/backend@sha256:01", "localhost:5000/backend@sha256:01"],
])("%s is found as %s", (image, name) => {
  expect(inFull(image)).toBe(name);
});

const sizes: string[] = [];
afterAll(() => {
  say(`\nImages, before they are compressed (at most ${imageBudget / 1e6} MB):`);
  for (const size of sizes) say(`  ${size}`);
});

describe.each(serviceKeys.map((key) => ({ key, name: services[key].name })))("the image of $name", ({ key, name }) => {
  let image: ImageRoot;
  beforeAll(async () => {
    image = await unpackImage((await serviceImage(key)).path);
    sizes.push(`${name.padEnd(24)}${(image.bytes / 1e6).toFixed(0).padStart(4)} MB`);
  }, 600_000);
  afterAll(() => {
    image.remove();
  });

  test("has nothing but the service, Node and what Node is linked with: no shell, no package manager, no compiler", () => {
    const others = image.entries.filter(({ path, isFile, isLink }) => (isFile || isLink) && !path.startsWith("app/"));
    const libraries = others.filter(({ path }) =>
      /^(usr\/)?lib(64)?\/([\w-]+\/)?(ld-linux[\w-]*|lib[\w+]+)\.so\.\d+$/.test(path),
    );
    expect(libraries.length).toBeGreaterThan(3);
    expect(
      others
        .filter((entry) => !libraries.includes(entry))
        .map(({ path }) => path)
        .sort(),
    ).toEqual(["etc/group", "etc/nsswitch.conf", "etc/passwd", "usr/local/bin/node"]);
  });

  test("belongs to root, and its user can change nothing of it", () => {
    const wrong = image.entries.filter(({ path, isLink, mode, owner, group }) => {
      const writable = path !== "tmp" && !isLink && (mode & 0o022) !== 0;
      const gainsPrivileges = (mode & 0o6000) !== 0;
      return owner !== 0 || group !== 0 || writable || gainsPrivileges;
    });
    expect(wrong).toEqual([]);
    // By a number, which Kubernetes believes; the pods' own is the same.
    expect(image.config.User).toBe(`${serviceUser}:${serviceUser}`);
  });

  test("lists in its SBOM what is installed, and nothing else", () => {
    const { components } = sbomSchema.parse(JSON.parse(readFileSync(join(image.dir, "app", "sbom.cdx.json"), "utf8")));
    // npm calls a workspace by its folder; its `purl` has the name.
    const listed = components.map(({ purl, version }) => {
      const [, packageName = ""] = /^pkg:npm\/(.+)@[^@]+$/.exec(decodeURIComponent(purl)) ?? [];
      return `${packageName}@${version}`;
    });
    expect([...new Set(listed)].sort()).toEqual([...new Set(installed(image))].sort());
    expect(listed).toContain(`@event-flow/${name}@0.1.0`);
    expect(listed.join("\n")).not.toMatch(/^(npm|typescript|vitest|eslint|prettier|@pulumi\/pulumi)@/m);
    expect(globSync("**/{Dockerfile,*.test.ts}", { cwd: join(image.dir, "app", "apps") })).toEqual([]);
  });

  test("starts by what it has kept of compiling, as the user that it is for", async () => {
    const { User, Env, WorkingDir } = image.config;
    const variables = Env.map((variable) => /^(\w+)=(.*)$/s.exec(variable) ?? []);
    const env = Object.fromEntries(variables.map(([, variable = "", value = ""]) => [variable, value]));
    const { all } = await execa(
      "chroot",
      [`--userspec=${User}`, image.dir, "/usr/local/bin/node", join(WorkingDir, "src", "server.ts"), "--load-only"],
      // The path is for finding `chroot`.
      { env: { ...env, PATH: process.env["PATH"], NODE_DEBUG_NATIVE: "COMPILE_CACHE" }, extendEnv: false, all: true },
    );
    expect(all).toMatch(/transpile cache for StrippedTypeScript \S+\/src\/server\.ts\.\.\.success/);
    expect(all).not.toContain("no transpile cache");
  });

  test("is no larger than it may be", () => {
    expect(image.bytes).toBeLessThan(imageBudget);
  });
});
