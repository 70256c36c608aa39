/**
 * Whatever a key of the config is set to, either one clear error says so, or the whole program deploys it: what it asks for then
 * differs from the usual only where the value belongs.
 */
import * as pulumi from "@pulumi/pulumi";
import { perService, services } from "@event-flow/events";
import fc from "fast-check";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type Key, keys, parseSettings, secretKeys } from "../../components/settings.ts";
import { fixture, prodConfig } from "./support/config.ts";
import { temporaryFolder } from "./support/folder.ts";
import { certificate } from "./support/patient.ts";
import { runProgram } from "./support/program.ts";
import type { Run } from "./support/pulumi.ts";
import { differences, faultsOf } from "./support/shape.ts";

type Environment = "dev" | "prod";
const folder = temporaryFolder();
const otherChart = path.join(folder, "another chart");
const otherKubeconfig = path.join(folder, "kube config");
const certificates = { one: await certificate(300), other: await certificate(200) };

/** Names of images that differ by their tag. */
const imagesOf = (tag: string) =>
  JSON.stringify({ from: "prebuilt", ...perService((service) => `${services[service].name}:${tag}`) });

/**
 * Two sound values of each key. What the program asks for with the one and with the other differs where the value belongs. Of a
 * key that is one of a few words there is one, as the others make another program.
 */
const sound: Record<Key, readonly [string, string?]> = {
  environment: ["dev"],
  namespace: ["todo", "another"],
  daprChart: [fixture("dapr-chart"), otherChart],
  images: [imagesOf("1"), imagesOf("2")],
  otlpEndpoint: ["http://collector:4318", "https://other.example.com"],
  traceRatio: ["0.25", "0.5"],
  jwtKeyGeneration: ["2", "3"],
  requestsPerMinute: ["600", "1200"],
  pushContact: ["mailto:a@example.com", "https://example.com/contact"],
  kubeContext: ["minikube", "other@minikube"],
  kubeconfig: [fixture("kubeconfig.yaml"), otherKubeconfig],
  broker: ["kafka"],
  region: ["fra1", "nyc3"],
  nodes: ['{"size":"s-2vcpu-4gb","min":3,"max":5}', '{"size":"s-4vcpu-8gb","min":4,"max":6}'],
  domain: ["tasks.example.com", "todo.example.org"],
  redpandaBrokers: ["seed-1.example.com:9092,seed-2.example.com:9092", "other.example.com:9093"],
  redpandaUsername: ["event-flow", "another"],
  redpandaPassword: ["<redpanda-password>", "<another-password>"],
  redpandaMechanism: ["SCRAM-SHA-256"],
  redpandaCa: [certificates.one, certificates.other],
  smtpHost: ["smtp.example.com", "mail.example.org"],
  smtpPort: ["2525", "465"],
  smtpFrom: ["Tasks <tasks@example.com>", "todo@example.org"],
  smtpUser: ["tasks", "another"],
  smtpPassword: ["<smtp-password>", "<other-password>"],
};

/** What no key takes for what it looks like. */
const hostile = [
  ...["", " ", "\t\n", "null", "true", "0", "-1", "1e309", "NaN", "0x10", "1 ", " 1", "1.5", "99999", "9".repeat(400)],
  ...["{}", "[]", "[[[", '{"from":', '{"a":{"b":[1]}}', '"quoted"', '{"__proto__":{"from":"minikube"}}', "__proto__"],
  ...[
    "\0",
    "a\0b",
    "\u001b[31mred\u001b[0m",
    "\u0007",
    "\r",
    "\u2028",
    "\u202egnp.exe",
    "\ud800",
    "ｄｅｖ",
    "рrod",
    "𝔡𝔢𝔳",
  ],
  ...[
    "a: b\n- c",
    "!!js/function 'function () {}'",
    "&a [*a, *a]",
    "*a",
    "- x",
    "# comment",
    "---\nkind: Secret",
    "'",
    '"',
    "`",
  ],
  ...[
    "${HOME}",
    "$(JWT_SECRET)",
    "$(rm -rf /)",
    "`id`",
    "a; id",
    "a && id",
    "| id",
    "> /etc/passwd",
    "--config",
    "-x",
    "%00",
    "%s%n",
  ],
  ...[
    "../..",
    "/",
    "/dev/zero",
    "/proc/self/mem",
    "/etc",
    "~",
    "~/",
    "..\\..",
    "C:\\",
    "Upper",
    "under_score",
    "a".repeat(300),
  ],
  ...[
    "http://user:pass@host",
    "http://host:1\nX: y",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "http://a b",
    "http://a#b",
    "http://a?b",
  ],
  ...[
    "http://",
    "https://[::1]:4318",
    "http://collector:99999",
    "http://0x7f.1",
    "http://999.1.1.1",
    "http://a..b",
    "//host",
    "http://-",
  ],
  ...[
    "host:0",
    "host:65536",
    "host:1,,host:2",
    "host:1, host:2",
    "host:1:2",
    ":1",
    "host:",
    "a@b",
    "<a@b>",
    "a <b",
    "A, B <a@example.com>",
  ],
  ...[
    "mailto:a@b\r\nBcc: c@d",
    "https://example.com/$(JWT_SECRET)",
    "mailto:",
    "https://u:p@example.com",
    "https://\u0000",
  ],
  ...[
    "kube-system",
    "dapr-system",
    "default",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----\nMIIB",
    "x".repeat(1_000_000),
  ],
];

const environments: readonly Environment[] = ["dev", "prod"];
const secret = (key: Key) => (secretKeys as readonly Key[]).includes(key);
const cases = environments.flatMap((environment) =>
  (Object.keys(keys) as Key[])
    .filter((key) => (keys[key] as readonly Environment[]).includes(environment))
    .map((key): [Environment, Key] => [environment, key]),
);

/** A config that has every key of its environment. */
function full(environment: Environment): Record<string, string> {
  const own = cases.filter(([each]) => each === environment).map(([, key]) => [`event-flow:${key}`, sound[key][0]]);
  return {
    ...(Object.fromEntries(own) as Record<string, string>),
    ...(environment === "prod" && { "digitalocean:token": prodConfig["digitalocean:token"] }),
    "event-flow:environment": environment,
  };
}

const secretsOf = (environment: Environment) =>
  environment === "prod" ? ["digitalocean:token", ...secretKeys.map((key) => `event-flow:${key}`)] : [];

/** The error that a config is refused with; `undefined` if it's taken. Whatever else is thrown is a failure of the program. */
function refusal(environment: Environment, config: Record<string, string>): string | undefined {
  const secrets = secretsOf(environment);
  try {
    parseSettings({
      stack: environment,
      config,
      isSecret: (key) => secrets.includes(key),
      env: {},
      home: folder,
    });
    return undefined;
  } catch (error) {
    if (!pulumi.RunError.isInstance(error)) throw error;
    return error.message;
  }
}

/** Values of a key: hostile ones as they are or put into a sound one, JSON of any kind, and sound objects with one part replaced. */
function valuesFor(key: Key): fc.Arbitrary<string> {
  const text = fc.oneof(
    fc.constantFrom(...hostile),
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme-ascii" }),
    fc.stringMatching(/^[a-z0-9.:@/_-]{1,70}$/),
  );
  const samples = sound[key].filter((value) => value !== undefined);
  const spliced = fc.tuple(fc.constantFrom(...samples), text, fc.nat(), fc.nat(3)).map(([sample, part, at, taken]) => {
    const start = at % (sample.length + 1);
    return sample.slice(0, start) + part + sample.slice(start + taken);
  });
  const json = fc.json();
  const all = [text, spliced, json];
  const [sample] = samples;
  if (sample?.startsWith("{") === true) {
    const object = JSON.parse(sample) as Record<string, unknown>;
    const part = fc.oneof(fc.jsonValue(), text);
    all.push(
      fc
        .tuple(fc.constantFrom(...Object.keys(object), "more", "__proto__"), part)
        .map(([name, value]) => `${sample.slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(value)}}`),
    );
  }
  return fc.oneof(...all);
}

const runs = Number(process.env["FUZZ_RUNS"] ?? 200);
/** What was taken of each key that is neither of its sound values. */
const taken = new Map<string, Set<string>>();

beforeAll(() => {
  mkdirSync(path.join(otherChart, "crds"), { recursive: true });
  writeFileSync(path.join(otherChart, "Chart.yaml"), "name: dapr");
  writeFileSync(
    otherKubeconfig,
    "contexts: [{ name: minikube, context: { cluster: a } }, { name: other@minikube, context: { cluster: a } }]\n" +
      "clusters: [{ name: a, cluster: { server: https://127.0.0.1 } }]",
  );
});

test("the configs that are changed are sound themselves", () => {
  for (const environment of environments) expect(refusal(environment, full(environment))).toBeUndefined();
});

describe.each(cases)("stack %s: %s", (environment, key) => {
  const name = `event-flow:${key}`;

  test("is taken, or refused by an error that names it", () => {
    const found = new Set<string>();
    taken.set(`${environment} ${key}`, found);
    const check = (value: string) => {
      const message = refusal(environment, { ...full(environment), [name]: value });
      if (message === undefined) {
        if (!sound[key].includes(value)) found.add(value);
        return;
      }
      const [title, ...problems] = message.split("\n\n");
      expect(title).toMatch(/^Stack (dev|prod) was not deployed: its config has (a problem|\d+ problems)\.$/);
      // A key that others are of no use without has those named, too.
      expect(problems.some((problem) => problem.startsWith(`  ${name} `)) || key === "environment").toBe(true);
      for (const problem of problems) {
        expect(problem).toMatch(/^ {2}[\w:-]+ .+\n {4}pulumi config (set|rm) .+ --stack (dev|prod)$/);
      }
      expect(message).not.toMatch(/(?!\n)\p{Cc}|[\u2028\u2029\u202a-\u202e]/u);
      expect(message.isWellFormed()).toBe(true);
      expect(message.length).toBeLessThan(key === "environment" ? 10_000 : 2_000);
      if (secret(key) && value.trim().length > 8) expect(message).not.toContain(value.trim());
    };
    for (const value of hostile) check(value);
    fc.assert(fc.property(valuesFor(key), check), { numRuns: runs });
  });
});

describe.each(environments)("stack %s", (environment) => {
  const run = (changed: Record<string, string> = {}): Promise<Run> =>
    runProgram({ ...full(environment), ...changed }, environment, secretsOf(environment));
  let usual: Run;
  beforeAll(async () => {
    usual = await run();
  });

  test.each(cases.filter(([each]) => each === environment).map(([, key]) => key))(
    "%s, where taken, gets where it belongs and nowhere else",
    async (key) => {
      expect(faultsOf(usual)).toEqual([]);
      const name = `event-flow:${key}`;
      const [, other] = sound[key];
      if (other === undefined) return;
      const another = key === "kubeContext" ? { "event-flow:kubeconfig": otherKubeconfig } : {};
      const places = differences(usual, await run({ [name]: other, ...another }));
      expect(places).not.toEqual([]);
      // A run takes its time: of many values these say most.
      const values = [...(taken.get(`${environment} ${key}`) ?? [])].sort((a, b) => a.length - b.length);
      const odd = values.find((value) => /\$\(|\$\{|[^ -~]/.test(value));
      for (const value of new Set([values[0], values.at(-1), odd])) {
        if (value === undefined) continue;
        const made = await run({ [name]: value, ...another });
        expect(faultsOf(made), value).toEqual([]);
        expect(
          // A value may itself look like a document, of which there then are parts.
          differences(usual, made).filter((at) => !places.some((place) => `${at}/`.startsWith(`${place}/`))),
          value,
        ).toEqual([]);
      }
    },
  );
});
