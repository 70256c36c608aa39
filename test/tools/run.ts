import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { execa } from "execa";

export interface RunOptions {
  /** The file that the command's output is appended to. */
  readonly log: string;
  readonly cwd?: string;
  /** Added to this process's own environment. */
  readonly env?: Record<string, string>;
  readonly input?: string;
}

/** The end of a log, for an error message. */
export function tail(log: string, lines = 15): string {
  try {
    return readFileSync(log, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch {
    return "(no log)";
  }
}

/** Runs a command with its output in a log; a failure names the command, its exit code, the log and the log's end. */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<void> {
  mkdirSync(dirname(options.log), { recursive: true });
  const shown = [command, ...args].join(" ");
  appendFileSync(options.log, `$ ${shown}\n`);
  const output = { file: options.log, append: true } as const;
  const result = await execa(command, args, {
    reject: false,
    input: options.input ?? "",
    stdout: output,
    stderr: output,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  if (result.failed) {
    const how = result.exitCode === undefined ? result.shortMessage : `exit code ${result.exitCode}`;
    throw new Error(`\`${shown}\` failed (${how}). Its log is ${options.log}; the last lines:\n${tail(options.log)}`);
  }
}

/** Runs a command and returns what it printed. */
export async function capture(
  command: string,
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Promise<string> {
  const result = await execa(command, args, { ...options, reject: false, stdin: "ignore" });
  if (result.failed) {
    const how = result.exitCode === undefined ? result.shortMessage : `exit code ${result.exitCode}`;
    throw new Error(`\`${[command, ...args].join(" ")}\` failed (${how}): ${result.stderr}`);
  }
  return result.stdout;
}
