import { describe, expect, it } from "vitest";
import { changes, check, generate, password, preview, UNKNOWN, withDefaults } from "./random-password.ts";
import type { Properties } from "./provider-wire.ts";

const everyInput: Properties = {
  length: 32,
  minUpper: 1,
  minLower: 2,
  minNumeric: 1,
  minSpecial: 2,
  special: true,
  upper: true,
  lower: true,
  number: true,
  numeric: true,
  overrideSpecial: "_-",
  keepers: { generation: "1" },
};

describe("check", () => {
  it.each<[string, Properties]>([
    ["the length alone", { length: 1 }],
    ["every input", { ...everyInput, length: 12 }],
    ["null for what is optional", { length: 8, keepers: null, overrideSpecial: null, minLower: null, special: null }],
    ["minimums that fill the length", { length: 4, minUpper: 1, minLower: 1, minNumeric: 1, minSpecial: 1 }],
    ["a length that isn't known yet", { length: UNKNOWN, minUpper: 5 }],
    ["a minimum that isn't known yet", { length: 1, minUpper: UNKNOWN, minLower: 5 }],
    ["keepers that aren't known yet", { length: 8, keepers: UNKNOWN }],
    ["number and numeric in agreement", { length: 8, number: false, numeric: false }],
    ["digits alone", { length: 8, special: false, upper: false, lower: false }],
  ])("takes %s", (_, inputs) => {
    expect(check(inputs)).toEqual([]);
  });

  it.each<[string, Properties, string, string]>([
    ["no length", {}, "length", "missing required property 'length'"],
    ["length 0", { length: 0 }, "length", "must be a whole number of at least 1, got 0"],
    ["half a character", { length: 8.5 }, "length", "must be a whole number of at least 1, got 8.5"],
    ["a length in words", { length: "8" }, "length", 'must be a whole number of at least 1, got "8"'],
    ["a negative minimum", { length: 8, minLower: -1 }, "minLower", "must be a whole number of at least 0, got -1"],
    ["a switch in words", { length: 8, upper: "no" }, "upper", 'must be true or false, got "no"'],
    ["a list of characters", { length: 8, overrideSpecial: ["_"] }, "overrideSpecial", 'must be a string, got ["_"]'],
    ["a keeper that is no string", { length: 8, keepers: { a: 1 } }, "keepers", "must be a map of strings"],
    ["a list of keepers", { length: 8, keepers: ["a"] }, "keepers", "must be a map of strings"],
    [
      "minimums beyond the length",
      { length: 3, minUpper: 2, minSpecial: 2 },
      "length",
      "must be at least the sum of minUpper, minLower, minNumeric, minSpecial, which is 4, got 3",
    ],
    [
      "number and numeric at odds",
      { length: 8, number: true, numeric: false },
      "number",
      "is deprecated and must not differ from numeric, got number true and numeric false",
    ],
    [
      "everything switched off",
      { length: 8, numeric: false, special: false, upper: false, lower: false },
      "numeric",
      "at least one of numeric, special, upper and lower must be true",
    ],
    [
      "an input of another resource",
      { length: 8, prefix: "x" },
      "prefix",
      "not an input of RandomPassword; it takes length, minUpper, minLower, minNumeric, minSpecial, special, upper, " +
        "lower, number, numeric, overrideSpecial, keepers",
    ],
  ])("refuses %s", (_, inputs, property, reason) => {
    expect(check(inputs)).toEqual([{ property, reason }]);
  });

  it("reports every wrong input at once", () => {
    expect(check({ minUpper: "1", lower: 0 }).map(({ property }) => property)).toEqual(["length", "minUpper", "lower"]);
  });
});

describe("changes", () => {
  const state = generate(everyInput);

  it("finds none in the same inputs", () => {
    expect(changes(state, everyInput)).toEqual([]);
  });

  it("finds none when a default is written out, or no longer is", () => {
    expect(changes(generate({ length: 8 }), { length: 8, special: true, minUpper: 0, numeric: true })).toEqual([]);
    expect(changes(generate({ length: 8, upper: true, number: true }), { length: 8 })).toEqual([]);
  });

  it.each<[string, unknown]>([
    ["length", 33],
    ["minUpper", 3],
    ["minLower", 3],
    ["minNumeric", 3],
    ["minSpecial", 3],
    ["special", false],
    ["upper", false],
    ["lower", false],
    ["overrideSpecial", "+"],
    ["keepers", { generation: "2" }],
    ["keepers", { generation: "1", more: "1" }],
    ["keepers", UNKNOWN],
  ])("replaces the password when %s changes to %j", (property, value) => {
    expect(changes(state, { ...everyInput, [property]: value })).toEqual([
      { property, kind: "update", replaces: true },
    ]);
  });

  it("keeps number and numeric together", () => {
    expect(changes(generate({ length: 8 }), { length: 8, numeric: false }).map(({ property }) => property)).toEqual([
      "number",
      "numeric",
    ]);
  });

  it("replaces the password when an optional input comes or goes", () => {
    expect(changes(generate({ length: 8 }), { length: 8, keepers: { a: "1" } })).toEqual([
      { property: "keepers", kind: "add", replaces: true },
    ]);
    expect(changes(generate({ length: 8, overrideSpecial: "_" }), { length: 8 })).toEqual([
      { property: "overrideSpecial", kind: "delete", replaces: true },
    ]);
  });

  it("keeps the password when an empty overrideSpecial goes", () => {
    expect(changes(generate({ length: 8, overrideSpecial: "" }), { length: 8 })).toEqual([
      { property: "overrideSpecial", kind: "delete", replaces: false },
    ]);
  });
});

describe("generate", () => {
  it("gives the inputs with their defaults back, the password and its hash", () => {
    const { result, bcryptHash, ...rest } = generate({ length: 8, keepers: { a: "1" } });
    expect(rest).toEqual({
      length: 8,
      minUpper: 0,
      minLower: 0,
      minNumeric: 0,
      minSpecial: 0,
      special: true,
      upper: true,
      lower: true,
      number: true,
      numeric: true,
      keepers: { a: "1" },
    });
    expect(result).toHaveLength(8);
    expect(bcryptHash).toMatch(/^\$2a\$10\$/);
  });
});

describe("password", () => {
  const many = (inputs: Properties): string[] => Array.from({ length: 500 }, () => password(inputs));
  const count = (text: string, kind: RegExp): number => text.match(kind)?.length ?? 0;

  it("has the wanted length of the known characters, and is another one each time", () => {
    const made = many({ length: 32 });
    expect(new Set(made).size).toBe(made.length);
    expect(made.filter((text) => !/^[0-9A-Za-z!@#$%&*()\-_=+[\]{}<>:?]{32}$/.test(text))).toEqual([]);
    // 83 kinds in 16,000 places: that one of them never comes has a chance of e^-189.
    expect(new Set(made.join("")).size).toBe(83);
  });

  it("has as many of each kind as is asked for", () => {
    for (const text of many({ length: 9, minUpper: 1, minLower: 2, minNumeric: 3, minSpecial: 3 })) {
      expect([count(text, /[A-Z]/g), count(text, /[a-z]/g), count(text, /[0-9]/g)]).toEqual([1, 2, 3]);
    }
  });

  it("leaves out what is switched off, but for the minimum of it", () => {
    const only = many({ length: 8, special: false, upper: false, numeric: false, minUpper: 1 });
    expect(only.filter((text) => count(text, /[A-Z]/g) !== 1 || count(text, /[a-z]/g) !== 7)).toEqual([]);
  });

  it("takes its special characters from overrideSpecial", () => {
    const made = many({ length: 8, upper: false, lower: false, number: false, overrideSpecial: "_é" });
    expect(made.filter((text) => !/^[_é]{8}$/.test(text))).toEqual([]);
    expect(password({ length: 8, minSpecial: 8, overrideSpecial: "" })).toMatch(/^[^0-9A-Za-zé]{8}$/);
  });

  it("puts the required characters anywhere", () => {
    const places = many({ length: 8, minNumeric: 1, numeric: false }).map((text) => text.search(/[0-9]/));
    expect(new Set(places).size).toBe(8);
  });

  it("refuses to make one of nothing", () => {
    const nothing = { length: 1, special: false, upper: false, lower: false, numeric: false };
    expect(() => password(nothing)).toThrow("the character set specified is empty");
  });
});

describe("preview", () => {
  it("knows all but the password", () => {
    expect(preview({ length: 8 })).toEqual({ ...withDefaults({ length: 8 }), result: UNKNOWN, bcryptHash: UNKNOWN });
  });
});
