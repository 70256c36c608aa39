import { expect, test } from "vitest";
import { type Machine, problemsOf } from "../tools/needs.ts";

const able: Machine = { platform: "linux", arch: "x64", uid: 0, goVersion: "go1.26.8", hasApt: true, missing: [] };

test("a machine that lacks nothing has no problem", () => {
  expect(problemsOf(able)).toEqual([]);
  expect(problemsOf({ ...able, goVersion: "go2.0" })).toEqual([]);
  expect(problemsOf({ ...able, missing: ["iptables"] })).toEqual([]);
  expect(problemsOf({ ...able, goVersion: undefined })).toEqual([]);
});

test.each<[Partial<Machine>, string]>([
  [{ platform: "darwin", arch: "arm64" }, "this is darwin on arm64; it takes Linux on x64. Use Minikube"],
  [{ uid: 1000 }, "this isn't root, and namespaces, mounts and containers need it. Run it with sudo, or use Minikube"],
  [{ goVersion: "" }, "there is no `go` on PATH. Install Go 1.26 or later: https://go.dev/dl"],
  [{ goVersion: "go1.19.8" }, "the `go` on PATH is go1.19.8. Install Go 1.26 or later: https://go.dev/dl"],
  [
    { hasApt: false, missing: ["iptables", "conntrack"] },
    "iptables, conntrack are missing. Install them by your system's packages",
  ],
])("what a machine lacks is named with the way to get it: %o", (change, problem) => {
  expect(problemsOf({ ...able, ...change })).toEqual([problem]);
});
