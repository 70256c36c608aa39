import { join } from "node:path";
import { secrets, services } from "@event-flow/events";
import { z } from "zod";
import { capture } from "../tools/run.ts";

const secretKeySchema = z.strictObject({ name: z.string(), key: z.string() });

const metadataItemSchema = z.union([
  z.strictObject({ name: z.string(), value: z.string() }),
  z.strictObject({ name: z.string(), secretKeyRef: secretKeySchema }),
]);

const manifestSchema = z.looseObject({
  kind: z.enum(["Component", "Configuration", "Resiliency"]),
  metadata: z.looseObject({ name: z.string() }),
  spec: z.looseObject({ metadata: z.array(metadataItemSchema).optional() }),
});

/** What a sidecar loads, as the program emits it. */
export type Manifest = z.infer<typeof manifestSchema>;

/** An environment variable of a service. */
const variableSchema = z.looseObject({
  name: z.string(),
  value: z.string().optional(),
  valueFrom: z.looseObject({ secretKeyRef: secretKeySchema.optional() }).optional(),
});

const emittedSchema = z.object({
  manifests: z.array(manifestSchema),
  deployments: z.array(
    z.object({
      spec: z.object({
        template: z.object({
          metadata: z.object({ annotations: z.record(z.string(), z.string()) }),
          spec: z.object({ containers: z.array(z.object({ env: z.array(variableSchema) })) }),
        }),
      }),
    }),
  ),
});

const emitted = new Map<string | undefined, Promise<z.infer<typeof emittedSchema>>>();

/** What the program emits for the sidecars of stack dev. */
function emittedForSidecars(collector?: string): Promise<z.infer<typeof emittedSchema>> {
  const args = [join(import.meta.dirname, "emit.ts"), ...(collector === undefined ? [] : [collector])];
  const emitting =
    emitted.get(collector) ?? capture(process.execPath, args).then((output) => emittedSchema.parse(JSON.parse(output)));
  emitted.set(collector, emitting);
  return emitting;
}

/** The pod that the program emits for a service; undefined for an app of a test's own. */
async function podOf(appId: string, collector?: string) {
  const { deployments } = await emittedForSidecars(collector);
  return deployments
    .map(({ spec }) => spec.template)
    .find(({ metadata }) => metadata.annotations["dapr.io/app-id"] === appId);
}

/** How a sidecar ends, as its pod's annotations say and the injector passes on. */
export async function shutdownFlags(appId: string): Promise<readonly string[]> {
  const pod = await podOf(appId);
  return ["block-shutdown-duration", "graceful-shutdown-seconds"].flatMap((name) => {
    const value = pod?.metadata.annotations[`dapr.io/${name}`];
    return value === undefined ? [] : [`--dapr-${name}=${value}`];
  });
}

/** What this machine has for the keys of the stack's secrets, by `<secret>/<key>`. */
export type SecretValues = Readonly<Record<string, string | undefined>>;

export function secretValue(values: SecretValues, { name, key }: z.infer<typeof secretKeySchema>): string | undefined {
  if (!(`${name}/${key}` in values)) throw new Error(`Nothing is known of the key ${key} of the secret ${name}`);
  return values[`${name}/${key}`];
}

/** The environment variables that a service's container gets. */
export async function podVariables(
  appId: string,
  values: SecretValues,
  collector?: string,
): Promise<Record<string, string>> {
  const variables = (await podOf(appId, collector))?.spec.containers.flatMap(({ env }) => env) ?? [];
  return Object.fromEntries(
    variables.flatMap(({ name, value: plain, valueFrom }) => {
      const value = plain ?? (valueFrom?.secretKeyRef && secretValue(values, valueFrom.secretKeyRef));
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Where this machine has what the manifests speak of. What is left out has no Component. */
export interface Backing {
  /** Kafka's address. */
  readonly brokers?: string | undefined;
  /** Valkey's address and password. */
  readonly valkey?: { readonly address: string; readonly password: string } | undefined;
  /** Where mail is taken. */
  readonly smtp?: { readonly host: string; readonly port: number } | undefined;
  /** The URL of what takes traces. @default nothing is traced */
  readonly collector?: string | undefined;
}

/** Whose sidecar it is. */
export interface Whose {
  readonly appId: string;
  /** Whether an app of a test's own is kept to what Components are told of the stack's. @default it may do anything with them */
  readonly isStranger?: boolean | undefined;
  /** Whether sidecars know each other, by their certificates. @default they don't, and any may call any */
  readonly withMtls?: boolean;
}

const ofTopics = ["publishingScopes", "subscriptionScopes", "allowedTopics", "protectedTopics"];

/**
 * The manifests for a sidecar that is a process of this machine: as emitted, but with the addresses that the servers have here,
 * and with the values of secrets, which in a cluster Dapr's operator puts in. Two things are left out: of an app that is none of
 * the stack's, what is for those only; and, where there are no certificates, who may call a service. Nobody could.
 */
export async function localManifests(
  { brokers, valkey, smtp, collector }: Backing,
  { appId, isStranger = false, withMtls = false }: Whose,
): Promise<readonly Manifest[]> {
  const values: SecretValues = {
    [`${secrets.redis.name}/${secrets.redis.keys.host}`]: valkey?.address,
    [`${secrets.redis.name}/${secrets.redis.keys.password}`]: valkey?.password,
  };
  const addresses: Readonly<Record<string, string | undefined>> = {
    brokers,
    host: smtp?.host,
    port: smtp && String(smtp.port),
  };
  const localItem = (item: z.infer<typeof metadataItemSchema>) => {
    if ("value" in item) return item.name in addresses ? { name: item.name, value: addresses[item.name] } : item;
    return { name: item.name, value: secretValue(values, item.secretKeyRef) };
  };
  const pod = await podOf(appId, collector);
  const isFree = pod === undefined && !isStranger;
  const configuration = pod?.metadata.annotations["dapr.io/config"] ?? services.backend.name;
  return (await emittedForSidecars(collector)).manifests.flatMap(({ scopes, ...manifest }) => {
    if (manifest.kind === "Configuration") {
      if (manifest.metadata.name !== configuration) return [];
      const { accessControl, api, ...spec } = manifest.spec;
      return [
        { ...manifest, spec: { ...spec, ...(withMtls && { accessControl }), ...(pod !== undefined && { api }) } },
      ];
    }
    const metadata = manifest.spec.metadata
      ?.filter(({ name }) => !(isFree && ofTopics.includes(name)))
      .map((item) => localItem(item));
    if (metadata?.some(({ value }) => value === undefined)) return [];
    const local = { ...manifest, spec: { ...manifest.spec, metadata }, ...(pod !== undefined && { scopes }) };
    return [manifestSchema.parse(local)];
  });
}
