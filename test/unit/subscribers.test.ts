import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { services, subscribers } from "@event-flow/events";
import { expect, test } from "vitest";

// The notification service has more to tell: its channels.
const plain = subscribers.filter((subscriber) => subscriber !== services.notificationService);

test.each(plain)("what makes $name a subscriber is at most 25 lines, as the README's guide says", ({ name }) => {
  const folder = path.join("apps", name, "src");
  const programs = readdirSync(folder)
    .map((file) => readFileSync(path.join(folder, file), "utf8"))
    .filter((program) => program.includes("createSubscriber({"));
  expect(programs).toHaveLength(1);
  expect(programs[0]?.trimEnd().split("\n").length).toBeLessThanOrEqual(25);
});
