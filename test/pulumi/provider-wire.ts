/** What the stand-ins of providers have in common: how properties and changes go over the wire. */
import { createRequire } from "node:module";
import type { Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import provider, { type PropertyDiff } from "@pulumi/pulumi/proto/provider_pb.js";
import { withoutSecretMarks } from "./secrets.ts";

/** A resource's inputs or outputs. */
export type Properties = Readonly<Record<string, unknown>>;

/** How one property differs from before. */
export interface Change {
  readonly property: string;
  readonly kind: "add" | "delete" | "update";
  readonly replaces: boolean;
}

/** The properties of a message, without the marks of secrets. */
export function plain(properties: Struct | undefined): Properties {
  return withoutSecretMarks(properties?.toJavaScript() ?? {});
}

export function kindOf({ kind, replaces }: Change): PropertyDiff.Kind {
  const { ADD, ADD_REPLACE, DELETE, DELETE_REPLACE, UPDATE, UPDATE_REPLACE } = provider.PropertyDiff.Kind;
  switch (kind) {
    case "add":
      return replaces ? ADD_REPLACE : ADD;
    case "delete":
      return replaces ? DELETE_REPLACE : DELETE;
    case "update":
      return replaces ? UPDATE_REPLACE : UPDATE;
  }
}

/** The version of a provider's npm package: a stand-in serves the same one. */
export function sdkVersion(name: string): string {
  const manifest = createRequire(import.meta.url)(`@pulumi/${name}/package.json`) as { version: string };
  return manifest.version;
}
