/**
 * What Kubernetes' "restricted" Pod Security Standard asks of pods (https://kubernetes.io/docs/concepts/security/pod-security-standards/),
 * and a read-only root file system besides, which it doesn't.
 */
import type * as k8s from "@pulumi/kubernetes";

/** The version of the standard. A cluster that doesn't know it yet takes the newest that it knows. */
const version = "v1.34";

/** The labels by which a namespace refuses every other pod, and warns who makes a Deployment of such, which would have none. */
export const restrictedNamespace: Readonly<Record<string, string>> = Object.fromEntries(
  ["enforce", "audit", "warn"].flatMap((mode) => [
    [`pod-security.kubernetes.io/${mode}`, "restricted"],
    [`pod-security.kubernetes.io/${mode}-version`, version],
  ]),
);

/** The security context of a pod whose images are made for a user, and a group of the same number. */
export function restrictedPod(user: number): k8s.types.input.core.v1.PodSecurityContext {
  return {
    runAsNonRoot: true,
    runAsUser: user,
    runAsGroup: user,
    fsGroup: user,
    seccompProfile: { type: "RuntimeDefault" },
  };
}

/** The security context of each of its containers. */
export const restrictedContainer = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
} satisfies k8s.types.input.core.v1.SecurityContext;

/** The user, and the group, of the services' own image: apps/Dockerfile, where the same number stands. It is nobody's on a node. */
export const serviceUser = 65532;
