import { HttpError } from "@event-flow/service";
import { z } from "zod";
import type { Range } from "./stats.ts";

const daysByDefault = 30;
const daysAtMost = 366;
const msPerDay = 24 * 3_600 * 1_000;

/** PostgreSQL would take an offset like +02:00 the other way round, as POSIX has it. */
function isTimeZone(name: string): boolean {
  try {
    return /^[A-Za-z]/.test(name) && new Intl.DateTimeFormat("en", { timeZone: name }).format() !== "";
  } catch {
    return false;
  }
}

const date = z.iso
  .date("must be a date like 2030-12-31")
  .refine((text) => text >= "1970-01-01", "must not be before 1970-01-01");

export const rangeQuery = z.strictObject({
  from: date.optional().describe(`The first day; by default ${daysByDefault - 1} days before the last`),
  to: date.optional().describe("The last day; by default today"),
  time_zone: z
    .string()
    .refine(isTimeZone, "must be a time zone's IANA name, like Europe/Berlin")
    .default("UTC")
    .describe("The IANA name of the time zone whose days these are"),
});

/** The day that it is somewhere. */
function dayIn(timeZone: string, time: number): string {
  const parts = new Intl.DateTimeFormat("en", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" })
    .formatToParts(time)
    .map(({ type, value }) => [type, value]);
  const { year = "", month = "", day = "" } = Object.fromEntries(parts) as Record<string, string | undefined>;
  return `${year}-${month}-${day}`;
}

/** The days that were asked for. */
export function rangeOf(query: z.infer<typeof rangeQuery>, now = Date.now()): Range {
  const { time_zone } = query;
  const to = query.to ?? dayIn(time_zone, now);
  const from = query.from ?? dayIn("UTC", Math.max(Date.parse(to) - (daysByDefault - 1) * msPerDay, 0));
  const days = (Date.parse(to) - Date.parse(from)) / msPerDay + 1;
  if (days < 1) throw new HttpError(400, `querystring/from: must not be after the last day, ${to}`);
  if (days > daysAtMost) throw new HttpError(400, `querystring/from: must be at most ${daysAtMost} days before ${to}`);
  return { from, to, time_zone };
}
