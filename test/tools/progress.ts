/**
 * Progress of long work: a line when a step begins, with where its log is, and a line when it ends, with how long it took.
 */

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Says how work goes on; on stderr, so that a command's result can be piped. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Writes a line of a command's result. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs one step and says how long it took, or that it failed. */
export async function step<T>(what: string, action: () => Promise<T>, log?: string): Promise<T> {
  const begun = performance.now();
  say(log === undefined ? `  … ${what}` : `  … ${what} (log: ${log})`);
  try {
    const result = await action();
    say(`  ✓ ${what}: ${seconds(performance.now() - begun)}`);
    return result;
  } catch (error) {
    say(`  ✗ ${what}: failed after ${seconds(performance.now() - begun)}`);
    throw error;
  }
}

/** Waits until a condition holds; past the deadline the error says what was waited for and what was seen last. */
export async function waitFor<T>(
  what: string,
  timeoutSeconds: number,
  probe: () => Promise<T | undefined>,
  details: () => string = () => "",
): Promise<T> {
  const deadline = performance.now() + timeoutSeconds * 1000;
  let last = "";
  for (;;) {
    try {
      const result = await probe();
      if (result !== undefined) return result;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > deadline) {
      const seen = [last, details()].filter((text) => text !== "").join("\n");
      throw new Error(`gave up after ${timeoutSeconds} s waiting for ${what}${seen === "" ? "" : `:\n${seen}`}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Checks once a second that something stays so, for as long as it could take to change; the check throws when it did. */
export async function staysSo(forSeconds: number, check: () => Promise<void>): Promise<void> {
  const until = performance.now() + forSeconds * 1000;
  while (performance.now() < until) {
    await check();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
