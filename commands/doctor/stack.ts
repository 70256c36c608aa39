import { serviceKeys, type ServiceKey } from "@event-flow/events";
import { z } from "zod";

/** What the last `pulumi up` made, as far as the doctor compares it with what is there. */
export interface Stack {
  /** The images of the services, as the stack's outputs say. */
  readonly images: Readonly<Partial<Record<ServiceKey, string>>>;
  readonly workloads: readonly StackWorkload[];
  readonly components: readonly StackComponent[];
  /** The names of the secrets in the services' namespace. */
  readonly secrets: readonly string[];
  readonly crds: readonly Specified[];
  readonly policies: readonly Specified[];
}

export interface StackWorkload {
  readonly kind: "deployment" | "statefulset";
  readonly name: string;
  readonly replicas: number;
  /** What the injector is told. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface StackComponent {
  readonly name: string;
  readonly type: string;
  readonly scopes: readonly string[];
  readonly metadata: readonly { readonly name: string; readonly [field: string]: unknown }[];
}

export interface Specified {
  readonly name: string;
  readonly spec: Readonly<Record<string, unknown>>;
}

/** What the stack calls itself and its place. */
export interface StackOutputs {
  readonly kubeContext: string;
  readonly namespace: string;
}

const resourceSchema = z.object({
  type: z.string(),
  // One that is to be deleted, and has its successor already.
  delete: z.boolean().default(false),
  inputs: z.record(z.string(), z.unknown()).default({}),
  outputs: z.record(z.string(), z.unknown()).default({}),
});

const exportSchema = z.object({ deployment: z.object({ resources: z.array(resourceSchema).default([]) }) });

export const outputsSchema = z.looseObject({ kubeContext: z.string(), namespace: z.string() });

const named = z.object({ name: z.string(), namespace: z.string().optional() });
const workloadSchema = z.object({
  metadata: named,
  spec: z.object({
    replicas: z.int().default(1),
    template: z.object({ metadata: z.object({ annotations: z.record(z.string(), z.unknown()).default({}) }) }),
  }),
});
const componentSchema = z.object({
  metadata: named,
  spec: z.object({ type: z.string(), metadata: z.array(z.looseObject({ name: z.string() })).default([]) }),
  scopes: z.array(z.string()).default([]),
});
const specifiedSchema = z.object({ metadata: named, spec: z.record(z.string(), z.unknown()) });

/** Reads what `pulumi stack export` prints. Secret values are encrypted in it, and stay so. */
export function readStack(exported: unknown, namespace: string): Stack {
  const resources = exportSchema.parse(exported).deployment.resources.filter((resource) => !resource.delete);
  const ofType = <T>(type: string, schema: z.ZodType<T>) =>
    resources.filter((resource) => resource.type === type).map(({ inputs }) => schema.parse(inputs));
  const workloads = (kind: StackWorkload["kind"], type: string) =>
    ofType(type, workloadSchema).map(({ metadata, spec }) => ({
      kind,
      name: metadata.name,
      replicas: spec.replicas,
      annotations: Object.fromEntries(
        Object.entries(spec.template.metadata.annotations).filter(
          (entry): entry is [string, string] => entry[0].startsWith("dapr.io/") && typeof entry[1] === "string",
        ),
      ),
    }));
  const specified = (type: string): Specified[] =>
    ofType(type, specifiedSchema).map(({ metadata, spec }) => ({ name: metadata.name, spec }));
  const outputs = resources.find(({ type }) => type === "pulumi:pulumi:Stack")?.outputs ?? {};
  const images = z.record(z.string(), z.unknown()).catch({}).parse(outputs["images"]);
  if (resources.length === 0) throw new Error("the stack has no resources: `pulumi up` makes them");
  return {
    images: Object.fromEntries(
      serviceKeys.flatMap((key) => (typeof images[key] === "string" ? [[key, images[key]]] : [])),
    ),
    workloads: [
      ...workloads("deployment", "kubernetes:apps/v1:Deployment"),
      ...workloads("statefulset", "kubernetes:apps/v1:StatefulSet"),
    ],
    components: ofType("kubernetes:dapr.io/v1alpha1:Component", componentSchema).map(({ metadata, spec, scopes }) => ({
      name: metadata.name,
      scopes,
      ...spec,
    })),
    secrets: ofType("kubernetes:core/v1:Secret", z.object({ metadata: named }))
      .filter(({ metadata }) => (metadata.namespace ?? "default") === namespace)
      .map(({ metadata }) => metadata.name),
    crds: specified("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"),
    policies: specified("kubernetes:networking.k8s.io/v1:NetworkPolicy"),
  };
}

/** Whether all that is in one is in the other. The API server adds defaults, and leaves out what is empty or false. */
export function contains(actual: unknown, expected: unknown): boolean {
  if (expected === null || expected === false || expected === "") return actual === undefined || actual === expected;
  if (Array.isArray(expected)) {
    if (expected.length === 0 && actual === undefined) return true;
    const items: readonly unknown[] = expected;
    return (
      Array.isArray(actual) &&
      actual.length === items.length &&
      items.every((item, index) => contains(actual[index], item))
    );
  }
  if (typeof expected === "object") {
    const entries = Object.entries(expected);
    if (typeof actual !== "object" || actual === null) return actual === undefined && entries.length === 0;
    return entries.every(([key, value]) => contains((actual as Record<string, unknown>)[key], value));
  }
  return actual === expected;
}
