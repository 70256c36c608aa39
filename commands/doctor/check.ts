import { type Finding, type Result, worst } from "./report.ts";
import type { System } from "./system.ts";

/** One point that the doctor looks at. It changes nothing, and knows nothing of other checks. */
export interface Check {
  readonly name: string;
  readonly look: (system: System, notes: Notes) => Promise<void>;
}

/** What a check looked at, found, and could not look at. */
export class Notes {
  readonly lookedAt: string[] = [];
  readonly findings: Finding[] = [];
  readonly unseen: string[] = [];

  at(what: string): void {
    this.lookedAt.push(what);
  }

  found(what: string, mend: string): void {
    // Two pods of one service have the same trouble: once is enough.
    if (!this.findings.some((finding) => finding.what === what)) this.findings.push({ what, mend });
  }

  couldNotLook(why: string): void {
    if (!this.unseen.includes(why)) this.unseen.push(why);
  }

  /** Looks at a part; what keeps it from being seen doesn't keep the check from going on. */
  async part(what: string, look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch (error) {
      this.couldNotLook(`${what}: ${reason(error)}`);
    }
  }
}

/** An error in one line. */
export function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.trim().split("\n").slice(0, 3).join(" ");
}

/** Makes all checks, side by side: one that fails, or isn't done in time, is no matter of the others. */
export function examine(system: System, checks: readonly Check[], timeoutMs: number): Promise<Result[]> {
  return Promise.all(checks.map((check) => examineOne(system, check, timeoutMs)));
}

async function examineOne(system: System, { name, look }: Check, timeoutMs: number): Promise<Result> {
  const notes = new Notes();
  const begun = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`not done within ${timeoutMs / 1_000} s`));
    }, timeoutMs);
  });
  try {
    await Promise.race([look(system, notes), tooLate]);
  } catch (error) {
    notes.couldNotLook(reason(error));
  } finally {
    clearTimeout(timer);
  }
  const verdicts = [
    notes.findings.length > 0 ? "found" : "sound",
    notes.unseen.length > 0 ? "unknown" : "sound",
  ] as const;
  return {
    check: name,
    verdict: worst(verdicts),
    looked_at: notes.lookedAt.map(system.redact),
    findings: notes.findings.map(({ what, mend }) => ({ what: system.redact(what), mend })),
    unseen: notes.unseen.map(system.redact),
    milliseconds: Math.round(performance.now() - begun),
  };
}
