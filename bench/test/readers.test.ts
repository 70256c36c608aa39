import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { repositoryRoot } from "../../components/content-tag.ts";
import { readResult } from "../load.ts";
import { follow } from "../log-lines.ts";
import { readStat } from "../meter.ts";
import { summarize } from "../profile.ts";

test("a result of vegeta is read with all digits of its time", () => {
  const line = {
    attack: "",
    seq: 3,
    code: 201,
    timestamp: "2026-11-25T01:44:46.123456789Z",
    latency: 1_500_000,
    error: "",
    body: Buffer.from('{"id":1}').toString("base64"),
    method: "POST",
    url: "http://127.0.0.1:8000/api/a/tasks?bench=Task+1.2+of+the+bench",
  };
  const answer = readResult(JSON.stringify(line));
  expect(answer).toMatchObject({ key: "Task 1.2 of the bench", latencyMs: 1.5, status: 201, body: '{"id":1}' });
  expect(answer.sentAt).toBeCloseTo(Date.parse("2026-11-25T01:44:46.123Z") + 0.456789, 3);
});

test("a time of whole seconds, and no answer", () => {
  const line = { code: 0, timestamp: "2026-11-25T01:44:46Z", latency: 0, body: null, url: "http://127.0.0.1/" };
  expect(readResult(JSON.stringify(line))).toEqual({
    key: "",
    sentAt: Date.parse("2026-11-25T01:44:46Z"),
    latencyMs: 0,
    status: 0,
    body: "",
  });
});

test("a process's parent and ticks, whatever its name", () => {
  const line = "42 (a (b) c) S 7 42 42 0 -1 4194304 100 0 0 0 11 12 13 14 20 0 1 0 100 1000 10";
  expect(readStat(line)).toEqual({ parent: 7, ticks: 50 });
});

test("a log is read on, line by line, as it grows", () => {
  const dir = mkdtempSync(join(tmpdir(), "event-flow-log-"));
  try {
    const file = join(dir, "log");
    appendFileSync(file, "one\ntw");
    const next = follow(file);
    expect(next()).toEqual(["one"]);
    expect(next()).toEqual([]);
    appendFileSync(file, "o\nthrée\n");
    expect(next()).toEqual(["two", "thrée"]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a profile is told by package and function, of the time at work within a span", () => {
  const file = (path: string) => pathToFileURL(join(repositoryRoot, path)).href;
  const node = (id: number, functionName: string, url = "") => ({
    id,
    callFrame: { functionName, url, lineNumber: 9 },
  });
  const profile = {
    nodes: [
      node(1, "(idle)"),
      node(2, "parse", file("node_modules/@scope/name/lib/a.js")),
      node(3, "", file("apps/backend/src/relay.ts")),
      node(4, "writev"),
      node(5, "(garbage collector)"),
    ],
    samples: [5, 1, 2, 3, 4, 2, 5],
    // The first one and the last are out of the span.
    timeDeltas: [1_000, 5_000, 2_000, 1_000, 500, 1_500, 1_000],
  };
  expect(summarize("backend", profile, { from: 2, to: 11 })).toEqual({
    app: "backend",
    busy: 0.5,
    modules: [
      { what: "@scope/name", share: 0.7 },
      { what: "apps/backend/src/relay.ts", share: 0.2 },
      { what: "(Node's native code)", share: 0.1 },
    ],
    functions: [
      { what: "parse — @scope/name/lib/a.js:10", share: 0.7 },
      { what: "(anonymous) — apps/backend/src/relay.ts:10", share: 0.2 },
      { what: "writev", share: 0.1 },
    ],
  });
});
