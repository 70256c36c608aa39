import { type Recorded, Secret } from "./pulumi.ts";

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

/** What stands for the values that the engine would keep encrypted. */
const secretValue = "secret";

function withoutSecrets(value: unknown, secret = false): unknown {
  if (value instanceof Secret) return withoutSecrets(value.value, true);
  if (Array.isArray(value)) return value.map((each) => withoutSecrets(each, secret));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withoutSecrets(each, secret)]));
  }
  return secret ? secretValue : value;
}

/** The manifests that the Kubernetes provider is given, each as it would be written to a file, with no secret in it. */
export function manifestsOf(resources: readonly Recorded[]): Manifest[] {
  return resources
    .filter(({ type }) => type.startsWith("kubernetes:") && !type.startsWith("kubernetes:helm.sh/"))
    .map(({ inputs }) => withoutSecrets(inputs) as Manifest);
}
