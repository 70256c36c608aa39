import { join } from "node:path";
import { secrets } from "@event-flow/events";
import { z } from "zod";
import { capture } from "../tools/run.ts";

const metadataItemSchema = z.union([
  z.strictObject({ name: z.string(), value: z.string() }),
  z.strictObject({ name: z.string(), secretKeyRef: z.strictObject({ name: z.string(), key: z.string() }) }),
]);

const manifestSchema = z.looseObject({
  kind: z.enum(["Component", "Configuration", "Resiliency"]),
  metadata: z.looseObject({ name: z.string() }),
  spec: z.looseObject({ metadata: z.array(metadataItemSchema).optional() }),
});

/** What a sidecar loads, as the program emits it. */
export type Manifest = z.infer<typeof manifestSchema>;

const emittedSchema = z.object({
  manifests: z.array(manifestSchema),
  deployments: z.array(
    z.object({
      spec: z.object({
        template: z.object({ metadata: z.object({ annotations: z.record(z.string(), z.string()) }) }),
      }),
    }),
  ),
});

let emitted: Promise<z.infer<typeof emittedSchema>> | undefined;

/** What the program emits for the sidecars of stack dev. */
function emittedForSidecars(): Promise<z.infer<typeof emittedSchema>> {
  emitted ??= capture(process.execPath, [join(import.meta.dirname, "emit.ts")]).then((output) =>
    emittedSchema.parse(JSON.parse(output)),
  );
  return emitted;
}

/** How a sidecar ends, as its pod's annotations say and the injector passes on. */
export async function shutdownFlags(appId: string): Promise<readonly string[]> {
  const { deployments } = await emittedForSidecars();
  const annotations = deployments.map(({ spec }) => spec.template.metadata.annotations);
  const own = annotations.find((each) => each["dapr.io/app-id"] === appId);
  return ["block-shutdown-duration", "graceful-shutdown-seconds"].flatMap((name) => {
    const value = own?.[`dapr.io/${name}`];
    return value === undefined ? [] : [`--dapr-${name}=${value}`];
  });
}

/** Where this machine has what the manifests speak of. What is left out has no Component. */
export interface Backing {
  /** Kafka's address. */
  readonly brokers?: string | undefined;
  /** Valkey's address and password. */
  readonly valkey?: { readonly address: string; readonly password: string } | undefined;
}

/**
 * The manifests for a sidecar that is a process of this machine: as emitted, but with the addresses that the servers have here,
 * and with the values of secrets, which in a cluster Dapr's operator puts in. An app that is none of the stack's gets what is
 * scoped to those.
 */
export async function localManifests({ brokers, valkey }: Backing): Promise<readonly Manifest[]> {
  const secretValues = new Map([
    [`${secrets.redis.name}/${secrets.redis.keys.host}`, valkey?.address],
    [`${secrets.redis.name}/${secrets.redis.keys.password}`, valkey?.password],
  ]);
  const localItem = (item: z.infer<typeof metadataItemSchema>) => {
    if ("value" in item) return item.name === "brokers" ? { name: item.name, value: brokers } : item;
    const { name, key } = item.secretKeyRef;
    if (!secretValues.has(`${name}/${key}`))
      throw new Error(`Nothing is known of the key ${key} of the secret ${name}`);
    return { name: item.name, value: secretValues.get(`${name}/${key}`) };
  };
  return (await emittedForSidecars()).manifests.flatMap((manifest) => {
    const metadata = manifest.spec.metadata?.map(localItem);
    if (metadata?.some(({ value }) => value === undefined)) return [];
    return [manifestSchema.parse({ ...manifest, spec: { ...manifest.spec, metadata } })];
  });
}
