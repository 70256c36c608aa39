import { describe, expect, test } from "vitest";
import { nextOccurrence, unsoundness } from "../src/occurrences.ts";

const berlin = "Europe/Berlin";

/** A time as it is written in a zone, with its offset, in UTC. */
const utc = (time: string) => new Date(time).toISOString();

function next(rule: string, starts_at: string, after = starts_at, time_zone = berlin): string | undefined {
  return nextOccurrence({ rule, time_zone, starts_at }, new Date(after))?.toISOString();
}

/** A series as it is followed by who completes each task at once. */
function series(rule: string, starts_at: string, count: number, time_zone = berlin): string[] {
  const due: string[] = [];
  for (let last: string | undefined = starts_at; last !== undefined && due.length < count;) {
    last = next(rule, starts_at, last, time_zone);
    if (last !== undefined) due.push(last);
  }
  return due;
}

describe("when clocks change", () => {
  test("what is due at 09:00 stays so in autumn and in spring", () => {
    expect(series("FREQ=DAILY", "2026-10-24T09:00:00+02:00", 2)).toEqual(
      ["2026-10-25T09:00:00+01:00", "2026-10-26T09:00:00+01:00"].map(utc),
    );
    expect(series("FREQ=DAILY", "2027-03-27T09:00:00+01:00", 2)).toEqual(
      ["2027-03-28T09:00:00+02:00", "2027-03-29T09:00:00+02:00"].map(utc),
    );
    expect(next("FREQ=WEEKLY", "2027-03-10T09:00:00-05:00", undefined, "America/New_York")).toBe(
      utc("2027-03-17T09:00:00-04:00"),
    );
  });

  test("a time that doesn't exist comes later that day, and is itself again on the next one", () => {
    expect(series("FREQ=DAILY", "2027-03-27T02:30:00+01:00", 2)).toEqual(
      ["2027-03-28T03:30:00+02:00", "2027-03-29T02:30:00+02:00"].map(utc),
    );
    // Also for who completed the last one in between.
    expect(next("FREQ=DAILY", "2027-03-27T02:30:00+01:00", "2027-03-28T03:10:00+02:00")).toBe(
      utc("2027-03-28T03:30:00+02:00"),
    );
    expect(next("FREQ=YEARLY", "2026-03-28T02:30:00+01:00")).toBe(utc("2027-03-28T03:30:00+02:00"));
  });

  test("of a time that there is twice it's the first, and once", () => {
    expect(series("FREQ=DAILY", "2026-10-24T02:30:00+02:00", 2)).toEqual(
      ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"].map(utc),
    );
    expect(next("FREQ=DAILY", "2026-10-24T02:30:00+02:00", "2026-10-25T02:15:00+01:00")).toBe(
      utc("2026-10-26T02:30:00+01:00"),
    );
    // A series that starts with the second of them, too.
    expect(series("FREQ=DAILY", "2026-10-25T02:30:00+01:00", 1)).toEqual([utc("2026-10-26T02:30:00+01:00")]);
  });

  test("a day that a zone left out makes no day twice", () => {
    expect(series("FREQ=DAILY", "2011-12-28T09:00:00-10:00", 3, "Pacific/Apia")).toEqual(
      ["2011-12-29T09:00:00-10:00", "2011-12-31T09:00:00+14:00", "2012-01-01T09:00:00+14:00"].map(utc),
    );
  });

  test("the weekday is the zone's, not UTC's", () => {
    // Monday 00:30 in Tokyo, which is Sunday in UTC.
    expect(next("FREQ=WEEKLY;BYDAY=MO", "2027-01-04T00:30:00+09:00", undefined, "Asia/Tokyo")).toBe(
      utc("2027-01-11T00:30:00+09:00"),
    );
  });
});

describe("at the end of a month", () => {
  const days = (rule: string, start: string, count: number) =>
    series(rule, `${start}T09:00:00Z`, count, "UTC").map((time) => time.slice(0, 10));

  test("the 31st is left out where there is none, and comes back", () => {
    expect(days("FREQ=MONTHLY", "2027-01-31", 3)).toEqual(["2027-03-31", "2027-05-31", "2027-07-31"]);
    expect(days("FREQ=MONTHLY;BYMONTHDAY=31", "2027-01-31", 2)).toEqual(["2027-03-31", "2027-05-31"]);
  });

  test("the last day is asked for from the end", () => {
    expect(days("FREQ=MONTHLY;BYMONTHDAY=-1", "2028-01-31", 3)).toEqual(["2028-02-29", "2028-03-31", "2028-04-30"]);
    expect(days("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2027-01-29", 2)).toEqual([
      "2027-02-26",
      "2027-03-31",
    ]);
  });

  test("leap days come each four years, but around 2100", () => {
    expect(days("FREQ=YEARLY", "2028-02-29", 2)).toEqual(["2032-02-29", "2036-02-29"]);
    expect(days("FREQ=YEARLY", "2096-02-29", 1)).toEqual(["2104-02-29"]);
  });
});

describe("the end of a series", () => {
  test("COUNT counts from the first task, whenever its tasks are completed", () => {
    expect(series("FREQ=DAILY;COUNT=3", "2027-01-01T09:00:00Z", 9, "UTC")).toEqual(
      ["2027-01-02T09:00:00Z", "2027-01-03T09:00:00Z"].map(utc),
    );
    expect(next("FREQ=DAILY;COUNT=3", "2027-01-01T09:00:00Z", "2027-01-02T20:00:00Z")).toBe(
      utc("2027-01-03T09:00:00Z"),
    );
    expect(next("FREQ=DAILY;COUNT=3", "2027-01-01T09:00:00Z", "2027-01-03T20:00:00Z")).toBeUndefined();
    expect(next("FREQ=DAILY;COUNT=1", "2027-01-01T09:00:00Z")).toBeUndefined();
  });

  test("a first task that the rule wouldn't have made counts as well", () => {
    // A Wednesday.
    expect(series("FREQ=WEEKLY;BYDAY=MO;COUNT=3", "2027-01-06T09:00:00Z", 9, "UTC")).toEqual(
      ["2027-01-11T09:00:00Z", "2027-01-18T09:00:00Z"].map(utc),
    );
  });

  test("UNTIL is the last moment, and belongs to it", () => {
    expect(series("FREQ=DAILY;UNTIL=20270103T080000Z", "2027-01-01T09:00:00+01:00", 9)).toEqual(
      ["2027-01-02T08:00:00Z", "2027-01-03T08:00:00Z"].map(utc),
    );
    expect(series("FREQ=DAILY;UNTIL=20270103T075959Z", "2027-01-01T09:00:00+01:00", 9)).toHaveLength(1);
  });

  test("an interval is counted from the start, also where tasks are completed late", () => {
    expect(next("FREQ=DAILY;INTERVAL=3", "2027-01-01T09:00:00Z", "2027-01-05T12:00:00Z", "UTC")).toBe(
      utc("2027-01-07T09:00:00Z"),
    );
    expect(next("FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "2027-01-01T09:00:00Z", "2027-01-09T12:00:00Z", "UTC")).toBe(
      utc("2027-01-15T09:00:00Z"),
    );
  });
});

test("what is due at the moment itself isn't next", () => {
  expect(next("FREQ=DAILY", "2027-01-01T09:00:00Z", "2027-01-04T09:00:00Z")).toBe(utc("2027-01-05T09:00:00Z"));
  expect(next("FREQ=DAILY", "2027-01-01T09:00:00Z", "2027-01-04T08:59:59.999Z")).toBe(utc("2027-01-04T09:00:00Z"));
});

test("a series that is decades old goes on, without being gone through for long", () => {
  const begun = performance.now();
  expect(next("FREQ=DAILY;INTERVAL=7;BYMONTH=1,7", "2000-01-01T09:00:00Z", "2040-08-01T00:00:00Z", "UTC")).toMatch(
    /^2041-01-/,
  );
  expect(next("FREQ=MONTHLY;BYDAY=2TU", "2000-01-11T09:00:00Z", "2040-08-15T00:00:00Z", "UTC")).toBe(
    utc("2040-09-11T09:00:00Z"),
  );
  expect(performance.now() - begun).toBeLessThan(5_000);
});

describe("a rule is unsound", () => {
  const wrong = (rule: string, starts_at = "2027-01-01T09:00:00Z") =>
    unsoundness({ rule, time_zone: berlin, starts_at });
  const never = "must match a day within 10 years after the due date";

  test.each([
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1000",
    "FREQ=MONTHLY;BYMONTH=4,6,9,11;BYMONTHDAY=31",
    "FREQ=MONTHLY;BYDAY=6MO",
    "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=5",
    "FREQ=WEEKLY;INTERVAL=9999",
    "FREQ=YEARLY;INTERVAL=11",
  ])("as it never matches: %s", (rule) => {
    const begun = performance.now();
    expect(wrong(rule)).toBe(never);
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  test.each([
    ["FREQ=WEEKLY;BYDAY=1MO", "must follow RFC 5545: BYDAY with numeric value MUST NOT be used unless"],
    ["FREQ=WEEKLY;BYMONTHDAY=1", "must follow RFC 5545: BYMONTHDAY"],
    ["FREQ=DAILY;BYYEARDAY=1", "must follow RFC 5545: BYYEARDAY"],
    ["FREQ=MONTHLY;BYWEEKNO=1", "must follow RFC 5545: BYWEEKNO"],
    ["FREQ=MONTHLY;BYSETPOS=1", "must follow RFC 5545: BYSETPOS"],
    ["FREQ=DAILY;UNTIL=20261231T000000Z", "must not have an UNTIL before the due date"],
  ])("as the RFC has it: %s", (rule, message) => {
    expect(wrong(rule)).toContain(message);
  });

  test("but not for ending with its first task", () => {
    expect(wrong("FREQ=DAILY;COUNT=1")).toBeUndefined();
    expect(wrong("FREQ=YEARLY;UNTIL=20270101T090000Z")).toBeUndefined();
  });
});
