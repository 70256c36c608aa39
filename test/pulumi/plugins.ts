/**
 * Puts together, in a directory of its own, what Pulumi's release archive and plugin downloads would have brought: the command
 * line with its language host beside it, and the providers in the plugin cache. The command line, the engine and the
 * Kubernetes provider are the real ones; the language host and the random provider are the stand-ins beside this file, that for
 * DigitalOcean is in `../providers`.
 */
import { chmod, copyFile, link, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { execa } from "execa";
import { parse, stringify } from "yaml";

const NODE = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));

export interface PulumiArgs {
  /** Where everything goes: programs, plugins, the stacks' state and config. It may be there from an earlier time. */
  readonly directory: string;
  /** The `pulumi` command line. */
  readonly cli: string;
  /** The passphrase of the stacks' secrets; the one with which the directory was used before, if it was. */
  readonly passphrase: string;
  /** The `pulumi-resource-kubernetes` program. @default none, for stacks without Kubernetes resources */
  readonly kubernetesProvider?: string;
  /** The folder of the account that the stand-in for DigitalOcean's provider works on. @default none, for stacks without */
  readonly digitalocean?: string;
}

export interface Pulumi {
  /** The command line to run: the real one, in a place of its own. */
  readonly cli: string;
  /** The whole environment to run it in, not only what is added to one. */
  readonly env: Readonly<Record<string, string>>;
  /** Where everything is. */
  readonly directory: string;
}

export interface StackArgs {
  /** The directory of the program's Pulumi.yaml. */
  readonly project: string;
  /** The stack's name. */
  readonly stack: string;
  /** Settings by their full keys, of any form that YAML has, which are put into the stack's config. @default none */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface Stack {
  /** The stack's config file, which is also where its encryption salt is. */
  readonly configFile: string;
  /** The environment for this stack's commands: it makes `pulumi` use the config file above, not the one in the project. */
  readonly env: Readonly<Record<string, string>>;
}

/** Writes the programs and plugins, over those of an earlier time, and says how to run the command line. */
export async function installPulumi(args: PulumiArgs): Promise<Pulumi> {
  const directory = path.resolve(args.directory);
  const bin = path.join(directory, "bin");
  const home = path.join(directory, "home");
  const state = path.join(directory, "state");
  for (const part of [bin, home, state]) await mkdir(part, { recursive: true });

  const cli = path.join(bin, "pulumi");
  await placeProgram(args.cli, cli);
  await writeLauncher(path.join(bin, "pulumi-language-nodejs"), "language-host.ts");
  await writeLauncher(await pluginPath(home, "random"), "random-provider.ts");
  if (args.kubernetesProvider !== undefined) {
    const plugin = await pluginPath(home, "kubernetes");
    await rm(plugin, { force: true });
    await symlink(path.resolve(args.kubernetesProvider), plugin);
  }

  if (args.digitalocean !== undefined) {
    await writeLauncher(await pluginPath(home, "digitalocean"), "../providers/digitalocean/provider.ts");
  }

  return {
    cli,
    directory,
    env: {
      ...inheritedEnvironment(),
      ...(args.digitalocean === undefined ? {} : { EVENT_FLOW_CLOUD: path.resolve(args.digitalocean) }),
      PATH: [bin, path.dirname(NODE), process.env["PATH"] ?? ""].join(path.delimiter),
      PULUMI_HOME: home,
      PULUMI_BACKEND_URL: pathToFileURL(state).href,
      PULUMI_CONFIG_PASSPHRASE: args.passphrase,
      // What isn't here can't be fetched either: say so at once instead of trying.
      PULUMI_SKIP_UPDATE_CHECK: "true",
      PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    },
  };
}

/**
 * Creates the stack if it isn't there, and keeps its config apart from the project, whose own Pulumi.<stack>.yaml is neither
 * read nor written from then on.
 */
export async function createStack(pulumi: Pulumi, { project, stack, config }: StackArgs): Promise<Stack> {
  // `pulumi stack init` writes the salt beside Pulumi.yaml and takes no --config-file, so it gets a Pulumi.yaml elsewhere. The
  // stack belongs to the project by its name, not by its place.
  const description = await readFile(path.join(project, "Pulumi.yaml"), "utf8");
  const { name } = parse(description) as { name: string };
  const copy = path.join(pulumi.directory, "config", name);
  await mkdir(copy, { recursive: true });
  await writeFile(path.join(copy, "Pulumi.yaml"), description);
  await execa(pulumi.cli, ["--non-interactive", "stack", "select", "--create", stack], {
    cwd: copy,
    env: pulumi.env,
    extendEnv: false,
  });

  const configFile = path.join(copy, `Pulumi.${stack}.yaml`);
  if (config !== undefined) {
    const written = parse(await readFile(configFile, "utf8")) as { config?: Record<string, unknown> };
    await writeFile(configFile, stringify({ ...written, config: { ...written.config, ...config } }));
  }
  return {
    configFile,
    env: {
      ...pulumi.env,
      PULUMI_STACK: stack,
      // Any flag can be set like this, for all the commands that have it.
      PULUMI_OPTION_CONFIG_FILE: configFile,
      // `stack rm` would remove the project's file, whatever the flag above says. (`destroy --remove` does so in any case.)
      PULUMI_OPTION_PRESERVE_CONFIG: "true",
    },
  };
}

/**
 * A hard link or a copy, not a symbolic link: the engine looks for the language host beside the file that it runs from, and
 * warns of one that it finds elsewhere.
 */
async function placeProgram(from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  try {
    await link(from, to);
  } catch {
    await copyFile(from, to);
    await chmod(to, 0o755);
  }
}

/** Where the engine looks for the provider of an npm package, in the version that the package asks for. */
async function pluginPath(home: string, name: string): Promise<string> {
  const manifest = createRequire(import.meta.url).resolve(`@pulumi/${name}/package.json`);
  const { pulumi } = JSON.parse(await readFile(manifest, "utf8")) as { pulumi: { version: string } };
  const directory = path.join(home, "plugins", `resource-${name}-v${pulumi.version}`);
  await mkdir(directory, { recursive: true });
  return path.join(directory, `pulumi-resource-${name}`);
}

async function writeLauncher(file: string, script: string): Promise<void> {
  const words = [NODE, path.join(import.meta.dirname, script)].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  await writeFile(file, `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`);
  await chmod(file, 0o755);
}

/** This process's environment but for the settings of somebody's own Pulumi and the way to the network. */
function inheritedEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined && !entry[0].startsWith("PULUMI_") && !/^(https?|all|grpc)_proxy$/i.test(entry[0]),
    ),
  );
}
