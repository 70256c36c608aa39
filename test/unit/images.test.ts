import { perService, services } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { contentTag } from "../../components/content-tag.ts";
import { Images, type ImageSource } from "../../components/images.ts";
import { run, Secret } from "./support/pulumi.ts";
import { temporaryFolder } from "./support/folder.ts";

const root = temporaryFolder();
for (const { name } of Object.values(services)) {
  mkdirSync(path.join(root, "apps", name), { recursive: true });
  writeFileSync(path.join(root, "apps", name, "package.json"), "{}");
}
writeFileSync(path.join(root, "apps", "Dockerfile"), "FROM scratch");
const context = path.relative(process.cwd(), root);
const tags = perService((service) => contentTag(service, root));

const images = (source: ImageSource) => run(() => ({ ...new Images("images", { source, root }).of }));

test("are built in Minikube, again only for another content", async () => {
  const { resource, outputs } = await images({ from: "minikube", profile: "minikube" });
  expect(outputs).toEqual(perService((service) => `event-flow/${services[service].name}:${tags[service]}`));
  expect(resource("images-backend").inputs).toEqual({
    create:
      `minikube --profile minikube image build --tag event-flow/backend:${tags.backend} ` +
      "--file apps/Dockerfile --build-opt build-arg=SERVICE=backend .",
    dir: context,
    triggers: [`event-flow/backend:${tags.backend}`],
  });
  expect(resource("images-notification-service").inputs["create"]).toContain("build-arg=SERVICE=notification-service");
  expect(resource("images-backend").parent).toBe("images");
});

test("a profile's name is no shell command", async () => {
  const { resource } = await images({ from: "minikube", profile: "it's; rm -rf /" });
  expect(resource("images-backend").inputs["create"]).toContain(`--profile 'it'\\''s; rm -rf /' image`);
});

test("are built by Docker, pushed, and deployed by their digest", async () => {
  const { resource, outputs } = await images({
    from: "registry",
    repository: "registry.example.com/event-flow",
    credentials: { address: "registry.example.com", username: "me", password: pulumi.secret("let me in") },
    platform: "linux/amd64",
  });
  expect(outputs).toEqual(perService((service) => `<images-${services[service].name}>@sha256:0123`));
  expect(resource("images-backend").inputs).toEqual({
    context: { location: context },
    dockerfile: { location: path.join(context, "apps/Dockerfile") },
    buildArgs: { SERVICE: "backend" },
    tags: [`registry.example.com/event-flow/backend:${tags.backend}`],
    push: true,
    buildOnPreview: false,
    network: "default",
    platforms: ["linux/amd64"],
    registries: [{ address: "registry.example.com", username: "me", password: new Secret("let me in") }],
  });
});

test("are pushed as whoever is logged in, for the platform of who builds, unless said otherwise", async () => {
  const { resource } = await images({ from: "registry", repository: "localhost:5000" });
  expect(Object.keys(resource("images-backend").inputs)).not.toContain("registries");
  expect(Object.keys(resource("images-backend").inputs)).not.toContain("platforms");
});

test("are there already", async () => {
  const given = perService((service) => `${service}:1`);
  const { resources, outputs } = await images({ from: "prebuilt", ...given });
  expect(outputs).toEqual(given);
  expect(resources.map(({ name }) => name)).toEqual(["images"]);
});
