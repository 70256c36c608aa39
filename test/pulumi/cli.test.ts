/** The real command line and engine on a program of one password, with the stand-ins of this directory as their plugins. */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { pulumi as pulumiTool } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { createStack, installPulumi, type Pulumi, type Stack } from "./plugins.ts";

const PROGRAM = path.join(import.meta.dirname, "fixture");
const PASSPHRASE = "a passphrase of the tests";

let directory: string;
let pulumi: Pulumi;
let dev: Stack;

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "event-flow-pulumi-"));
  pulumi = await installPulumi({ directory, cli: path.join(toolDir(pulumiTool), "pulumi"), passphrase: PASSPHRASE });
  dev = await createStack(pulumi, { project: PROGRAM, stack: "dev" });
}, 120_000);

afterAll(async () => {
  const left = await processesOfOurs();
  for (const { id } of left) process.kill(id, "SIGKILL");
  await rm(directory, { recursive: true });
  expect(left).toEqual([]);
  expect(await readdir(PROGRAM)).toEqual(["Pulumi.yaml", "index.ts"]);
});

interface Ended {
  readonly code: number | undefined;
  readonly output: string;
}

async function run(stack: Stack, ...args: string[]): Promise<Ended> {
  const { exitCode, all } = await execa(pulumi.cli, ["--non-interactive", "--color", "never", ...args], {
    cwd: PROGRAM,
    env: stack.env,
    extendEnv: false,
    reject: false,
    all: true,
  });
  return { code: exitCode, output: all };
}

/** What a run says at its end, which is each message once, without the lines of progress before. */
function diagnostics(output: string): string {
  return output.slice(output.indexOf("Diagnostics:"));
}

function times(output: string, text: string): number {
  return output.split(text).length - 1;
}

interface Outputs {
  readonly password: string;
  readonly hash: string;
  readonly passwordLength: number;
  readonly token?: string;
}

async function outputs(stack: Stack): Promise<Outputs> {
  const { stdout } = await execa(pulumi.cli, ["stack", "output", "--json", "--show-secrets"], {
    cwd: PROGRAM,
    env: stack.env,
    extendEnv: false,
  });
  return JSON.parse(stdout) as Outputs;
}

/** The processes that have this test's plugin home in their environment: the command line and all that it started. */
async function processesOfOurs(): Promise<{ id: number; command: string }[]> {
  const found: { id: number; command: string }[] = [];
  for (const id of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    try {
      const environment = await readFile(`/proc/${id}/environ`, "utf8");
      if (!environment.includes(`PULUMI_HOME=${directory}`)) continue;
      found.push({ id: Number(id), command: (await readFile(`/proc/${id}/cmdline`, "utf8")).replaceAll("\0", " ") });
    } catch {
      // It ended in between, or is none of ours.
    }
  }
  return found;
}

async function until(what: string, condition: () => boolean | Promise<boolean>, seconds = 30): Promise<void> {
  const deadline = Date.now() + seconds * 1_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await delay(100);
  }
}

describe("installPulumi", { timeout: 60_000 }, () => {
  it("puts the providers where the engine looks for them, in the versions of the npm packages", async () => {
    const other = await installPulumi({
      directory: path.join(directory, "with-kubernetes"),
      cli: pulumi.cli,
      passphrase: PASSPHRASE,
      kubernetesProvider: process.execPath,
    });
    const { stdout } = await execa(other.cli, ["plugin", "ls", "--json"], { env: other.env, extendEnv: false });
    const versionOf = (name: string): string => {
      const manifest: unknown = createRequire(import.meta.url)(`@pulumi/${name}/package.json`);
      return (manifest as { version: string }).version;
    };
    const listed = JSON.parse(stdout) as { name: string; kind: string; version: string }[];
    expect(listed.map(({ name, kind, version }) => ({ name, kind, version }))).toEqual(
      ["kubernetes", "random"].map((name) => ({ name, kind: "resource", version: versionOf(name) })),
    );
  });

  it("may come again, over what is there", async () => {
    expect(
      await installPulumi({ directory, cli: path.join(toolDir(pulumiTool), "pulumi"), passphrase: PASSPHRASE }),
    ).toEqual(pulumi);
    const before = await readFile(dev.configFile, "utf8");
    expect(await createStack(pulumi, { project: PROGRAM, stack: "dev" })).toEqual(dev);
    expect(await readFile(dev.configFile, "utf8")).toBe(before);
  });

  it("adds settings to the stack's config, and keeps those that are there", async () => {
    const stack = { project: PROGRAM, stack: "configured" };
    await createStack(pulumi, { ...stack, config: { "fixture:length": 12, "fixture:object": { list: ["a"] } } });
    const { configFile } = await createStack(pulumi, { ...stack, config: { "fixture:length": 13 } });
    expect(parse(await readFile(configFile, "utf8"))).toEqual({
      encryptionsalt: expect.stringMatching(/^v1:/) as string,
      config: { "fixture:length": 13, "fixture:object": { list: ["a"] } },
    });
  });

  it("leaves out the settings of somebody's own Pulumi, and the proxies", () => {
    const ours = Object.keys(dev.env).filter((name) => name.startsWith("PULUMI_"));
    expect(ours.sort()).toEqual([
      "PULUMI_BACKEND_URL",
      "PULUMI_CONFIG_PASSPHRASE",
      "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION",
      "PULUMI_HOME",
      "PULUMI_OPTION_CONFIG_FILE",
      "PULUMI_OPTION_PRESERVE_CONFIG",
      "PULUMI_SKIP_UPDATE_CHECK",
      "PULUMI_STACK",
    ]);
    expect(Object.keys(dev.env).filter((name) => /proxy$/i.test(name) && !/^no_/i.test(name))).toEqual([]);
  });
});

describe("pulumi", { timeout: 60_000 }, () => {
  let first: Outputs;

  it("previews the program without making anything", async () => {
    const { code, output } = await run(dev, "preview");
    expect(output).toContain("+ 2 to create");
    expect(output).toContain("passwordLength: 24");
    expect(output).toMatch(/password +: \[unknown\]/);
    expect(diagnostics(output)).toContain("said on stdout");
    expect(diagnostics(output)).toContain("said on stderr");
    // Neither plugin is taken from an unexpected place, nor missed.
    expect(output).not.toContain("from $PATH");
    expect(code).toBe(0);
  });

  it("makes the password, and keeps it and its hash secret", async () => {
    const { code, output } = await run(dev, "up", "--yes", "--skip-preview");
    expect(output).toContain("+ 2 created");
    expect(output).toMatch(/password +: \[secret\]/);
    expect(output).toMatch(/hash +: \[secret\]/);
    expect(code).toBe(0);

    first = await outputs(dev);
    expect(first.password).toMatch(/^[0-9A-Za-z_-]{24}$/);
    expect(first.hash).toMatch(/^\$2a\$10\$/);
    expect(first.passwordLength).toBe(24);
    expect(output).not.toContain(first.password);
    expect(output).not.toContain(first.hash);

    const masked = await run(dev, "stack", "output");
    expect(masked.output).toMatch(/password +\[secret\]/);
    expect(masked.output).not.toContain(first.password);
  });

  it("writes neither into anything but the state, and there as ciphertext", async () => {
    const exported = await run(dev, "stack", "export");
    expect(exported.output).toContain('"ciphertext": "v1:');
    for (const secret of [first.password, first.hash]) expect(exported.output).not.toContain(secret);

    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name);
      if (!entry.isFile() || (await stat(file)).size > 10_000_000) continue;
      const text = await readFile(file, "utf8");
      expect(
        [first.password, first.hash, PASSPHRASE].filter((secret) => text.includes(secret)),
        file,
      ).toEqual([]);
    }
  });

  it("changes nothing the second time, nor by a refresh", async () => {
    const up = await run(dev, "up", "--yes", "--skip-preview", "--expect-no-changes");
    expect(up.output).toContain("2 unchanged");
    expect(up.code).toBe(0);
    const refresh = await run(dev, "refresh", "--yes", "--skip-preview", "--expect-no-changes");
    expect(refresh.code, refresh.output).toBe(0);
    expect(await outputs(dev)).toEqual(first);
  });

  it("reads and writes the stack's own config file, secrets encrypted", async () => {
    expect((await run(dev, "config", "set", "--secret", "token", "an API token")).code).toBe(0);
    const { code, output } = await run(dev, "up", "--yes", "--skip-preview");
    expect(output).toMatch(/\+ token +: \[secret\]/);
    expect(code).toBe(0);
    expect(await outputs(dev)).toEqual({ ...first, token: "an API token" });

    const text = await readFile(dev.configFile, "utf8");
    expect(text).toMatch(/^encryptionsalt: v1:/m);
    expect(text).toMatch(/fixture:token:\n +secure: v1:/);
    expect(existsSync(path.join(PROGRAM, "Pulumi.dev.yaml"))).toBe(false);
  });

  it("replaces the password when a keeper changes, and says so beforehand", async () => {
    await run(dev, "config", "set", "generation", "2");
    const preview = await run(dev, "preview", "--diff");
    expect(preview.output).toMatch(/\+-random:index\/randomPassword:RandomPassword: \(replace\)/);
    expect(preview.output).toContain('~ generation: "1" => "2"');
    const { code, output } = await run(dev, "up", "--yes", "--skip-preview");
    expect(output).toContain("+-1 replaced");
    expect(code).toBe(0);
    expect((await outputs(dev)).password).not.toBe(first.password);
  });

  it("refuses wrong inputs before anything is made", async () => {
    const { code, output } = await run(dev, "preview", "--config", "length=7");
    expect(diagnostics(output)).toContain(
      "must be at least the sum of minUpper, minLower, minNumeric, minSpecial, which is 8, got 7",
    );
    expect(code).not.toBe(0);
    await run(dev, "config", "rm", "length");
  });

  it("refuses a type that the stand-in doesn't know", async () => {
    const { code, output } = await run(dev, "preview", "--config", "fail=pet");
    expect(diagnostics(output)).toContain(
      "this stand-in for pulumi-resource-random has no resource type random:index/randomPet:RandomPet, only " +
        "random:index/randomPassword:RandomPassword",
    );
    expect(code).not.toBe(0);
  });

  it("shows what the program throws, once", async () => {
    const { code, output } = await run(dev, "preview", "--config", "fail=throw");
    expect(times(diagnostics(output), "the fixture fails on purpose")).toBe(1);
    expect(output).not.toContain("non-zero exit code");
    expect(code).not.toBe(0);
  });

  it("shows with which code the program ended, once", async () => {
    const { code, output } = await run(dev, "preview", "--config", "fail=exit");
    expect(times(diagnostics(output), "Program exited with non-zero exit code: 7")).toBe(1);
    expect(code).not.toBe(0);
    await run(dev, "config", "rm", "fail");
  });

  it("knows the program's dependencies and its Node.js", async () => {
    const { output } = await run(dev, "about");
    expect(output).toContain("+stand-in");
    expect(output).toContain(`version='${process.version}'`);
  });

  it("says that it installs nothing", async () => {
    const { code, output } = await run(dev, "install");
    expect(output).toContain("this stand-in for pulumi-language-nodejs installs nothing; run `npm ci`");
    expect(code).not.toBe(0);
  });

  it("destroys everything", async () => {
    const { code, output } = await run(dev, "destroy", "--yes", "--skip-preview");
    expect(output).toContain("- 2 deleted");
    expect(code).toBe(0);
    const { output: exported } = await run(dev, "stack", "export");
    expect((JSON.parse(exported) as { deployment: { resources?: unknown[] } }).deployment.resources ?? []).toEqual([]);
  });
});

describe("a program that doesn't end", { timeout: 60_000 }, () => {
  let hanging: Stack;

  beforeAll(async () => {
    hanging = await createStack(pulumi, { project: PROGRAM, stack: "hanging", config: { "fixture:fail": "hang" } });
  }, 60_000);

  const running = async (): Promise<boolean> =>
    (await processesOfOurs()).some(({ command }) => command.includes("cmd/run"));
  const gone = async (): Promise<boolean> => (await processesOfOurs()).length === 0;
  const preview = () =>
    execa(pulumi.cli, ["--non-interactive", "preview"], {
      cwd: PROGRAM,
      env: hanging.env,
      extendEnv: false,
      reject: false,
      all: true,
    });

  it("is stopped by an interrupt of the command line", async () => {
    const started = preview();
    await until("the program", running);
    started.kill("SIGINT");
    expect((await started).exitCode).not.toBe(0);
    await until("the end of every process", gone);
  });

  it("is stopped, with the plugins, when the command line is killed", async () => {
    const started = preview();
    await until("the program", running);
    started.kill("SIGKILL");
    await started;
    await until("the end of every process", gone);
  });
});
