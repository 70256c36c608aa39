import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { contentTag, imageSources } from "../../components/content-tag.ts";

let root: string;
const write = (file: string, content: string) => {
  mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
  writeFileSync(path.join(root, file), content);
};

/** What each package has of the others. */
const shared = {
  events: [],
  service: ["events"],
  subscriber: ["service"],
  backend: ["events", "service"],
  "notification-service": ["events", "subscriber"],
};

function manifest(packages: readonly string[]): string {
  const dependencies = packages.map((name) => [`@event-flow/${name}`, "0.1.0"]);
  return JSON.stringify({ dependencies: Object.fromEntries([["zod", "4.0.0"], ...dependencies]) as unknown });
}

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "event-flow-"));
  const files = [
    "package.json",
    "package-lock.json",
    ".dockerignore",
    "README.md",
    "index.ts",
    "components/images.ts",
    "apps/Dockerfile",
  ];
  for (const app of Object.keys(shared)) {
    files.push(`apps/${app}/src/index.ts`, `apps/${app}/test/a.test.ts`, `apps/${app}/node_modules/zod/index.js`);
  }
  for (const file of files) write(file, `the first ${file}`);
  for (const [app, packages] of Object.entries(shared)) write(`apps/${app}/package.json`, manifest(packages));
});

test("an image is built from exactly these files", () => {
  expect(imageSources("backend", root)).toEqual([
    ".dockerignore",
    "apps/Dockerfile",
    "apps/backend/package.json",
    "apps/backend/src/index.ts",
    "apps/events/package.json",
    "apps/events/src/index.ts",
    "apps/notification-service/package.json",
    "apps/service/package.json",
    "apps/service/src/index.ts",
    "apps/subscriber/package.json",
    "package-lock.json",
    "package.json",
  ]);
});

test("an image is also built from what is shared by way of another package", () => {
  const folders = new Set(
    imageSources("notificationService", root).flatMap((file) => /^apps\/(.*)\/src\//.exec(file)?.[1] ?? []),
  );
  expect([...folders]).toEqual(["events", "notification-service", "service", "subscriber"]);
});

test("a tag is 16 hexadecimal digits, the same each time, and another for each service", () => {
  expect(contentTag("backend", root)).toMatch(/^[0-9a-f]{16}$/);
  expect(contentTag("backend", root)).toBe(contentTag("backend", root));
  expect(contentTag("backend", root)).not.toBe(contentTag("notificationService", root));
});

describe("the backend's tag changes with", () => {
  test.each([
    ".dockerignore",
    "apps/Dockerfile",
    "apps/backend/src/index.ts",
    "apps/backend/src/routes/new.ts",
    "apps/events/src/index.ts",
    "apps/service/src/index.ts",
    "apps/service/package.json",
    "apps/notification-service/package.json",
    "package-lock.json",
    "package.json",
  ])("%s", (file) => {
    const before = contentTag("backend", root);
    write(file, /^apps\/.*json$/.test(file) ? manifest(["backend"]) : "another content");
    expect(contentTag("backend", root)).not.toBe(before);
  });

  test("a file that is removed or renamed", () => {
    const before = contentTag("backend", root);
    rmSync(path.join(root, "apps/events/src/index.ts"));
    const without = contentTag("backend", root);
    write("apps/events/src/other.ts", "the first apps/events/src/index.ts");
    expect(new Set([before, without, contentTag("backend", root)]).size).toBe(3);
  });
});

describe("the backend's tag does not change with", () => {
  test.each([
    "README.md",
    "index.ts",
    "components/images.ts",
    "apps/notification-service/src/index.ts",
    "apps/subscriber/src/index.ts",
    "apps/backend/test/a.test.ts",
    "apps/events/test/new.test.ts",
    "apps/service/node_modules/zod/index.js",
  ])("%s", (file) => {
    const before = contentTag("backend", root);
    write(file, "another content");
    expect(contentTag("backend", root)).toBe(before);
  });
});
