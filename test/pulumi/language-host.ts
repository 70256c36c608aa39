/**
 * A stand-in for `pulumi-language-nodejs`, the plugin through which Pulumi's engine runs a Node.js program. The real one comes
 * with Pulumi's own release archives only; this one lets the same command line run where those can't be had.
 *
 * It does what `pulumi preview`, `up`, `refresh` and `destroy` ask for. It differs from the real one in this:
 * - It names no required packages. The engine then loads a provider when the first resource asks for it, instead of
 *   insisting that every provider package in node_modules has its plugin installed.
 * - The program talks to the engine directly, not through a proxy, and has no synchronous invokes (`sync`), which the
 *   generated SDKs have long stopped to use.
 * - It runs the program by the Node.js that runs itself, not by the first one on PATH.
 * - It installs, generates, packs and debugs nothing, and runs no plugins written in TypeScript.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ServerUnaryCall } from "@grpc/grpc-js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import languageServices, { type ILanguageRuntimeServer } from "@pulumi/pulumi/proto/language_grpc_pb.js";
import language, { type ProgramInfo, type RunRequest, type RunResponse } from "@pulumi/pulumi/proto/language_pb.js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import { servePlugin, statusOf, unary, Unimplemented } from "./plugin-server.ts";
import { engineAddressFrom, parseOptions, runArguments, runEnvironment, type RuntimeOptions } from "./program.ts";

/** With this code `cmd/run` says that the user has seen the error already. */
const ERROR_ALREADY_SHOWN = 32;
/** How long the program may take to stop after an interrupt, as with the real host. */
const GRACE_MILLISECONDS = 5_000;
const OUT_OF_MEMORY =
  "Detected a possible out of memory error. Consider the runtime option `nodeargs: --max-old-space-size=<megabytes>` in Pulumi.yaml";

let engineAddress = engineAddressFrom(process.argv.slice(2));
const programs = new Set<ChildProcess>();

type Served =
  | "handshake"
  | "getRequiredPackages"
  | "run"
  | "getPluginInfo"
  | "installDependencies"
  | "about"
  | "getProgramDependencies"
  | "cancel";

// The server answers UNIMPLEMENTED for every method that is missing here.
const host: Pick<ILanguageRuntimeServer, Served> = {
  handshake: unary((request) => {
    engineAddress = request.getEngineAddress();
    return new language.LanguageHandshakeResponse();
  }),

  getRequiredPackages: unary(() => new language.GetRequiredPackagesResponse()),

  run: unary(run),

  getPluginInfo: unary(() => new plugins.PluginInfo().setVersion(`${packageVersion("@pulumi/pulumi")}+stand-in`)),

  installDependencies: (call) => {
    const message = "this stand-in for pulumi-language-nodejs installs nothing; run `npm ci` in the project instead";
    call.emit("error", statusOf(new Unimplemented(message)));
  },

  about: unary(() => {
    const response = new language.AboutResponse().setExecutable(process.execPath).setVersion(process.version);
    response.getMetadataMap().set("packagemanager", "npm");
    return response;
  }),

  // The direct ones only, also when `transitiveDependencies` is asked for: it is `pulumi about` that shows them.
  getProgramDependencies: unary((request) =>
    new language.GetProgramDependenciesResponse().setDependenciesList(
      directDependencies(programInfo(request.getInfo()).getProgramDirectory()).map(({ name, version }) =>
        new language.DependencyInfo().setName(name).setVersion(version),
      ),
    ),
  ),

  cancel: unary(async () => {
    await stopPrograms();
    return new empty.Empty();
  }),
};

await servePlugin(languageServices.LanguageRuntimeService, host, stopPrograms);

async function run(request: RunRequest, call: ServerUnaryCall<RunRequest, RunResponse>): Promise<RunResponse> {
  if (engineAddress === undefined) throw new Error("the engine's address is unknown: call Handshake before Run");
  if (request.getAttachDebugger()) return failure("this stand-in for pulumi-language-nodejs attaches no debugger");

  const info = programInfo(request.getInfo());
  let options: RuntimeOptions;
  let executor: string;
  try {
    options = parseOptions(info.getOptions()?.toJavaScript() ?? {});
    executor = locateExecutor(info.getProgramDirectory());
  } catch (error) {
    return failure(error instanceof Error ? error.message : String(error));
  }

  const program = spawn(
    process.execPath,
    [...options.nodeArguments, executor, ...runArguments(request, info, engineAddress)],
    { env: { ...process.env, ...runEnvironment(request, options) }, stdio: ["ignore", "pipe", "pipe"] },
  );
  programs.add(program);
  call.once("cancelled", () => void stop(program));
  return outcome(program);
}

/** Passes on the program's output and waits for its end. */
async function outcome(program: ChildProcess): Promise<RunResponse> {
  const seen = { outOfMemory: false };
  // Pipes are written synchronously, so whatever the program printed is with the engine before its end is.
  program.stdout?.on("data", (chunk: Buffer) => process.stdout.write(chunk));
  program.stderr?.on("data", (chunk: Buffer) => {
    seen.outOfMemory ||= chunk.includes("<--- Last few GCs --->");
    process.stderr.write(chunk);
  });

  try {
    const drained = new Promise<void>((resolve) => program.once("close", resolve));
    const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
      program.once("error", reject);
      program.once("exit", (exitCode, exitSignal) => {
        resolve({ code: exitCode, signal: exitSignal });
      });
    });
    // Something that the program started may hold its output open for ever.
    await Promise.race([drained, delay(GRACE_MILLISECONDS, undefined, { ref: false })]);

    if (code === 0) return new language.RunResponse();
    if (code === ERROR_ALREADY_SHOWN) return new language.RunResponse().setBail(true);
    const ended = `Program exited with non-zero exit code: ${code === null ? `-1 (${signal ?? "no signal"})` : code}`;
    return failure(seen.outOfMemory ? `${ended}. ${OUT_OF_MEMORY}` : ended);
  } catch (error) {
    return failure(`Problem executing program (could not run language executor): ${String(error)}`);
  } finally {
    programs.delete(program);
  }
}

function failure(message: string): RunResponse {
  return new language.RunResponse().setError(message);
}

async function stopPrograms(): Promise<void> {
  await Promise.all([...programs].map(stop));
}

/** Interrupts the program, and kills it if it's still there after a while. */
async function stop(program: ChildProcess): Promise<void> {
  if (program.exitCode !== null || program.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => program.once("exit", resolve));
  program.kill("SIGINT");
  const killer = setTimeout(() => program.kill("SIGKILL"), GRACE_MILLISECONDS);
  await ended;
  clearTimeout(killer);
}

function programInfo(info: ProgramInfo | undefined): ProgramInfo {
  if (info === undefined) throw new Error("the engine sent no program info; it is older than this host");
  return info;
}

/** The SDK's entry point, as the program itself would find it. */
function locateExecutor(programDirectory: string): string {
  try {
    return createRequire(path.join(programDirectory, "package.json")).resolve("@pulumi/pulumi/cmd/run");
  } catch {
    throw new Error("It looks like the Pulumi SDK has not been installed. Have you run `npm ci`?");
  }
}

function directDependencies(directory: string): { name: string; version: string }[] {
  const manifest = readJson(path.join(directory, "package.json"));
  const names = [manifest["dependencies"], manifest["devDependencies"]].flatMap((group) =>
    typeof group === "object" && group !== null ? Object.keys(group) : [],
  );
  return names.map((name) => ({ name, version: packageVersion(name, directory) }));
}

function packageVersion(name: string, from: string = import.meta.dirname): string {
  for (const modules of createRequire(path.join(from, "package.json")).resolve.paths(name) ?? []) {
    try {
      const { version } = readJson(path.join(modules, name, "package.json"));
      if (typeof version === "string") return version;
    } catch {
      // It's not in this node_modules; look further up.
    }
  }
  throw new Error(`package ${name} isn't installed; run \`npm ci\``);
}

function readJson(file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
}
