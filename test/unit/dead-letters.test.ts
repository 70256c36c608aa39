import { deadLetterSchema } from "@event-flow/events";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deadLetterOf, eventIdOf, isTooDeep, readDeadLetter } from "../../apps/subscriber/src/dead-letters.ts";

const origin = { id: "task-events.task_created/0/1", topic: "task-events.task_created", key: "1" };
const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

test("whatever a message is, its dead letter follows the schema and is small enough to be kept", () => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
    fc.json().map((text) => Buffer.from(text)),
    fc
      .constantFrom(
        "",
        nested(99),
        nested(9_000),
        nested(100_000),
        "x".repeat(1_000_000),
        `"${"\\u0000".repeat(100_000)}"`,
      )
      .map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(message, (bytes) => {
      const letter = readDeadLetter(bytes, origin);
      const text = JSON.stringify(letter);
      expect(deadLetterSchema.parse(JSON.parse(text))).toEqual(JSON.parse(text));
      expect(text.length).toBeLessThan(500_000);
    }),
  );
});

describe("a letter that this service didn't write", () => {
  const forged = { ...origin, cause: "forged", failed_at: new Date().toISOString(), event: {} };
  test.each([
    ["names a topic that is a path", { topic: "../../../v1.0/state/statestore" }],
    ["names no topic", { topic: ".." }],
    ["has an id without an end", { id: "x".repeat(1_000) }],
    ["has a cause without an end", { cause: "x".repeat(10_000) }],
    ["has an event without an end", { event: "x".repeat(1_000_000) }],
  ])("and that %s is kept as what somebody wrote", (_, changes) => {
    const letter = readDeadLetter(Buffer.from(JSON.stringify({ ...forged, ...changes })), origin);
    expect(letter).toMatchObject({ ...origin, cause: "Dapr could not deliver it, or was told to drop it" });
  });
});

test("what is too large is cut, and says so", () => {
  expect(deadLetterOf(origin, "x".repeat(10_000), { id: "y".repeat(100_000) })).toEqual({
    ...origin,
    cause: "x".repeat(2_000),
    failed_at: expect.any(String) as string,
    event: `{"id":"${"y".repeat(993)}`,
    cut: true,
  });
  expect(eventIdOf({ id: "y".repeat(1_000) })).toBe("y".repeat(256));
  expect(deadLetterOf(origin, "why", { id: "a" })).not.toHaveProperty("cut");
});

test("a depth is told without a stack that overflows", () => {
  expect(isTooDeep(JSON.parse(nested(100)))).toBe(false);
  expect(isTooDeep(JSON.parse(nested(102)))).toBe(true);
  expect(isTooDeep(JSON.parse(nested(100_000)))).toBe(true);
  expect([undefined, null, 1, "[[", {}].map(isTooDeep)).toEqual([false, false, false, false, false]);
});
