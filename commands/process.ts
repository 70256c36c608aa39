import { parseArgs, type ParseArgsConfig } from "node:util";
import { execa } from "execa";
import { printable } from "../components/text.ts";

/** A command that ended in failure and has said itself what was wrong. */
export class CommandFailed extends Error {
  readonly exitCode: number;

  constructor(command: string, exitCode: number) {
    super(`${command} failed with exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Runs a command that talks to the user itself: its output is shown as it comes. */
export async function runShown(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  const result = await execa(command, args, {
    stdio: "inherit",
    reject: false,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env, extendEnv: false }),
  });
  if (result.failed) throw new CommandFailed([command, ...args].join(" "), result.exitCode ?? 1);
}

/** Reads the command line. What can't be understood is said in one line, with the usage, and ends the process. */
export function readArguments<T extends ParseArgsConfig>(
  usage: string,
  config: T,
  exitCode = 1,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    process.stderr.write(`${printable(error instanceof Error ? error.message : String(error))}\n${usage}\n`);
    process.exit(exitCode);
  }
}

/** Runs a `make` command's work; a failure is said in one text, without a stack trace, and ends in an exit code that isn't 0. */
export async function main(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    process.stderr.write(`\n${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof CommandFailed ? error.exitCode : 1;
  }
}
