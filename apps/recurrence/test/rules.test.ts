import { describe, expect, test } from "vitest";
import { recurrenceSchema } from "../src/index.ts";

function refusal(rule: string, time_zone = "Europe/Berlin"): string | undefined {
  const { error } = recurrenceSchema.safeParse({ rule, time_zone });
  return error?.issues.map(({ path, message }) => `${path.join(".")} ${message}`).join("; ");
}

test.each([
  "FREQ=DAILY",
  "FREQ=DAILY;INTERVAL=2;COUNT=1000",
  "FREQ=WEEKLY;BYDAY=MO,WE,FR;WKST=SU;UNTIL=20271231T225959Z",
  "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
  "FREQ=MONTHLY;BYDAY=-1FR,+2MO",
  "FREQ=MONTHLY;BYMONTHDAY=1,15,-1",
  "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
  "FREQ=YEARLY;BYYEARDAY=1,-366;BYWEEKNO=53",
])("%s is taken", (rule) => {
  expect(refusal(rule)).toBeUndefined();
});

test("a rule is the same however it's written", () => {
  const { rule } = recurrenceSchema.parse({ rule: "freq=weekly;byday=mo", time_zone: "UTC" });
  expect(rule).toBe("FREQ=WEEKLY;BYDAY=MO");
});

describe("is refused with what is wrong:", () => {
  const consist =
    "rule must consist of FREQ, INTERVAL, COUNT, UNTIL, BYDAY, BYMONTHDAY, BYYEARDAY, BYWEEKNO, BYMONTH, BYSETPOS, WKST, " +
    "like FREQ=WEEKLY;BYDAY=MO";
  test.each([
    ["", consist],
    ["every monday", consist],
    ["RRULE:FREQ=DAILY", consist],
    ["FREQ=DAILY;", consist],
    ["FREQ=DAILY;BYHOUR=9,17", consist],
    ["FREQ=DAILY\nEXDATE:20270101T000000Z", "rule must have as FREQ DAILY, WEEKLY, MONTHLY or YEARLY"],
    ["FREQ=HOURLY", "rule must have as FREQ DAILY, WEEKLY, MONTHLY or YEARLY"],
    ["INTERVAL=2", "rule must have FREQ, like FREQ=WEEKLY;BYDAY=MO"],
    ["FREQ=DAILY;FREQ=WEEKLY", "rule must have each part once"],
    ["FREQ=DAILY;INTERVAL=0", "rule must have as INTERVAL a number from 1 to 9999"],
    ["FREQ=DAILY;COUNT=1001", "rule must have as COUNT a number from 1 to 1000"],
    ["FREQ=DAILY;COUNT=-1", "rule must have as COUNT a number from 1 to 1000"],
    ["FREQ=DAILY;COUNT=2;UNTIL=20270101T000000Z", "rule must not have both COUNT and UNTIL"],
    ["FREQ=DAILY;UNTIL=20270101", "rule must have as UNTIL a time in UTC like 20271231T225959Z"],
    ["FREQ=DAILY;UNTIL=20271331T000000Z", "rule must have as UNTIL a time that there is"],
    ["FREQ=MONTHLY;BYMONTHDAY=32", "rule must have as BYMONTHDAY days from 1 to 31, or from -1 to -31 from the end"],
    [
      "FREQ=MONTHLY;BYDAY=XX",
      "rule must have as BYDAY weekdays like MO,TU, each with a number up to 52 before it or none",
    ],
    ["FREQ=YEARLY;BYMONTH=13", "rule must have as BYMONTH months from 1 to 12"],
  ])("%j", (rule, message) => {
    expect(refusal(rule)).toBe(message);
  });

  test("too long", () => {
    expect(refusal(`FREQ=YEARLY;BYYEARDAY=${Array.from({ length: 200 }, () => "1").join(",")}`)).toMatch(/300/);
  });

  test.each(["Mars/Olympus", "+01:00", "", "Europe/Berlin; drop table tasks"])("the time zone %j", (zone) => {
    expect(refusal("FREQ=DAILY", zone)).toBe("time_zone must be a time zone of the IANA database, like Europe/Berlin");
  });
});
