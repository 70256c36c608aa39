/**
 * Runs the program as stack dev, with nothing made, and prints the manifests that its sidecars load, as JSON. A process of
 * its own, as Pulumi's runtime is one for each process.
 */
import * as pulumi from "@pulumi/pulumi";
import { print } from "../tools/progress.ts";
import { devConfig } from "../unit/support/config.ts";
import { run } from "../unit/support/pulumi.ts";

pulumi.runtime.setAllConfig({ ...devConfig, "event-flow:broker": "kafka" });
const { resources } = await run(() => import("../../index.ts"));
const manifests = resources.filter(({ type }) => type.startsWith("kubernetes:dapr.io/")).map(({ inputs }) => inputs);
print(JSON.stringify(manifests));
