import { readdirSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { seconds } from "../tools/progress.ts";
import { locate } from "../servers/locate.ts";
import { versions } from "../tools/go-tools.ts";
import { kafkaVersion } from "../tools/root-filesystems.ts";
import type { Request } from "./load-log.ts";
import type { Handling } from "./notification-log.ts";
import type { Violation } from "./verify.ts";

/** One fault that was done. */
export interface Occurrence {
  readonly fault: string;
  readonly kills: number;
  /** When it began, and when it was over, in milliseconds since 1970. */
  readonly begun: number;
  readonly ended: number;
  /** When all that was acknowledged before its end was handled and everything was ready; undefined if that never was so. */
  readonly recovered: number | undefined;
}

export interface Row {
  readonly fault: string;
  readonly times: number;
  readonly kills: number;
  readonly acknowledged: number;
  readonly handled: number;
  readonly lost: number;
  readonly doubled: number;
  /** In milliseconds; undefined if it never recovered. */
  readonly median: number | undefined;
  readonly longest: number | undefined;
}

/** What happened to the changes that were acknowledged while each fault lasted and the system recovered from it. */
export function rowsOf(
  occurrences: readonly Occurrence[],
  { requests, handlings }: { readonly requests: readonly Request[]; readonly handlings: readonly Handling[] },
): Row[] {
  const told = new Map<string, number>();
  const handled = new Set<string>();
  for (const { task, version, outcome } of handlings) {
    const key = `${task}/${version}`;
    if (outcome !== "outdated") handled.add(key);
    if (outcome === "told") told.set(key, (told.get(key) ?? 0) + 1);
  }
  const figures = (within: (at: number) => boolean) => {
    const keys = requests
      .filter(({ acknowledgedAt }) => acknowledgedAt !== undefined && within(acknowledgedAt))
      .map(({ task, version }) => `${task ?? 0}/${version}`);
    return {
      acknowledged: keys.length,
      handled: keys.filter((key) => handled.has(key)).length,
      lost: keys.filter((key) => !handled.has(key)).length,
      doubled: keys.filter((key) => (told.get(key) ?? 0) > 1).length,
    };
  };
  const rows = [...Map.groupBy(occurrences, ({ fault }) => fault)].map(([fault, each]): Row => {
    const took = each
      .map(({ ended, recovered }) => (recovered === undefined ? Infinity : recovered - ended))
      .sort((a, b) => a - b);
    const finite = (ms: number | undefined) => (ms === Infinity ? undefined : ms);
    return {
      fault,
      times: each.length,
      kills: each.reduce((sum, { kills }) => sum + kills, 0),
      ...figures((at) => each.some(({ begun, recovered = Infinity }) => at >= begun && at <= recovered)),
      median: finite(((took[(took.length - 1) >> 1] ?? 0) + (took[took.length >> 1] ?? 0)) / 2),
      longest: finite(took.at(-1)),
    };
  });
  const kills = rows.reduce((sum, row) => sum + row.kills, 0);
  const all = { fault: "the whole run", times: occurrences.length, kills, median: undefined, longest: undefined };
  return [...rows, { ...all, ...figures(() => true) }];
}

const columns: readonly (readonly [string, (row: Row) => string | number])[] = [
  ["fault", ({ fault }) => fault],
  ["times", ({ times }) => times],
  ["kills", ({ kills }) => kills],
  ["acknowledged", ({ acknowledged }) => acknowledged],
  ["handled", ({ handled }) => handled],
  ["lost", ({ lost }) => lost],
  ["doubled", ({ doubled }) => doubled],
  ["recovered after: median", ({ median }) => (median === undefined ? "–" : seconds(median))],
  ["longest", ({ longest }) => (longest === undefined ? "–" : seconds(longest))],
];

/** A table that can be read as it is and is Markdown, too. */
export function table(rows: readonly Row[]): string {
  const cells = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, value]) => String(value(row))))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => (line[index] ?? "").length)));
  const pad = (text: string, index: number) =>
    index === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[index] ?? 0);
  const [head, ...body] = cells.map((line) => `| ${line.map(pad).join(" | ")} |`);
  const rule = `| ${widths.map((width, index) => (index === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [head, rule, ...body].join("\n");
}

/** The versions of the programs under test. */
function versionsOfAll(): string {
  const installed = readFileSync(join(locate().root, "var", "lib", "dpkg", "status"), "utf8");
  const debian = (name: string) =>
    new RegExp(`^Package: ${name}\n(?:.+\n)*?Version: (.+)$`, "m").exec(installed)?.[1] ?? "";
  return [
    `Node ${process.versions.node}`,
    `Dapr ${versions.dapr}`,
    `Kafka ${kafkaVersion}`,
    `PostgreSQL ${debian("postgresql-17")}`,
    `Valkey ${debian("valkey-server")}`,
  ].join(", ");
}

/** A run's report in Markdown. */
export function report(run: {
  readonly seed: number;
  readonly durationMs: number;
  readonly rows: readonly Row[];
  readonly violations: readonly Violation[];
}): string {
  const { seed, durationMs, rows, violations } = run;
  const processors = cpus();
  return `# Proof by killing

${new Date().toISOString()}, seed ${seed}, ${(durationMs / 60_000).toFixed(1)} min.
${processors.length} × ${processors[0]?.model ?? "an unknown processor"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}.
${versionsOfAll()}.

${table(rows)}

${violations.length === 0 ? "No violation." : violations.map((violation) => `- ${inWords(violation)}`).join("\n")}
`;
}

function inWords({ kind, task, version, text }: Violation): string {
  const which = [
    ...(task === undefined ? [] : [`task ${task}`]),
    ...(version === undefined ? [] : [`version ${version}`]),
  ];
  return [kind, ...which, text].join(", ");
}

/** More of them say nothing new. */
const explainedAtMost = 10;

/** The first violations in full: what the logs say of the change that each is about. */
export function explain(violations: readonly Violation[], logs: string): string {
  const files = readdirSync(logs)
    .filter((name) => name.endsWith(".log"))
    .map((name) => ({ name, lines: readFileSync(join(logs, name), "utf8").split("\n") }));
  const about = ({ task }: Violation) => {
    if (task === undefined) return [];
    const tells = new RegExp(`"(task|taskId)":${task}[,}]`);
    return files.flatMap(({ name, lines }) =>
      lines.filter((line) => tells.test(line)).map((line) => `    ${name}: ${line}`),
    );
  };
  const shown = violations.slice(0, explainedAtMost).flatMap((violation) => {
    return [`  ${inWords(violation)}`, ...about(violation)];
  });
  return [`${violations.length} violations; all logs are in ${logs}`, ...shown].join("\n");
}
