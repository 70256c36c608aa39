import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Artifact } from "./cache.ts";
import { capture, run } from "./run.ts";

/** The Kafka that the stand-in image and the tests run. */
export const kafkaVersion = "4.3.1";

/** npm's package `node` in package.json: the same Node goes into the stand-in of the official image. */
export const nodeVersion = (
  JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8")) as {
    devDependencies: { node: string };
  }
).devDependencies.node;

const npmVersion = "11.21.2";

const debian = "trixie";

/** What no program reads: half of a small root filesystem. (Not `man`: Java's package fails to install without it.) */
const unread = ["doc", "locale", "info", "lintian", "i18n"];

async function debianRoot(root: string, packages: readonly string[], hooks: readonly string[], log: string) {
  const exclusions = unread.map((folder) => `--dpkgopt=path-exclude=/usr/share/${folder}/*`);
  await run(
    "mmdebstrap",
    [
      "--variant=minbase",
      ...exclusions,
      `--include=${packages.join(",")}`,
      ...hooks.map((h) => `--customize-hook=${h}`),
      debian,
      root,
    ],
    { log },
  );
  // Device files are the container runtime's business.
  rmSync(join(root, "dev"), { recursive: true, force: true });
  mkdirSync(join(root, "dev"));
}

/** With libfaketime, tests set a program's clock. */
const serverPackages = ["postgresql-17", "valkey-server", "openjdk-21-jre-headless", "netcat-openbsd", "libfaketime"];

/** The official images of PostgreSQL and Valkey both run as 999; LLVM is PostgreSQL's JIT only, and 130 MB. */
const serverHooks = [
  'chroot "$1" groupmod --gid 999 postgres && chroot "$1" usermod --uid 999 --gid 999 postgres',
  'chroot "$1" groupmod --non-unique --gid 999 valkey && chroot "$1" usermod --non-unique --uid 999 --gid 999 valkey',
  'chroot "$1" useradd --uid 1000 --user-group --no-create-home appuser',
  'rm -f "$1"/usr/lib/*/libLLVM*',
];

const pom = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>event-flow</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${kafkaVersion}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>${kafkaVersion}</version></dependency>
    <!-- What Kafka logs with; its own distribution adds it, too. -->
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
`;

/**
 * PostgreSQL, Valkey, a Java runtime and Kafka in one Debian root filesystem: the stand-in images are made from it, and the
 * tests run its programs as processes.
 */
export const servers: Artifact = {
  name: "servers",
  version: `${debian}-kafka-${kafkaVersion}`,
  coldSeconds: 90,
  recipe: [...serverPackages, ...serverHooks, ...unread, pom],
  build: async (dir, log) => {
    const root = join(dir, "root");
    await debianRoot(root, serverPackages, serverHooks, log);
    const maven = join(dir, "maven");
    mkdirSync(maven);
    writeFileSync(join(maven, "pom.xml"), pom);
    const libs = join(root, "opt", "kafka", "libs");
    await run(
      "mvn",
      [
        "--batch-mode",
        "--quiet",
        "dependency:copy-dependencies",
        `-DoutputDirectory=${libs}`,
        "-DincludeScope=runtime",
      ],
      { cwd: maven, log },
    );
    rmSync(maven, { recursive: true });
  },
};

/** Prometheus with promtool. A root filesystem of its own: the stand-in images, which are made from the other one, have no use for it. */
export const prometheus: Artifact = {
  name: "prometheus",
  version: debian,
  coldSeconds: 45,
  recipe: unread,
  build: (dir, log) => debianRoot(join(dir, "root"), ["prometheus"], [], log),
};

/** A browser that tests drive: Firefox, as which push service it uses is a setting, and its own code does all the rest. */
export const firefox: Artifact = {
  name: "firefox",
  version: debian,
  coldSeconds: 90,
  recipe: unread,
  build: (dir, log) => debianRoot(join(dir, "root"), ["firefox-esr"], [], log),
};

/** The official image of Node, as far as a service needs it: Node and npm under /usr/local, a user `node` with the id 1000. */
export const nodeRoot: Artifact = {
  name: "node",
  version: `${nodeVersion}-${debian}`,
  coldSeconds: 60,
  recipe: [npmVersion, ...unread],
  build: async (dir, log) => {
    const root = join(dir, "root");
    await debianRoot(
      root,
      ["ca-certificates"],
      ['chroot "$1" useradd --uid 1000 --user-group --create-home node'],
      log,
    );
    cpSync(process.execPath, join(root, "usr", "local", "bin", "node"), { dereference: true });
    await run("npm", ["install", "--global", `--prefix=${join(root, "usr", "local")}`, `npm@${npmVersion}`], { log });
    await trustWhatThisMachineTrusts(root);
  },
};

/** A build step inside a container reaches the registry as this machine does: with its certificates and npm's settings. */
async function trustWhatThisMachineTrusts(root: string): Promise<void> {
  const bundle = "/etc/ssl/certs/ca-certificates.crt";
  if (existsSync(bundle)) cpSync(bundle, join(root, bundle), { dereference: true });
  const registry = await capture("npm", ["config", "get", "registry"]);
  mkdirSync(join(root, "usr", "local", "etc"), { recursive: true });
  writeFileSync(join(root, "usr", "local", "etc", "npmrc"), `registry=${registry}\ncafile=${bundle}\n`);
}
