import { z } from "zod";
import type { Recorded } from "./pulumi.ts";

const securityContext = z
  .looseObject({
    allowPrivilegeEscalation: z.boolean(),
    privileged: z.boolean(),
    readOnlyRootFilesystem: z.boolean(),
    runAsNonRoot: z.boolean(),
    runAsUser: z.unknown(),
    runAsGroup: z.unknown(),
    capabilities: z.looseObject({ drop: z.array(z.string()), add: z.array(z.string()) }).partial(),
    seccompProfile: z.looseObject({ type: z.string() }),
  })
  .partial();

const container = z.looseObject({
  name: z.string(),
  securityContext: securityContext.default({}),
  ports: z.array(z.looseObject({ hostPort: z.number().optional() })).default([]),
});

const podSpec = z.looseObject({
  automountServiceAccountToken: z.boolean().optional(),
  hostNetwork: z.boolean().optional(),
  hostPID: z.boolean().optional(),
  hostIPC: z.boolean().optional(),
  securityContext: securityContext.default({}),
  containers: z.array(container),
  initContainers: z.array(container).default([]),
  volumes: z.array(z.looseObject({ name: z.string() })).default([]),
});

/** A pod that something emitted makes, wherever in it that stands. */
export interface Pod {
  readonly of: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: z.infer<typeof podSpec>;
}

/** All pods that come of resources: of Deployments, StatefulSets, Jobs, and of kinds that nobody has thought of yet. */
export function podsOf(resources: readonly Recorded[]): Pod[] {
  const found: Pod[] = [];
  const search = (of: string, value: unknown, parent: Record<string, unknown>): void => {
    if (Array.isArray(value)) for (const each of value) search(of, each, {});
    if (value === null || typeof value !== "object") return;
    const record = value as Record<string, unknown>;
    if (Array.isArray(record["containers"])) {
      const { annotations = {} } = (parent["metadata"] ?? {}) as { annotations?: Record<string, string> };
      found.push({ of, annotations, spec: podSpec.parse(record) });
    } else {
      for (const each of Object.values(record)) search(of, each, record);
    }
  };
  for (const { type, name, inputs } of resources) {
    if (type.startsWith("kubernetes:") && !type.includes("CustomResourceDefinition")) search(name, inputs, {});
  }
  return found;
}

/** The kinds of volumes that the "restricted" standard leaves, but for those that would bring a token or live longer than the pod says. */
const harmlessVolumes = ["secret", "configMap", "emptyDir"];

/** What of a pod is against Kubernetes' "restricted" standard, or against what goes beyond it here. */
export function offencesOf({ of, annotations, spec }: Pod): string[] {
  const offences: string[] = [];
  const must = (holds: boolean, what: string) => {
    if (!holds) offences.push(`${of}: ${what}`);
  };
  const isUser = (id: unknown) => typeof id === "number" && Number.isInteger(id) && id > 0;
  const pod = spec.securityContext;
  must(spec.automountServiceAccountToken === false, "has a service account's token");
  must(spec.hostNetwork !== true && spec.hostPID !== true && spec.hostIPC !== true, "shares a namespace of its node");
  must(pod.runAsNonRoot === true, "may run as root");
  must(isUser(pod.runAsUser) && isUser(pod.runAsGroup), "runs as no user and group that are numbers");
  must(pod.seccompProfile?.type === "RuntimeDefault", "has another seccomp profile than the runtime's");
  for (const { name, ...volume } of spec.volumes) {
    const kinds = Object.keys(volume);
    must(
      kinds.every((kind) => harmlessVolumes.includes(kind)),
      `has the volume ${name}: ${kinds.join()}`,
    );
    const { emptyDir } = volume as { emptyDir?: { sizeLimit?: string } };
    must(emptyDir === undefined || emptyDir.sizeLimit !== undefined, `lets the volume ${name} grow without limit`);
  }
  for (const { name, securityContext: own, ports } of [...spec.containers, ...spec.initContainers]) {
    must(own.allowPrivilegeEscalation === false && own.privileged !== true, `${name} may gain privileges`);
    must(own.readOnlyRootFilesystem === true, `${name} may write to its root file system`);
    const { drop = [], add = [] } = own.capabilities ?? {};
    must(drop.includes("ALL") && add.length === 0, `${name} keeps capabilities`);
    must(own.runAsNonRoot !== false && isUser(own.runAsUser ?? pod.runAsUser), `${name} may run as root`);
    must(isUser(own.runAsGroup ?? pod.runAsGroup), `${name} may be in root's group`);
    must(
      (own.seccompProfile?.type ?? "RuntimeDefault") === "RuntimeDefault",
      `${name} has a seccomp profile of its own`,
    );
    must(
      ports.every(({ hostPort }) => hostPort === undefined),
      `${name} has a port of its node`,
    );
  }
  if (annotations["dapr.io/enabled"] === "true") {
    must(
      annotations["dapr.io/sidecar-seccomp-profile-type"] === "RuntimeDefault",
      "has a sidecar without a seccomp profile",
    );
    // For Windows' sake the injector then takes back what keeps a sidecar from being root and from writing.
    must(!(annotations["dapr.io/env"] ?? "").includes("SSL_CERT_DIR"), "has a sidecar that may run as root");
  }
  return offences;
}
