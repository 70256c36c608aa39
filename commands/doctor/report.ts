/** What the doctor says, in a shape that scripts may count on. */
import { z } from "zod";

const verdict = z
  .enum(["sound", "found", "unknown"])
  .describe("`found`: something is wrong. `unknown`: nothing was found, but not all of it could be looked at");

export type Verdict = z.infer<typeof verdict>;

export const findingSchema = z.object({
  what: z.string().describe("What is wrong, and where"),
  mend: z.string().describe("The command that mends it, or that shows what to mend"),
});

export type Finding = z.infer<typeof findingSchema>;

export const resultSchema = z.object({
  check: z.string().describe("The check's name"),
  verdict,
  looked_at: z.array(z.string()).describe("What was looked at"),
  findings: z.array(findingSchema),
  unseen: z.array(z.string()).describe("What could not be looked at, and why"),
  milliseconds: z.int().nonnegative(),
});

export type Result = z.infer<typeof resultSchema>;

/** What `--json` prints. */
export const reportSchema = z.object({
  stack: z.enum(["dev", "prod"]),
  context: z.string().describe("The context of the kubeconfig"),
  namespace: z.string(),
  verdict,
  checks: z.array(resultSchema).describe("In the order of the table in the README"),
});

export type Report = z.infer<typeof reportSchema>;

/** What is wrong outweighs what isn't known, and that what is sound. */
export function worst(verdicts: readonly Verdict[]): Verdict {
  return (["found", "unknown"] as const).find((each) => verdicts.includes(each)) ?? "sound";
}

export const exitCodes: Readonly<Record<Verdict, number>> = { sound: 0, found: 1, unknown: 2 };

/** The report as people read it. */
export function render(
  { stack, context, namespace, verdict: whole, checks }: Report,
  colour: (verdict: Verdict, text: string) => string = (_, text) => text,
): string {
  const width = Math.max(...checks.map(({ check }) => check.length));
  const indent = " ".repeat(width + 4);
  const mark: Record<Verdict, string> = { sound: "✓", found: "✗", unknown: "?" };
  const lines = checks.flatMap(({ check, verdict: each, looked_at, findings, unseen }) => [
    `${colour(each, `${mark[each]} ${check.padEnd(width)}`)}  ${looked_at.join("; ") || "nothing"}`,
    ...findings.flatMap(({ what, mend }) => [`${indent}found: ${what}`, `${indent}mend:  ${mend}`]),
    ...unseen.map((why) => `${indent}could not look: ${why}`),
  ]);
  const found = checks.reduce((sum, { findings }) => sum + findings.length, 0);
  const unknown = checks.filter(({ verdict: each }) => each === "unknown").length;
  const counted = (count: number, one: string, more: string) => `${count} ${count === 1 ? one : more}`;
  const summary = {
    sound: `${counted(checks.length, "check", "checks")} made, nothing found.`,
    found: `${counted(found, "thing is", "things are")} wrong.`,
    unknown: `Nothing found, but ${counted(unknown, "check", "checks")} could not be made.`,
  }[whole];
  return [`Stack ${stack}, namespace ${namespace} of ${context}`, "", ...lines, "", colour(whole, summary)].join("\n");
}
