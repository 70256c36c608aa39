/** The settings as people set them, by the real command line, and what the whole program says of absurd ones. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";
import { repositoryRoot } from "../../components/content-tag.ts";
import { pulumi as pulumiTool } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { createStack, installPulumi, type Pulumi, type Stack } from "./plugins.ts";

let directory: string;
let pulumi: Pulumi;
let stack: Stack;

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "event-flow-settings-"));
  const cli = path.join(toolDir(pulumiTool), "pulumi");
  pulumi = await installPulumi({ directory, cli, passphrase: "a passphrase of the tests" });
  stack = await createStack(pulumi, {
    project: repositoryRoot,
    stack: "dev",
    config: {
      "event-flow:environment": "dev",
      "event-flow:kubeconfig": path.join(repositoryRoot, "test", "unit", "fixtures", "kubeconfig.yaml"),
    },
  });
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

async function run(args: readonly string[], input = "") {
  const { exitCode, all } = await execa(pulumi.cli, ["--non-interactive", "--color", "never", ...args], {
    cwd: repositoryRoot,
    env: stack.env,
    extendEnv: false,
    reject: false,
    all: true,
    input,
  });
  return { code: exitCode, output: all };
}

it("are refused all at once, by one message without a stack trace, with what mends each", async () => {
  const set = async (...args: string[]) => {
    const { code, output } = await run(["config", "set", ...args]);
    expect(code, output).toBe(0);
  };
  await set("event-flow:otlpEndpoint", "http://collector:99999");
  await set("event-flow:namespace", "a: b\n- c");
  await set("event-flow:pushContact", "https://example.com/$(JWT_SECRET)");
  await set("event-flow:constructor", "x");
  await set("--path", "event-flow:broker.name", "kafka");
  await set("--path", "event-flow:images.from", "minikube");
  await set("--path", "event-flow:images.tags[0]", "latest");
  await set("event-flow:traceRatio", "1e309");
  await set("--secret", "event-flow:kubeContext", "hunter2");

  const { code, output } = await run(["preview"]);
  expect(code).not.toBe(0);
  expect(output).toContain("Stack dev was not deployed: its config has 8 problems.");
  for (const told of [
    'event-flow:otlpEndpoint is "http://collector:99999"; allowed: a URL without a path',
    'event-flow:namespace is "a: b\\u000a- c"; allowed: a Kubernetes name',
    'event-flow:pushContact is "https://example.com/$(JWT_SECRET)"; allowed: an address',
    "event-flow:constructor is not a key of this project.",
    'event-flow:broker is "{"name":"kafka"}"; allowed: redpanda, kafka.',
    'event-flow:images is {"from":"minikube","tags":["latest"]}; allowed: {"from":"minikube"}',
    'event-flow:traceRatio is "1e309"; allowed: a number from 0 to 1.',
    "event-flow:kubeContext is set as a secret, but is none",
  ]) {
    expect(output).toContain(told);
  }
  expect(output).not.toMatch(/^\s+at .*(file:|node:|\.ts:)/m);
  expect(output).not.toContain("hunter2");
});
