import * as pulumi from "@pulumi/pulumi";
import { vi } from "vitest";
import { run, type Run } from "./pulumi.ts";

/** Runs the whole program with a stack's config, as `pulumi up` does. */
export function runProgram(config: Record<string, string>, stack = "dev", secretKeys: string[] = []): Promise<Run> {
  return run(async () => {
    pulumi.runtime.setAllConfig(config, secretKeys);
    vi.resetModules();
    return import("../../../index.ts");
  }, stack);
}
