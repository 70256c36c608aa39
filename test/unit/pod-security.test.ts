import { services } from "@event-flow/events";
import { describe, expect, test } from "vitest";
import { devConfig, prodConfig, prodSecrets } from "./support/config.ts";
import { offencesOf, type Pod, podsOf } from "./support/pods.ts";
import { runProgram } from "./support/program.ts";

const restricted = {
  "pod-security.kubernetes.io/enforce": "restricted",
  "pod-security.kubernetes.io/enforce-version": "v1.34",
  "pod-security.kubernetes.io/audit": "restricted",
  "pod-security.kubernetes.io/audit-version": "v1.34",
  "pod-security.kubernetes.io/warn": "restricted",
  "pod-security.kubernetes.io/warn-version": "v1.34",
};

const namesOfServices = Object.values(services).map(({ name }) => `${name}-deployment`);
const ofDev = ["database-make-analytics", "database-server-set", "mail-server-set", "state-store-server-set"];

describe.each([
  {
    stack: "dev",
    config: devConfig,
    secretKeys: [],
    pods: ["broker-server-set", "monitoring-lag-deployment", ...ofDev],
  },
  {
    stack: "dev with Kafka, in a namespace of its own",
    config: { ...devConfig, "event-flow:broker": "kafka", "event-flow:namespace": "tasks" },
    secretKeys: [],
    pods: ["broker-server-set", "monitoring-lag-deployment", ...ofDev],
  },
  {
    stack: "prod",
    config: prodConfig,
    secretKeys: prodSecrets,
    pods: ["broker-check", "database-grant", "monitoring-lag-deployment"],
  },
])("stack $stack", ({ stack, config, secretKeys, pods }) => {
  const program = () => runProgram(config, stack.split(" ")[0] ?? "", secretKeys);

  test("makes no pod that goes beyond the restricted standard, or writes to its root", async () => {
    const found = podsOf((await program()).resources);
    expect(found.map(({ of }) => of).sort()).toEqual([...namesOfServices, ...pods].sort());
    expect(found.flatMap(offencesOf)).toEqual([]);
  });

  test("has its namespace refuse every other, as Dapr's does", async () => {
    const { resource } = await program();
    for (const namespace of ["cluster-namespace", "dapr-namespace"]) {
      expect(resource(namespace).inputs["metadata"]).toMatchObject({ labels: restricted });
    }
  });

  test("has sidecars restricted by the injector", async () => {
    const { resource } = await program();
    expect(resource("dapr-release").inputs["values"]).toMatchObject({
      global: { seccompProfile: "RuntimeDefault" },
      dapr_sidecar_injector: {
        sidecarDropALLCapabilities: true,
        sidecarReadOnlyRootFilesystem: true,
        sidecarRunAsNonRoot: true,
      },
    });
  });
});

describe("a pod", () => {
  const securityContext = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    readOnlyRootFilesystem: true,
  };
  const sound: Pod = {
    of: "pod",
    annotations: { "dapr.io/enabled": "true", "dapr.io/sidecar-seccomp-profile-type": "RuntimeDefault" },
    spec: {
      automountServiceAccountToken: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 1000,
        runAsGroup: 1000,
        seccompProfile: { type: "RuntimeDefault" },
      },
      containers: [{ name: "main", ports: [], securityContext }],
      initContainers: [],
      volumes: [{ name: "tmp", emptyDir: { sizeLimit: "1Mi" } }],
    },
  };
  const withPod = (change: Partial<Pod["spec"]>): Pod => ({ ...sound, spec: { ...sound.spec, ...change } });
  const withContainer = (change: object): Pod =>
    withPod({ containers: [{ name: "main", ports: [], securityContext: { ...securityContext, ...change } }] });

  test("that keeps to it all is none", () => {
    expect(offencesOf(sound)).toEqual([]);
  });

  test.each<[Pod, string]>([
    [withPod({ automountServiceAccountToken: undefined }), "has a service account's token"],
    [withPod({ hostPID: true }), "shares a namespace of its node"],
    [withPod({ securityContext: { ...sound.spec.securityContext, runAsNonRoot: false } }), "may run as root"],
    [
      withPod({ securityContext: { ...sound.spec.securityContext, seccompProfile: { type: "Unconfined" } } }),
      "has another seccomp profile than the runtime's",
    ],
    [
      withPod({ securityContext: { ...sound.spec.securityContext, runAsGroup: undefined } }),
      "runs as no user and group that are numbers",
    ],
    [withPod({ volumes: [{ name: "node", hostPath: { path: "/" } }] }), "has the volume node: hostPath"],
    [withPod({ volumes: [{ name: "tmp", emptyDir: {} }] }), "lets the volume tmp grow without limit"],
    [withContainer({ allowPrivilegeEscalation: undefined }), "main may gain privileges"],
    [withContainer({ privileged: true }), "main may gain privileges"],
    [withContainer({ readOnlyRootFilesystem: undefined }), "main may write to its root file system"],
    [withContainer({ capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] } }), "main keeps capabilities"],
    [withContainer({ capabilities: undefined }), "main keeps capabilities"],
    [withContainer({ runAsUser: 0 }), "main may run as root"],
    [withContainer({ seccompProfile: { type: "Unconfined" } }), "main has a seccomp profile of its own"],
    [
      withPod({ initContainers: [{ name: "first", ports: [], securityContext: {} }] }),
      "first may write to its root file system",
    ],
    [{ ...sound, annotations: { "dapr.io/enabled": "true" } }, "has a sidecar without a seccomp profile"],
    [
      { ...sound, annotations: { ...sound.annotations, "dapr.io/env": "SSL_CERT_DIR=/etc/ssl" } },
      "has a sidecar that may run as root",
    ],
  ])("%# that doesn't is told", (pod, offence) => {
    expect(offencesOf(pod)).toContain(`pod: ${offence}`);
  });
});
