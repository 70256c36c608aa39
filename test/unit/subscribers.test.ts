import { readFileSync } from "node:fs";
import path from "node:path";
import { services, subscribers } from "@event-flow/events";
import { expect, test } from "vitest";

// The notification service has more to tell: its channels.
const plain = subscribers.filter((subscriber) => subscriber !== services.notificationService);

test.each(plain)("what makes $name a subscriber is at most 25 lines, as the README's guide says", ({ name }) => {
  const program = readFileSync(path.join("apps", name, "src", "app.ts"), "utf8");
  expect(program).toContain("createSubscriber({");
  expect(program.trimEnd().split("\n").length).toBeLessThanOrEqual(25);
});
