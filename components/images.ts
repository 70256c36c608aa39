import { perService, services, type ServiceKey } from "@event-flow/events";
import * as command from "@pulumi/command";
import * as docker from "@pulumi/docker-build";
import * as pulumi from "@pulumi/pulumi";
import path from "node:path";
import { contentTag, dockerfile, repositoryRoot } from "./content-tag.ts";
import { shellWord } from "./text.ts";

/** Where the services' images come from. */
export type ImageSource =
  /** Built inside a Minikube, by its profile. */
  | { readonly from: "minikube"; readonly profile: string }
  /** Built by Docker and pushed to a repository, by the name under which it is pulled again. */
  | {
      readonly from: "registry";
      readonly repository: pulumi.Input<string>;
      /** How to log in to it. @default as `docker login` did */
      readonly credentials?: docker.types.input.RegistryArgs;
      /** The platform of the cluster's nodes. @default that of the machine that builds */
      readonly platform?: docker.Platform;
    }
  /** There already. */
  | ({ readonly from: "prebuilt" } & Readonly<Record<ServiceKey, string>>);

export interface ImagesArgs {
  /** Where the images come from. */
  readonly source: ImageSource;

  /** The folder with the sources. @default this repository */
  readonly root?: string;
}

/** The images of the services. Tags tell the content, so an image changes exactly when its sources do. */
export class Images extends pulumi.ComponentResource {
  /** The image of each service. */
  readonly of: Readonly<Record<ServiceKey, pulumi.Output<string>>>;

  constructor(name: string, args: ImagesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("event-flow:images:Images", name, {}, opts);

    const { source, root = repositoryRoot } = args;
    // Relative, so that the same sources in another folder are no change. Pulumi runs in the repository's root.
    const context = path.relative(process.cwd(), root) || ".";

    const image = (service: ServiceKey): pulumi.Output<string> => {
      switch (source.from) {
        case "minikube":
          return builtInMinikube(service, source.profile);
        case "registry":
          return pushed(service, source);
        case "prebuilt":
          return pulumi.output(source[service]);
      }
    };

    const builtInMinikube = (service: ServiceKey, profile: string) => {
      const { name: serviceName } = services[service];
      const ref = `event-flow/${serviceName}:${contentTag(service, root)}`;
      const build = [
        ...["minikube", "--profile", shellWord(profile), "image", "build", "--tag", ref, "--file", dockerfile],
        ...["--build-opt", `build-arg=SERVICE=${serviceName}`, "."],
      ];
      const built = new command.local.Command(
        `${name}-${serviceName}`,
        { create: build.join(" "), dir: context, triggers: [ref] },
        { parent: this },
      );
      // The tag is known from the start, but no pod may ask for the image before it is built.
      return built.stdout.apply(() => ref);
    };

    const pushed = (service: ServiceKey, registry: Extract<ImageSource, { from: "registry" }>) => {
      const { repository, credentials, platform } = registry;
      const { name: serviceName } = services[service];
      return new docker.Image(
        `${name}-${serviceName}`,
        {
          context: { location: context },
          dockerfile: { location: path.join(context, dockerfile) },
          buildArgs: { SERVICE: serviceName },
          tags: [pulumi.interpolate`${repository}/${serviceName}:${contentTag(service, root)}`],
          push: true,
          buildOnPreview: false,
          ...(platform === undefined ? {} : { platforms: [platform] }),
          ...(credentials === undefined ? {} : { registries: [credentials] }),
        },
        { parent: this },
      ).ref;
    };

    this.of = perService(image);
    this.registerOutputs(this.of);
  }
}
