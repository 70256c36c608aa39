/**
 * Runs the program as stack dev, with nothing made, and prints as JSON the manifests that its sidecars load, and the
 * Deployments, whose pods tell Dapr's injector how they run. An argument is where traces go. A process of its own, as Pulumi's runtime is one for each process.
 */
import * as pulumi from "@pulumi/pulumi";
import { print } from "../tools/progress.ts";
import { devConfig } from "../unit/support/config.ts";
import { run } from "../unit/support/pulumi.ts";

const [otlpEndpoint] = process.argv.slice(2);
pulumi.runtime.setAllConfig({
  ...devConfig,
  "event-flow:broker": "kafka",
  ...(otlpEndpoint !== undefined && { "event-flow:otlpEndpoint": otlpEndpoint }),
});
const { resources } = await run(() => import("../../index.ts"));
const inputsOf = (type: string) =>
  resources.filter((resource) => resource.type.startsWith(type)).map(({ inputs }) => inputs);
print(
  JSON.stringify({
    manifests: inputsOf("kubernetes:dapr.io/"),
    deployments: inputsOf("kubernetes:apps/v1:Deployment"),
  }),
);
