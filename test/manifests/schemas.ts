import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { type Artifact } from "../tools/cache.ts";
import { daprControlPlane, moduleDir, versions } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";

/** As far as it is read here. */
interface Schema {
  readonly type?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-group-version-kind"?: readonly {
    readonly group: string;
    readonly version: string;
    readonly kind: string;
  }[];
  readonly [keyword: string]: unknown;
}

interface Crd {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }[];
  };
}

/** What Kubernetes takes in more forms than its own description has. */
const likeThese: Readonly<Record<string, Schema>> = {
  "io.k8s.apimachinery.pkg.util.intstr.IntOrString": { type: ["string", "integer"] } as unknown as Schema,
  "io.k8s.apimachinery.pkg.api.resource.Quantity": { type: ["string", "number"] } as unknown as Schema,
};

/** The same schema, which takes no field that it doesn't name: the API server would drop that, and nobody be told. */
function strict(schema: Schema): Schema {
  if (schema["x-kubernetes-int-or-string"] === true) return { type: ["string", "integer"] } as unknown as Schema;
  const { properties, additionalProperties, items } = schema;
  const isOpen = additionalProperties !== undefined || schema["x-kubernetes-preserve-unknown-fields"] === true;
  return {
    ...schema,
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, strict(each)])),
          ...(isOpen ? {} : { additionalProperties: false }),
        }),
    ...(typeof additionalProperties === "object" ? { additionalProperties: strict(additionalProperties) } : {}),
    ...(items === undefined ? {} : { items: strict(items) }),
  };
}

/** The file of a kind, as `location` tells kubeconform. It says the version for the group that has no name. */
const fileOf = (group: string, version: string, kind: string) =>
  `${group === "" ? version : group}_${version}_${kind.toLowerCase()}.json`;

/** Makes schemas of all kinds of Kubernetes, as the release describes its API, and of Dapr's, as its chart's CRDs do. */
async function makeSchemas(dir: string): Promise<void> {
  const source = await moduleDir(dir, "k8s.io/kubernetes", `v${versions.kubernetes}`);
  const { definitions: loose } = JSON.parse(
    readFileSync(join(source, "api", "openapi-spec", "swagger.json"), "utf8"),
  ) as { definitions: Readonly<Record<string, Schema>> };
  const definitions = Object.fromEntries(
    Object.entries(loose).map(([name, schema]) => [name, likeThese[name] ?? strict(schema)]),
  );
  const reference = (name: string) => ({ $ref: `#/definitions/${name}` });
  /** Those that a schema leads to, and those that these do. */
  const needed = (schema: object, found: Record<string, Schema> = {}) => {
    for (const [, name = ""] of JSON.stringify(schema).matchAll(/"#\/definitions\/([^"]+)"/g)) {
      const definition = definitions[name];
      if (definition === undefined || name in found) continue;
      found[name] = definition;
      needed(definition, found);
    }
    return found;
  };
  const write = (group: string, version: string, kind: string, schema: object) => {
    const apiVersion = { enum: [group === "" ? version : `${group}/${version}`] };
    const required = {
      type: "object",
      required: ["apiVersion", "kind"],
      properties: { apiVersion, kind: { enum: [kind] } },
    };
    writeFileSync(
      join(dir, fileOf(group, version, kind)),
      JSON.stringify({ allOf: [required, schema], definitions: needed(schema) }),
    );
  };
  for (const [name, schema] of Object.entries(loose)) {
    for (const { group, version, kind } of schema["x-kubernetes-group-version-kind"] ?? []) {
      if (schema.properties?.["metadata"] !== undefined) write(group, version, kind, reference(name));
    }
  }
  const crds = join(toolDir(daprControlPlane), "charts", "dapr", "crds");
  for (const file of globSync("*.yaml", { cwd: crds })) {
    const { spec } = parse(readFileSync(join(crds, file), "utf8")) as Crd;
    for (const { name, schema } of spec.versions) {
      const { properties, ...rest } = schema.openAPIV3Schema;
      const metadata = reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
      write(spec.group, name, spec.names.kind, strict({ ...rest, properties: { ...properties, metadata } }));
    }
  }
}

/** JSON schemas for kubeconform: those that it would download are of no registry. */
export const schemas: Artifact = {
  name: "schemas",
  version: versions.kubernetes,
  coldSeconds: 5,
  recipe: [versions.dapr, readFileSync(import.meta.filename, "utf8")],
  build: async (dir) => {
    mkdirSync(dir, { recursive: true });
    await makeSchemas(dir);
  },
};

/** Where kubeconform finds a kind's schema. */
export const location = (dir: string) => join(dir, "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json");
