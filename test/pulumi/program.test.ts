import language from "@pulumi/pulumi/proto/language_pb.js";
import { describe, expect, it } from "vitest";
import { engineAddressFrom, parseOptions, runArguments, runEnvironment, splitWords } from "./program.ts";

describe("parseOptions", () => {
  it("has the real host's defaults", () => {
    expect(parseOptions({})).toEqual({ typescript: true, tsconfig: undefined, nodeArguments: [] });
  });

  it("takes what Pulumi.yaml says, and leaves the package manager's options alone", () => {
    expect(
      parseOptions({
        typescript: false,
        tsconfig: "tsconfig.pulumi.json",
        nodeargs: "--max-old-space-size=4096 --no-warnings",
        packagemanager: "npm",
      }),
    ).toEqual({
      typescript: false,
      tsconfig: "tsconfig.pulumi.json",
      nodeArguments: ["--max-old-space-size=4096", "--no-warnings"],
    });
  });

  it.each([
    [{ typescript: "yes" }, "typescript option must be a boolean"],
    [{ tsconfig: 1 }, "tsconfig option must be a string"],
    [{ nodeargs: ["--inspect"] }, "nodeargs option must be a string"],
    [{ nodeargs: "--title='x" }, "nodeargs option has a quote without its end: --title='x"],
  ])("refuses %j", (options, message) => {
    expect(() => parseOptions(options)).toThrow(new Error(message));
  });
});

describe("splitWords", () => {
  it.each([
    ["", []],
    ["  a  b ", ["a", "b"]],
    [`--title="two words" 'a "b" c'`, ["--title=two words", 'a "b" c']],
    [`a"b"'c'd`, ["abcd"]],
    [`""`, [""]],
  ])("splits %j", (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });
});

describe("a run request", () => {
  const info = new language.ProgramInfo().setRootDirectory("/p").setProgramDirectory("/p/src").setEntryPoint(".");
  const request = new language.RunRequest()
    .setMonitorAddress("127.0.0.1:1")
    .setProject("event-flow")
    .setStack("dev")
    .setParallel(16);

  it("becomes the flags, the program and its arguments, without what is empty", () => {
    expect(runArguments(request, info, "127.0.0.1:2")).toEqual([
      ...["--monitor", "127.0.0.1:1", "--engine", "127.0.0.1:2", "--project", "event-flow", "--root-directory", "/p"],
      ...["--stack", "dev", "--pwd", "/p/src", "--parallel", "16", "."],
    ]);
  });

  it("says when it's a preview, and for which organization", () => {
    const preview = request.clone().setDryrun(true).setOrganization("us").setArgsList(["--its-own"]);
    expect(runArguments(preview, info, "127.0.0.1:2").slice(4, 6)).toEqual(["--organization", "us"]);
    expect(runArguments(preview, info, "127.0.0.1:2").slice(-3)).toEqual(["--dry-run", ".", "--its-own"]);
  });

  it("hands over the config and which of it is secret", () => {
    const configured = request.clone().setConfigsecretkeysList(["event-flow:token"]);
    configured.getConfigMap().set("event-flow:token", "t").set("event-flow:size", "3");
    expect(runEnvironment(configured, parseOptions({ typescript: false }))).toEqual({
      PULUMI_CONFIG: '{"event-flow:size":"3","event-flow:token":"t"}',
      PULUMI_CONFIG_SECRET_KEYS: '["event-flow:token"]',
    });
  });

  it("asks the SDK to compile only if the options say so", () => {
    expect(runEnvironment(request, parseOptions({ tsconfig: "t.json" }))).toEqual({
      PULUMI_CONFIG: "{}",
      PULUMI_CONFIG_SECRET_KEYS: "[]",
      PULUMI_NODEJS_TYPESCRIPT: "true",
      PULUMI_NODEJS_TSCONFIG_PATH: "t.json",
    });
  });
});

describe("engineAddressFrom", () => {
  it.each([
    [["127.0.0.1:5"], "127.0.0.1:5"],
    [["--logtostderr", "-v=9", "--tracing", "http://t", "127.0.0.1:5"], "127.0.0.1:5"],
    [[], undefined],
    [["-v=9"], undefined],
    [["--tracing", "http://t"], undefined],
  ])("finds in %j %j", (argv, address) => {
    expect(engineAddressFrom(argv)).toBe(address);
  });
});
