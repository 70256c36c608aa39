import { isDeepStrictEqual } from "node:util";
import type { Change, Properties } from "../../pulumi/provider-wire.ts";

/** Stands for a value that isn't known before the update, in what the engine sends and gets. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** An input that the provider refuses before it calls the API. */
export interface Failure {
  readonly property: string;
  readonly reason: string;
}

/** What is known of one input. */
export interface Field {
  readonly type: "string" | "number" | "boolean" | "object" | "list";
  readonly required?: true;
  /** Whether a change of it makes the resource another one: the real provider's `ForceNew`. */
  readonly replaces?: true;
  /** The real provider refuses every other word itself. */
  readonly oneOf?: readonly string[];
  /** The fields of an object, or of each object of a list. */
  readonly fields?: Readonly<Record<string, Field>>;
}

export type Fields = Readonly<Record<string, Field>>;

const typeOf = (value: unknown) => (Array.isArray(value) ? "list" : typeof value);

/** Lists what is wrong with the inputs. What isn't known yet may still turn out right. */
export function check(fields: Fields, inputs: Properties, at = ""): Failure[] {
  const failures: Failure[] = [];
  for (const property of Object.keys(inputs)) {
    if (property === "__defaults" || property in fields) continue;
    failures.push({
      property: `${at}${property}`,
      reason: "an unexpected argument; no argument of that name is expected here",
    });
  }
  for (const [name, field] of Object.entries(fields)) {
    const property = `${at}${name}`;
    const value = inputs[name];
    if (value === undefined || value === null) {
      if (field.required)
        failures.push({ property, reason: `Missing required argument. The argument "${property}" is required` });
      continue;
    }
    if (value === UNKNOWN) continue;
    if (typeOf(value) !== field.type) {
      failures.push({ property, reason: `expected a ${field.type}, got a ${typeOf(value)}` });
      continue;
    }
    if (field.required && value === "") failures.push({ property, reason: `"${property}" must not be zero value` });
    if (field.oneOf !== undefined && !field.oneOf.includes(value as string)) {
      const allowed = field.oneOf.map((word) => `"${word}"`).join(" ");
      failures.push({
        property,
        reason: `expected ${property} to be one of [${allowed}], got ${JSON.stringify(value)}`,
      });
    }
    if (field.fields !== undefined) {
      const { fields: inner } = field;
      const parts = Array.isArray(value)
        ? value.map((each, index) => [each as Properties, `${property}[${index}].`] as const)
        : [[value as Properties, `${property}.`] as const];
      for (const [part, path] of parts) failures.push(...check(inner, part, path));
    }
  }
  return failures;
}

/** Compares the inputs of before with new ones. */
export function changes(fields: Fields, olds: Properties, news: Properties, at = ""): Change[] {
  return Object.entries(fields).flatMap(([name, field]): Change[] => {
    const [before, after] = [olds[name], news[name]];
    if (isDeepStrictEqual(before ?? undefined, after ?? undefined)) return [];
    const property = `${at}${name}`;
    if (
      field.type === "object" &&
      field.fields !== undefined &&
      typeOf(before) === "object" &&
      typeOf(after) === "object"
    ) {
      return changes(field.fields, before as Properties, after as Properties, `${property}.`);
    }
    const kind = before === undefined ? "add" : after === undefined ? "delete" : "update";
    return [{ property, kind, replaces: field.replaces ?? false }];
  });
}
