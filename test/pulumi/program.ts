/** How a run request of the engine becomes a command line of the SDK's `cmd/run`: arguments, environment, options. */
import type { ProgramInfo, RunRequest } from "@pulumi/pulumi/proto/language_pb.js";

/** What `runtime.options` in Pulumi.yaml may say. */
export interface RuntimeOptions {
  /** Whether the SDK is to compile the program by ts-node. @default true */
  readonly typescript: boolean;
  /** The tsconfig.json to compile it by. @default the program's own */
  readonly tsconfig: string | undefined;
  /** Arguments for Node.js itself. @default none */
  readonly nodeArguments: readonly string[];
}

/** Says the names, types and defaults that the real host has; what else it takes is about installing packages. */
export function parseOptions(options: Record<string, unknown>): RuntimeOptions {
  const { typescript = true, tsconfig, nodeargs = "" } = options;
  if (typeof typescript !== "boolean") throw new Error("typescript option must be a boolean");
  if (tsconfig !== undefined && typeof tsconfig !== "string") throw new Error("tsconfig option must be a string");
  if (typeof nodeargs !== "string") throw new Error("nodeargs option must be a string");
  return { typescript, tsconfig, nodeArguments: splitWords(nodeargs) };
}

/** Splits a line into words as a shell does, as far as quotes go. */
export function splitWords(line: string): string[] {
  const word = /(?:[^\s"']|"[^"]*"|'[^']*')+/g;
  if (line.replaceAll(word, "").trim() !== "") throw new Error(`nodeargs option has a quote without its end: ${line}`);
  return (line.match(word) ?? []).map((quoted) => quoted.replaceAll(/"([^"]*)"|'([^']*)'/g, "$1$2"));
}

/** The flags of `cmd/run`, the program and the program's arguments. */
export function runArguments(request: RunRequest, info: ProgramInfo, engineAddress: string): string[] {
  const flags: [string, string][] = [
    ["monitor", request.getMonitorAddress()],
    ["engine", engineAddress],
    ["organization", request.getOrganization()],
    ["project", request.getProject()],
    ["root-directory", info.getRootDirectory()],
    ["stack", request.getStack()],
    ["pwd", info.getProgramDirectory()],
    ["parallel", String(request.getParallel())],
  ];
  return [
    ...flags.filter(([, value]) => value !== "").flatMap(([flag, value]) => [`--${flag}`, value]),
    ...(request.getDryrun() ? ["--dry-run"] : []),
    info.getEntryPoint(),
    ...request.getArgsList(),
  ];
}

/** What the program finds in its environment beyond the engine's own. */
export function runEnvironment(request: RunRequest, options: RuntimeOptions): Record<string, string> {
  return {
    PULUMI_CONFIG: JSON.stringify(Object.fromEntries(request.getConfigMap().getEntryList())),
    PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
    ...(options.typescript ? { PULUMI_NODEJS_TYPESCRIPT: "true" } : {}),
    ...(options.tsconfig === undefined ? {} : { PULUMI_NODEJS_TSCONFIG_PATH: options.tsconfig }),
  };
}

/** The engine's address among a plugin's arguments, which is missing when the engine attaches to a running plugin. */
export function engineAddressFrom(argv: readonly string[]): string | undefined {
  const last = argv.at(-1);
  return last === undefined || last.startsWith("-") || argv.at(-2) === "--tracing" ? undefined : last;
}
