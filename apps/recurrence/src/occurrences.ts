import type { Series } from "@event-flow/events";
import { RRuleTemporal } from "rrule-temporal";
import { Temporal } from "temporal-polyfill";
import { partsOf, untilOf } from "./rules.ts";

/** How far ahead an occurrence is looked for: beyond the eight years between leap days around 2100. */
const horizonYears = 10;

/** Days of a century: more than a rule is ever gone through. */
const maxIterations = 40_000;

/** More than clocks are ever set by. */
const oneDayAndABit: Temporal.DurationLike = { hours: 25 };

function wallTime(instant: Date, timeZone: string): Temporal.PlainDateTime {
  return Temporal.Instant.fromEpochMilliseconds(instant.getTime()).toZonedDateTimeISO(timeZone).toPlainDateTime();
}

/**
 * A rule over the wall clock, whatever that is set to: in UTC, where there is every time of each day. In a zone of its own the
 * library, as RFC 5545 has it, leaves out a time that doesn't exist, and who is to do something each night at 02:30 would have
 * nothing to do in one night of spring.
 */
function onWallClock(
  parts: ReadonlyMap<string, string>,
  start: Temporal.PlainDateTime,
  until?: Temporal.PlainDateTime,
) {
  return new RRuleTemporal({
    rruleString: [...parts].map(([name, value]) => `${name}=${value}`).join(";"),
    dtstart: start.toZonedDateTime("UTC"),
    ...(until !== undefined && { until: until.toZonedDateTime("UTC") }),
    // The first task is the first that COUNT counts, also where the rule wouldn't have made it.
    includeDtstart: true,
    strict: true,
    cache: false,
    maxIterations,
    temporal: Temporal,
  });
}

function toDate(wallClock: Temporal.PlainDateTime): Date {
  return new Date(wallClock.toZonedDateTime("UTC").epochMilliseconds);
}

function without(parts: ReadonlyMap<string, string>, ...names: string[]): Map<string, string> {
  return new Map([...parts].filter(([name]) => !names.includes(name)));
}

/**
 * The first occurrence of a series after a moment, which isn't before its start; undefined if it has ended by then.
 *
 * Days and the time of day are those of the series' time zone: what is due at 09:00 stays so when clocks are changed. A time
 * that doesn't exist on a day, as clocks were set forward, is as much later as they were set by; of one that there is twice it's
 * the first. A day that a month doesn't have is left out: the 31st is due in seven months a year (the last day of each is
 * BYMONTHDAY=-1).
 */
export function nextOccurrence({ rule, time_zone, starts_at }: Series, after: Date): Date | undefined {
  const parts = partsOf(rule);
  const start = wallTime(new Date(starts_at), time_zone);
  const from = wallTime(after, time_zone);
  // COUNT ends a rule by itself, and allows of no other end.
  const horizon = parts.has("COUNT") ? undefined : from.add({ years: horizonYears });
  const occurrences = onWallClock(without(parts, "UNTIL"), start, horizon);
  const until = untilOf(rule);
  // A time that doesn't exist comes later than the clock says, so that it may be after a moment that seems to be after it.
  let wallClock = from.subtract(oneDayAndABit);
  for (;;) {
    const next = occurrences.next(toDate(wallClock));
    if (!next) return undefined;
    wallClock = next.toPlainDateTime();
    const instant = new Date(wallClock.toZonedDateTime(time_zone).epochMilliseconds);
    if (until !== undefined && instant > until) return undefined;
    if (instant > after) return instant;
  }
}

/** What is wrong with a series that follows its schema, in words that complete "rule …"; undefined if nothing is. */
export function unsoundness({ rule, time_zone, starts_at }: Series): string | undefined {
  const until = untilOf(rule);
  if (until !== undefined && until < new Date(starts_at)) return "must not have an UNTIL before the due date";
  const start = wallTime(new Date(starts_at), time_zone);
  const endless = without(partsOf(rule), "COUNT", "UNTIL");
  let following: unknown;
  try {
    const occurrences = onWallClock(endless, start, start.add({ years: horizonYears }));
    following = occurrences.next(toDate(start));
  } catch (error) {
    return `must follow RFC 5545: ${error instanceof Error ? error.message : "it doesn't"}`;
  }
  return following ? undefined : `must match a day within ${horizonYears} years after the due date`;
}
