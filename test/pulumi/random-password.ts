/**
 * What the random provider does for a RandomPassword, without the wire: which inputs it takes, when a change replaces the
 * password, how a password is made. The rules are those of the real provider's schema; a message names the property, the
 * value it got and what is allowed.
 */
import { randomInt } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { bcryptHash } from "./bcrypt.ts";
import type { Change, Properties } from "./provider-wire.ts";

/** Stands for a value that isn't known before the update, in what the engine sends and gets. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** An input that the provider refuses. */
export interface Failure {
  readonly property: string;
  readonly reason: string;
}

/** The outputs that are secret whatever the program says. */
export const SECRET_OUTPUTS: readonly string[] = ["result", "bcryptHash"];

const DIGITS = "0123456789";
const LOWER_CASE = "abcdefghijklmnopqrstuvwxyz";
const UPPER_CASE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const SPECIAL = "!@#$%&*()-_=+[]{}<>:?";

const COUNTS = ["minUpper", "minLower", "minNumeric", "minSpecial"] as const;
const SWITCHES = ["special", "upper", "lower", "number", "numeric"] as const;
const INPUTS: readonly string[] = ["length", ...COUNTS, ...SWITCHES, "overrideSpecial", "keepers"];

/** Lists what is wrong with the inputs. What isn't known yet may still turn out right. */
export function check(inputs: Properties): Failure[] {
  const failures: Failure[] = [];
  const refuse = (property: string, reason: string): void => {
    failures.push({ property, reason });
  };

  for (const property of Object.keys(inputs)) {
    if (!INPUTS.includes(property)) refuse(property, `not an input of RandomPassword; it takes ${INPUTS.join(", ")}`);
  }
  const { length } = inputs;
  if (isMissing(length)) refuse("length", "missing required property 'length'");
  else if (length !== UNKNOWN && !isCount(length, 1)) {
    refuse("length", `must be a whole number of at least 1, got ${shown(length)}`);
  }
  for (const property of COUNTS) {
    const value = inputs[property];
    if (!isMissing(value) && value !== UNKNOWN && !isCount(value, 0)) {
      refuse(property, `must be a whole number of at least 0, got ${shown(value)}`);
    }
  }
  for (const property of SWITCHES) {
    const value = inputs[property];
    if (!isMissing(value) && value !== UNKNOWN && typeof value !== "boolean") {
      refuse(property, `must be true or false, got ${shown(value)}`);
    }
  }
  if (!isMissing(inputs["overrideSpecial"]) && typeof inputs["overrideSpecial"] !== "string") {
    refuse("overrideSpecial", `must be a string, got ${shown(inputs["overrideSpecial"])}`);
  }
  if (!isMissing(inputs["keepers"]) && inputs["keepers"] !== UNKNOWN && !isStringMap(inputs["keepers"])) {
    // Keepers may hold secrets, so their values aren't shown.
    refuse("keepers", "must be a map of strings");
  }
  if (failures.length > 0) return failures;

  const known = (property: string): boolean => inputs[property] !== UNKNOWN;
  if (known("length") && COUNTS.every(known)) {
    const minimum = COUNTS.reduce((sum, property) => sum + count(inputs[property]), 0);
    if (count(length) < minimum) {
      refuse("length", `must be at least the sum of ${COUNTS.join(", ")}, which is ${minimum}, got ${count(length)}`);
    }
  }
  const { number, numeric } = inputs;
  if (typeof number === "boolean" && typeof numeric === "boolean" && number !== numeric) {
    refuse("number", `is deprecated and must not differ from numeric, got number ${number} and numeric ${numeric}`);
  } else if (
    [number, numeric].includes(false) &&
    ["special", "upper", "lower"].every((name) => inputs[name] === false)
  ) {
    refuse("numeric", "at least one of numeric, special, upper and lower must be true");
  }
  return failures;
}

/** The inputs with their defaults: the part of the outputs that is known beforehand. */
export function withDefaults(inputs: Properties): Properties {
  const numeric = inputs["numeric"] ?? inputs["number"] ?? true;
  const plan: Record<string, unknown> = { length: inputs["length"], number: numeric, numeric };
  for (const property of COUNTS) plan[property] = inputs[property] ?? 0;
  for (const property of ["special", "upper", "lower"]) plan[property] = inputs[property] ?? true;
  for (const property of ["overrideSpecial", "keepers"]) {
    if (!isMissing(inputs[property])) plan[property] = inputs[property];
  }
  return plan;
}

/** Compares the state with new inputs: every change makes a new password, but for the end of an empty `overrideSpecial`. */
export function changes(state: Properties, inputs: Properties): Change[] {
  const plan = withDefaults(inputs);
  return INPUTS.filter((property) => !isDeepStrictEqual(state[property] ?? null, plan[property] ?? null)).map(
    (property) => ({
      property,
      kind: isMissing(state[property]) ? "add" : isMissing(plan[property]) ? "delete" : "update",
      replaces: !(property === "overrideSpecial" && state[property] === "" && isMissing(plan[property])),
    }),
  );
}

/** Makes the password: the outputs for checked inputs. */
export function generate(inputs: Properties): Properties {
  const result = password(inputs);
  return { ...withDefaults(inputs), result, bcryptHash: bcryptHash(result) };
}

/** The outputs of a password that is yet to be made. */
export function preview(inputs: Properties): Properties {
  return { ...withDefaults(inputs), ...Object.fromEntries(SECRET_OUTPUTS.map((property) => [property, UNKNOWN])) };
}

/** Makes the characters: as many of each kind as is asked for, the rest of any wanted kind, in any order. */
export function password(inputs: Properties): string {
  const plan = withDefaults(inputs);
  const { overrideSpecial } = plan;
  const special = typeof overrideSpecial === "string" && overrideSpecial !== "" ? overrideSpecial : SPECIAL;
  // As in the real provider, a minimum counts even where its kind of characters is switched off for the rest.
  const kinds = [
    { characters: UPPER_CASE, wanted: plan["upper"], minimum: plan["minUpper"] },
    { characters: LOWER_CASE, wanted: plan["lower"], minimum: plan["minLower"] },
    { characters: DIGITS, wanted: plan["numeric"], minimum: plan["minNumeric"] },
    { characters: special, wanted: plan["special"], minimum: plan["minSpecial"] },
  ];
  const all = kinds.map(({ characters, wanted }) => (wanted === true ? characters : "")).join("");
  const picked = kinds.flatMap(({ characters, minimum }) => pick(characters, count(minimum)));
  return shuffle([...picked, ...pick(all, count(plan["length"]) - picked.length)]).join("");
}

function pick(characters: string, times: number): string[] {
  const choice = Array.from(characters);
  if (times > 0 && choice.length === 0) throw new Error("the character set specified is empty");
  return Array.from({ length: times }, () => choice[randomInt(choice.length)] as string);
}

/** Fisher and Yates's, by a random number generator that is fit for secrets. */
function shuffle(items: readonly string[]): string[] {
  const shuffled = [...items];
  for (let last = shuffled.length - 1; last > 0; last--) {
    const other = randomInt(last + 1);
    [shuffled[last], shuffled[other]] = [shuffled[other] as string, shuffled[last] as string];
  }
  return shuffled;
}

function isMissing(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function isCount(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

/** A checked count, or the default in its place. */
function count(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function isStringMap(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((item) => typeof item === "string")
  );
}

function shown(value: unknown): string {
  return JSON.stringify(value);
}
