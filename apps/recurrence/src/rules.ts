import { z } from "zod";

const weekday = "(?:MO|TU|WE|TH|FR|SA|SU)";

function list(item: string): RegExp {
  return new RegExp(`^${item}(,${item})*$`);
}

function numbers(positive: string): RegExp {
  return list(`[+-]?(?:${positive})`);
}

/**
 * What a rule may have of RFC 5545 (https://www.rfc-editor.org/rfc/rfc5545#section-3.3.10), and in which words it's asked for.
 * No HOURLY and what is below it, and no BYHOUR: nobody completes a task several times a day by rule, the time of day is the
 * due date's, and each rule has at most one occurrence a day, which bounds the work of counting them.
 */
const parts: Readonly<Record<string, readonly [RegExp, string]>> = {
  FREQ: [/^(DAILY|WEEKLY|MONTHLY|YEARLY)$/, "DAILY, WEEKLY, MONTHLY or YEARLY"],
  INTERVAL: [/^[1-9]\d{0,3}$/, "a number from 1 to 9999"],
  // They are counted from the first one each time.
  COUNT: [/^([1-9]\d{0,2}|1000)$/, "a number from 1 to 1000"],
  UNTIL: [/^\d{8}T\d{6}Z$/, "a time in UTC like 20271231T225959Z"],
  // Nobody has a 53rd Monday of each year; the sixth of a month is none that there ever is.
  BYDAY: [
    list(`(?:[+-]?(?:[1-9]|[1-4]\\d|5[0-2]))?${weekday}`),
    "weekdays like MO,TU, each with a number up to 52 before it or none",
  ],
  BYMONTHDAY: [numbers("[1-9]|[12]\\d|3[01]"), "days from 1 to 31, or from -1 to -31 from the end"],
  BYYEARDAY: [
    numbers("[1-9]|[1-9]\\d|[12]\\d\\d|3[0-5]\\d|36[0-6]"),
    "days from 1 to 366, or from -1 to -366 from the end",
  ],
  BYWEEKNO: [numbers("[1-9]|[1-4]\\d|5[0-3]"), "weeks from 1 to 53, or from -1 to -53 from the end"],
  BYMONTH: [list("(?:[1-9]|1[0-2])"), "months from 1 to 12"],
  BYSETPOS: [
    numbers("[1-9]|[1-9]\\d|[12]\\d\\d|3[0-5]\\d|36[0-6]"),
    "positions from 1 to 366, or from -1 to -366 from the end",
  ],
  WKST: [list(weekday), "a weekday like MO"],
};

/** The parts of a rule, each by its name. */
export function partsOf(rule: string): Map<string, string> {
  return new Map(
    rule.split(";").map((part) => {
      const [name = "", ...value] = part.split("=");
      return [name, value.join("=")];
    }),
  );
}

/** The moment that a rule's UNTIL names; undefined if it has none. */
export function untilOf(rule: string): Date | undefined {
  const until = partsOf(rule).get("UNTIL");
  return until === undefined
    ? undefined
    : new Date(until.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
}

/** What is wrong with a rule as a text, in words that complete "it …"; undefined if nothing is. */
function misspelling(rule: string): string | undefined {
  const found = partsOf(rule);
  if (found.size < rule.split(";").length) return "must have each part once";
  for (const [name, value] of found) {
    const [pattern, allowed] = parts[name] ?? [];
    if (pattern === undefined || allowed === undefined) {
      return `must consist of ${Object.keys(parts).join(", ")}, like FREQ=WEEKLY;BYDAY=MO`;
    }
    if (!pattern.test(value)) return `must have as ${name} ${allowed}`;
  }
  if (!found.has("FREQ")) return "must have FREQ, like FREQ=WEEKLY;BYDAY=MO";
  if (found.has("COUNT") && found.has("UNTIL")) return "must not have both COUNT and UNTIL";
  if (Number.isNaN(untilOf(rule)?.getTime())) return "must have as UNTIL a time that there is";
  return undefined;
}

/** Whether the time zone database (https://www.iana.org/time-zones) has it. Offsets like +01:00 know no summer. */
function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return /^[A-Za-z]/.test(name);
  } catch {
    return false;
  }
}

/** How a task recurs, as users write it. Whether the rule has an occurrence is said by `unsoundness`. */
export const recurrenceSchema = z.strictObject({
  rule: z
    .string()
    .max(300)
    .toUpperCase()
    .check(({ value, issues }) => {
      const message = misspelling(value);
      if (message !== undefined) issues.push({ code: "custom", message, input: value });
    })
    .describe("RFC 5545's RRULE, DAILY or slower, e.g. `FREQ=WEEKLY;BYDAY=MO;COUNT=10`; its DTSTART is the due date"),
  time_zone: z
    .string()
    .max(64)
    .refine(isTimeZone, "must be a time zone of the IANA database, like Europe/Berlin")
    .describe("The IANA time zone that days and times of day are of"),
});

export type Recurrence = z.infer<typeof recurrenceSchema>;
