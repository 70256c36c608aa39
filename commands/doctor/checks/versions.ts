import { serviceKeys, services } from "@event-flow/events";
import { daprNamespace, daprVersion } from "../../../components/versions.ts";
import type { Check } from "../check.ts";
import { kubectlIn, list, podsOf, restart, sidecarMetadata, sidecarName, statusOf } from "../sidecars.ts";
import { contains } from "../stack.ts";

/** Whether Dapr's parts are of the version that is pinned, and services of the images that the stack has. */
export const versions: Check = {
  name: "versions",
  look: async (system, notes) => {
    notes.at(`Dapr ${daprVersion}: control plane, sidecars, CRDs; the services' images`);
    await notes.part("the control plane", async () => {
      const [deployments, statefulsets] = await Promise.all([
        system.list("deployments", daprNamespace),
        system.list("statefulsets", daprNamespace),
      ]);
      for (const { metadata, spec } of [...deployments, ...statefulsets]) {
        const wrong = spec.template.spec.containers.filter(({ image }) => !isOfVersion(image));
        if (wrong.length > 0) {
          const images = list(wrong.map(({ image }) => image));
          notes.found(`${metadata.name} runs ${images} instead of Dapr ${daprVersion}`, system.repair);
        }
      }
    });
    await notes.part("sidecars", async () => {
      const injected = new Set<string>();
      for (const service of Object.values(services)) {
        const { name } = service;
        for (const pod of await podsOf(system, name)) {
          const sidecar = [...pod.spec.containers, ...pod.spec.initContainers].find(
            (each) => each.name === sidecarName,
          );
          if (sidecar !== undefined && !isOfVersion(sidecar.image)) {
            injected.add(name);
            const isAnnotated = "dapr.io/sidecar-image" in pod.metadata.annotations;
            const mend = isAnnotated
              ? kubectlIn(
                  system,
                  `patch deployment/${name} --type merge --patch '{"spec":{"template":{"metadata":{"annotations":{"dapr.io/sidecar-image":null}}}}}'`,
                )
              : restart(system, name);
            notes.found(`The sidecar of ${name} is ${sidecar.image} instead of Dapr ${daprVersion}`, mend);
          } else if (statusOf(pod, sidecarName)?.ready === true) {
            const { runtimeVersion } = await sidecarMetadata(system, service, pod);
            if (runtimeVersion !== daprVersion) {
              notes.found(`The sidecar of ${name} says that it is Dapr ${runtimeVersion}`, restart(system, name));
            }
          }
        }
      }
    });
    await notes.part("CRDs", async () => {
      const crds = new Map((await system.list("customresourcedefinitions")).map((crd) => [crd.metadata.name, crd]));
      for (const made of (await system.made()).crds) {
        const actual = crds.get(made.name);
        if (actual === undefined) notes.found(`There is no CRD ${made.name}`, system.repair);
        else if (!contains(actual.spec, made.spec)) {
          notes.found(`The CRD ${made.name} is not that of Dapr ${daprVersion}`, system.repair);
        }
      }
    });
    await notes.part("the services' images", async () => {
      const [{ images }, deployments] = await Promise.all([system.made(), system.list("deployments")]);
      for (const key of serviceKeys) {
        const { name } = services[key];
        const actual = deployments
          .find(({ metadata }) => metadata.name === name)
          ?.spec.template.spec.containers.find((container) => container.name === name)?.image;
        const made = images[key];
        if (made === undefined) throw new Error(`the stack's outputs have no image of ${name}`);
        if (actual !== undefined && actual !== made) {
          notes.found(`${name} runs ${actual}; the stack has ${made}`, system.repair);
        }
      }
    });
  },
};

/** By its tag; one that is pinned by digest only can't be told. */
function isOfVersion(image: string): boolean {
  const [, tag] = /:([^/:@]+)(?:@.*)?$/.exec(image) ?? [];
  // Flavours of an image have the same version: `1.18.0-mariner`.
  return tag === daprVersion || tag?.startsWith(`${daprVersion}-`) === true;
}
