/** What a run of the program asked for, as plain facts: each value by its path, also inside of the YAML and JSON that it wrote. */
import { parse } from "yaml";
import { type Recorded, type Run, Secret } from "./pulumi.ts";

/** Every value of a run by its path. */
export function valuesOf({ resources, outputs }: Run): Map<string, unknown> {
  const values = new Map<string, unknown>();
  for (const { type, name, parent, inputs } of resources) flatten(values, `${parent} > ${name}: ${type}`, inputs);
  flatten(values, "outputs", outputs);
  return values;
}

function flatten(values: Map<string, unknown>, at: string, value: unknown): void {
  const inner = value instanceof Secret ? value.value : typeof value === "string" ? documentIn(value) : value;
  if (inner === null || typeof inner !== "object") {
    values.set(at, inner);
    return;
  }
  // That it's there is a fact, too: of an empty one there would be none.
  values.set(at, Array.isArray(inner) ? `a list of ${inner.length}` : "an object");
  for (const [key, each] of Object.entries(inner)) flatten(values, `${at}/${key}`, each);
}

/** What a text says if it is a document in YAML or JSON; else the text. */
function documentIn(text: string): unknown {
  if (!/[\n{[]/.test(text)) return text;
  try {
    const document: unknown = parse(text, { logLevel: "error" });
    return document !== null && typeof document === "object" ? document : text;
  } catch {
    return text;
  }
}

/** The paths at which two runs differ. Keys that sign tokens are one, whose number is a part of their name. */
export function differences(one: Run, other: Run): string[] {
  const [a, b] = [valuesOf(one), valuesOf(other)];
  const paths = [...a.keys(), ...b.keys()].filter((at) => !Object.is(a.get(at), b.get(at)) || !a.has(at));
  return [...new Set(paths.map((at) => at.replace(/secrets-jwt(-\d+)?(?=:)/, "secrets-jwt")))].sort();
}

const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?$/;
const image = /^[A-Za-z0-9][\w./:-]*(@sha256:[0-9a-f]+)?$|^<[\w-]+>@sha256:/;

/** What Kubernetes would not take of what a run asked for, or would take for something else. */
export function faultsOf({ resources }: Run): string[] {
  return resources.filter(({ type }) => /^kubernetes:(?!helm)/.test(type)).flatMap(faultsOfObject);
}

function faultsOfObject({ name: resource, type, inputs }: Recorded): string[] {
  const faults: string[] = [];
  const note = (at: string, value: unknown) => faults.push(`${resource} (${type}) ${at}: ${JSON.stringify(value)}`);
  const visit = (at: string, value: unknown): void => {
    if (value instanceof Secret) {
      visit(at, value.value);
    } else if (typeof value === "string") {
      if (value.includes("\0") || !value.isWellFormed()) note(at, value);
    } else if (Array.isArray(value)) {
      value.forEach((each: unknown, index) => {
        visit(`${at}/${index}`, each);
      });
    } else if (value !== null && typeof value === "object") {
      for (const [key, each] of Object.entries(value)) {
        if (key === "metadata" && !Array.isArray(each)) checkMetadata(`${at}/metadata`, each as Metadata);
        if (key === "env" && Array.isArray(each)) checkVariables(`${at}/env`, each as Variable[]);
        if (key === "image" && typeof each === "string" && !image.test(each)) note(`${at}/image`, each);
        visit(`${at}/${key}`, each);
      }
    }
  };
  const checkMetadata = (at: string, { name, namespace, labels = {} }: Metadata) => {
    if (name !== undefined && !name.split(".").every((each) => label.test(each))) note(`${at}/name`, name);
    if (namespace !== undefined && !label.test(namespace)) note(`${at}/namespace`, namespace);
    for (const [key, value] of Object.entries(labels)) {
      if (!labelValue.test(value)) note(`${at}/labels/${key}`, value);
    }
  };
  const checkVariables = (at: string, variables: Variable[]) => {
    for (const { name, value } of variables) {
      if (!/^[A-Za-z_]\w*$/.test(name)) note(at, name);
      // The kubelet would put another variable there, be it a secret one.
      if (value?.includes("$(") === true) note(`${at}/${name}`, value);
    }
  };
  visit("", inputs);
  return faults;
}

interface Metadata {
  readonly name?: string;
  readonly namespace?: string;
  readonly labels?: Record<string, string>;
}

interface Variable {
  readonly name: string;
  readonly value?: string;
}
