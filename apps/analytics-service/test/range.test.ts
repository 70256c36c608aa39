import { expect, test } from "vitest";
import { rangeOf } from "../src/range.ts";

const now = Date.parse("2026-03-01T23:30:00Z");

test.each([
  [{ time_zone: "UTC" }, "2026-01-31", "2026-03-01"],
  // There it's tomorrow, and here still yesterday.
  [{ time_zone: "Europe/Berlin" }, "2026-02-01", "2026-03-02"],
  [{ time_zone: "Pacific/Pago_Pago" }, "2026-01-31", "2026-03-01"],
  [{ time_zone: "UTC", from: "2026-02-28" }, "2026-02-28", "2026-03-01"],
  [{ time_zone: "UTC", to: "2024-02-29" }, "2024-01-31", "2024-02-29"],
  [{ time_zone: "UTC", to: "1970-01-02" }, "1970-01-01", "1970-01-02"],
  [{ time_zone: "UTC", from: "2024-01-01", to: "2024-12-31" }, "2024-01-01", "2024-12-31"],
])("%j is from %s to %s", (query, from, to) => {
  expect(rangeOf(query, now)).toEqual({ from, to, time_zone: query.time_zone });
});

test("a first day after today needs a last one", () => {
  expect(() => rangeOf({ time_zone: "UTC", from: "2026-03-02" }, now)).toThrow(
    "querystring/from: must not be after the last day, 2026-03-01",
  );
});
