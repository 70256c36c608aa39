import { perService } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { z } from "zod";
import { type Kubeconfig, parseKubeconfig, refusalOfContext } from "./kube-context.ts";

/** The stack's config, read once and checked. Which environment it is for is decided here and nowhere else. */
export type Settings = DevSettings | ProdSettings;

interface CommonSettings {
  /** The namespace of the services and of what they need. */
  readonly namespace: string;

  /** Where Dapr's Helm chart comes from. */
  readonly daprChart: DaprChart;

  /** Where traces go, and which ones; `undefined` where nothing is traced. */
  readonly tracing: Tracing | undefined;

  /** Whether what runs in the cluster survives the loss of a node, and is rolled without a failed request. */
  readonly highlyAvailable: boolean;

  /** Whom the operator of a push service turns to (RFC 8292, 2.1); `undefined` if nobody, and then there is no web push. */
  readonly pushContact: string | undefined;

  /** The how manieth key signs users' tokens. */
  readonly jwtKeyGeneration: number;

  /** How many requests a user may make in a minute, in each replica; `undefined` for the services' own default. */
  readonly requestsPerMinute: number | undefined;
}

/** What services and sidecars tell of what they do. */
export interface Tracing {
  /** An OpenTelemetry collector that takes OTLP over HTTP: a URL without a path. */
  readonly endpoint: string;
  /** The share of traces that is kept of those whose caller didn't decide, from 0 to 1. */
  readonly ratio: number;
}

/** Dapr's Helm chart: the official one, or a directory that has it with its CRDs in `crds/`. */
export type DaprChart = { readonly from: "official" } | { readonly from: "directory"; readonly path: string };

/** Everything in a Kubernetes on this machine. */
export interface DevSettings extends CommonSettings {
  readonly environment: "dev";

  /** The context of the kubeconfig to deploy to. */
  readonly kubeContext: string;

  /** The path of the kubeconfig, `undefined` where `$KUBECONFIG` or `~/.kube/config` is meant. */
  readonly kubeconfig: string | undefined;

  /** What carries the events. */
  readonly broker: "redpanda" | "kafka";

  /** Where the services' images come from. */
  readonly images: DevImages;
}

export type DevImages = z.infer<typeof devImages>;

/** DigitalOcean, with events carried by Redpanda Cloud. */
export interface ProdSettings extends CommonSettings {
  readonly environment: "prod";

  /** What everything of this stack at DigitalOcean is called. */
  readonly name: string;

  /** DigitalOcean's API token: Docker logs in to the registry with it. */
  readonly token: pulumi.Output<string>;

  /** The datacenter that everything is in. */
  readonly region: string;

  /** The cluster's nodes: their size, and how few and many there may be. */
  readonly nodes: Nodes;

  /** The domain, managed by DigitalOcean's DNS, under which the backend is reached by TLS. */
  readonly domain: string | undefined;

  /** How to reach Redpanda Cloud. */
  readonly redpanda: {
    /** The bootstrap servers, each as `host:port`. */
    readonly brokers: readonly string[];
    readonly username: string;
    readonly password: pulumi.Output<string>;
    readonly mechanism: SaslMechanism;
    /** A CA of the brokers' own, in PEM; `undefined` where theirs is public. */
    readonly ca: string | undefined;
  };

  /** How to reach a mail server; `undefined` without one, and then nobody gets e-mail. */
  readonly smtp: SmtpSettings | undefined;

  /** Where the services' images come from. */
  readonly images: ProdImages;
}

export interface SmtpSettings {
  readonly host: string;
  readonly port: number;
  /** Who the mail is from. */
  readonly from: string;
  /** Who to sign in as; `undefined` where the server asks for nobody. */
  readonly auth: { readonly user: string; readonly password: pulumi.Output<string> } | undefined;
}

export type Nodes = z.infer<typeof nodes>;
export type ProdImages = z.infer<typeof prodImages>;

/** The names that brokers have for SASL's mechanisms. */
export const saslMechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-512"] as const;
export type SaslMechanism = (typeof saslMechanisms)[number];

const name = z.string().trim().min(1);
const prebuilt = z.strictObject({ from: z.literal("prebuilt"), ...perService(() => name) });
const prebuiltExample = JSON.stringify({ from: "prebuilt", ...perService(() => "<image>") });
const devImages = z.discriminatedUnion("from", [
  z.strictObject({ from: z.literal("minikube") }),
  z.strictObject({ from: z.literal("registry"), repository: name }),
  prebuilt,
]);

const prodImages = z.discriminatedUnion("from", [
  z.strictObject({ from: z.literal("registry"), name: name.optional() }),
  prebuilt,
]);
const nodes = z.strictObject({ size: name, min: z.int().min(1), max: z.int() }).refine(({ min, max }) => min <= max);
const hostAndPort = z.string().regex(/^[\w.-]+:\d{1,5}$/);
const brokerList = z.string().refine((list) => list.split(",").every((each) => hostAndPort.safeParse(each).success));
const domainName = z.string().regex(/^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z]{2,}$/);

const hostName = z.string().regex(/^[\w-]+(\.[\w-]+)*$/);
const portNumber = z
  .string()
  .regex(/^\d{1,5}$/)
  .refine((digits) => Number(digits) >= 1 && Number(digits) <= 65_535);
/** An address, or a name before it in angle brackets. */
const sender = z.union([z.email(), z.string().regex(/^[^<>"\r\n]+ <[^<>\s@]+@[^<>\s@]+>$/)]);
// The sidecar takes no path.
const origin = z.string().regex(/^https?:\/\/[\w.-]+(:\d{1,5})?$/);
const ratio = z.string().regex(/^(0|1|0\.\d+)$/);

/** As the notification service takes it. */
const contact = z.string().regex(/^(mailto:[^@\s]+@[^@\s]+|https:\/\/\S+)$/);
const contactAllowed = "an address like mailto:admin@example.com, or an https URL";

const namespaceName = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);

/** The project's config namespace, which is also its name. */
const project = "event-flow";

const environments = ["dev", "prod"] as const;
type Environment = (typeof environments)[number];

/** Every config key of this project, and the environments it is a key of. */
const keys = {
  environment: environments,
  namespace: environments,
  daprChart: environments,
  images: environments,
  otlpEndpoint: environments,
  traceRatio: environments,
  pushContact: environments,
  jwtKeyGeneration: environments,
  requestsPerMinute: environments,
  kubeContext: ["dev"],
  kubeconfig: ["dev"],
  broker: ["dev"],
  region: ["prod"],
  nodes: ["prod"],
  domain: ["prod"],
  redpandaBrokers: ["prod"],
  redpandaUsername: ["prod"],
  redpandaPassword: ["prod"],
  redpandaMechanism: ["prod"],
  redpandaCa: ["prod"],
  smtpHost: ["prod"],
  smtpPort: ["prod"],
  smtpFrom: ["prod"],
  smtpUser: ["prod"],
  smtpPassword: ["prod"],
} as const satisfies Record<string, readonly Environment[]>;

type Key = keyof typeof keys;

/** What `parseSettings` works on: no Pulumi, so that each error can be tested. */
export interface Sources {
  /** The stack's name, for the commands in error messages. */
  readonly stack: string;

  /** The whole config, keys with their namespace (`event-flow:broker`), structured values as JSON. */
  readonly config: Readonly<Record<string, string>>;

  /** The keys whose values are kept encrypted. */
  readonly isSecret: (key: string) => boolean;

  /** The environment variables. */
  readonly env: Readonly<Record<string, string | undefined>>;

  /** The user's home directory. */
  readonly home: string;
}

/** The SDK has this, which its own `Config` is made of, but leaves it out of its declarations. */
const runtime = pulumi.runtime as typeof pulumi.runtime & { isConfigSecret(key: string): boolean };

/** Reads the settings of the stack that is being deployed. Throws, naming everything that is wrong with them. */
export function readSettings(): Settings {
  return parseSettings({
    stack: pulumi.getStack(),
    config: pulumi.runtime.allConfig(),
    isSecret: (key) => runtime.isConfigSecret(key),
    env: process.env,
    home: homedir(),
  });
}

/** Checks a stack's config and makes the settings of it. Throws one error that names everything that is wrong. */
export function parseSettings(sources: Sources): Settings {
  const reader = new ConfigReader(sources);
  reader.refuseUnknownKeys();
  const environment = reader.oneOf("environment", environments);
  if (environment === undefined) throw reader.error();
  reader.refuseKeysOfOthers(environment);
  const settings = read(environment, reader);
  if (reader.failed) throw reader.error();
  return settings;
}

function read(environment: Environment, reader: ConfigReader): Settings {
  switch (environment) {
    case "dev": {
      const { kubeContext, kubeconfig } = reader.localContext();
      return {
        environment,
        kubeContext,
        kubeconfig,
        highlyAvailable: false,
        // The kubectl commands that people know name no namespace.
        namespace: reader.namespace("default"),
        broker: reader.oneOf("broker", ["redpanda", "kafka"], "redpanda"),
        // Nobody's: there are a few pushes to one's own browser.
        pushContact: reader.text("pushContact", contact, contactAllowed, "mailto:event-flow@example.com"),
        images: reader.object(
          "images",
          devImages,
          { from: "minikube" },
          '{"from":"minikube"}, {"from":"registry","repository":"<registry>/<path>"} or ' + prebuiltExample,
        ),
        daprChart: reader.daprChart(),
        tracing: reader.tracing(),
        jwtKeyGeneration: reader.count("jwtKeyGeneration", 9_999, "2") ?? 1,
        requestsPerMinute: reader.count("requestsPerMinute", 999_999_999, "600"),
      };
    }
    case "prod":
      return {
        environment,
        highlyAvailable: true,
        name: reader.resourceName(),
        token: reader.token(),
        region: reader.text("region", z.string().regex(/^[a-z]{3}\d$/), "a region's name like fra1", "fra1"),
        nodes: reader.object(
          "nodes",
          nodes,
          // Three, so that Dapr's scheduler keeps its majority when one is lost or upgraded.
          { size: "s-2vcpu-4gb", min: 3, max: 5 },
          '{"size":"<droplet size>","min":<count>,"max":<count>}, with min at most max',
        ),
        domain: reader.optional("domain", domainName, "a domain name like tasks.example.com"),
        redpanda: {
          brokers: reader
            .text("redpandaBrokers", brokerList, "host:port, or several with commas between them", undefined)
            .split(","),
          username: reader.text("redpandaUsername", name, "the name of a SASL user", undefined),
          password: reader.secret("redpandaPassword"),
          mechanism: reader.oneOf("redpandaMechanism", saslMechanisms, "SCRAM-SHA-256"),
          ca: reader.optional(
            "redpandaCa",
            z.string().startsWith("-----BEGIN CERTIFICATE-----"),
            "a certificate in PEM",
            // As an argument, its first dashes would be taken for a flag.
            "< <file>",
          ),
        },
        smtp: reader.smtp(),
        pushContact: reader.optional("pushContact", contact, contactAllowed),
        namespace: reader.namespace(project),
        images: reader.object(
          "images",
          prodImages,
          { from: "registry" },
          '{"from":"registry"}, {"from":"registry","name":"<registry>"} or ' + prebuiltExample,
        ),
        daprChart: reader.daprChart(),
        tracing: reader.tracing(),
        jwtKeyGeneration: reader.count("jwtKeyGeneration", 9_999, "2") ?? 1,
        requestsPerMinute: reader.count("requestsPerMinute", 999_999_999, "600"),
      };
  }
}

/** A `pulumi config` command. */
type Fix = { do: "set"; value?: string | undefined } | { do: "rm" | "secret"; value?: undefined };

/** Takes values out of the config and collects what is wrong with them. */
class ConfigReader {
  readonly #sources: Sources;
  readonly #problems: string[] = [];

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  get failed(): boolean {
    return this.#problems.length > 0;
  }

  error(): pulumi.RunError {
    const count = this.#problems.length;
    const title = `Stack ${this.#sources.stack} was not deployed: its config has ${
      count === 1 ? "a problem" : `${count} problems`
    }.`;
    return new pulumi.RunError([title, ...this.#problems].join("\n\n"));
  }

  /** Notes what is so of a key of this project, and the command that mends it. */
  problem(key: string, what: string, fix: Fix): void {
    this.#note(`${project}:${key}`, what, fix);
  }

  #note(key: string, what: string, fix: Fix): void {
    const command = {
      set: ["set", key, fix.value],
      // Without a value the command asks for it, so that it is in no shell's history.
      secret: ["set", "--secret", key, undefined],
      rm: ["rm", key, undefined],
    }[fix.do];
    const words = ["pulumi config", ...command, "--stack", this.#sources.stack];
    this.#problems.push(`  ${key} ${what}\n    ${words.filter((word) => word !== undefined).join(" ")}`);
  }

  refuseUnknownKeys(): void {
    for (const key of this.#ownKeys()) {
      if (key in keys) continue;
      const similar = nearest(key, Object.keys(keys));
      const hint =
        similar === undefined ? `Its keys: ${Object.keys(keys).join(", ")}.` : `Did you mean ${project}:${similar}?`;
      // Neither here nor anywhere else is the value of an unknown key told: it may be a secret.
      this.problem(key, `is not a key of this project. ${hint}`, { do: "rm" });
    }
  }

  refuseKeysOfOthers(environment: Environment): void {
    for (const key of this.#ownKeys()) {
      const owners: readonly Environment[] | undefined = key in keys ? keys[key as Key] : undefined;
      if (owners === undefined || owners.includes(environment)) continue;
      this.problem(key, `is a key for ${owners.join(" and ")} only, and this stack is for ${environment}.`, {
        do: "rm",
      });
    }
  }

  /** One of a few words. */
  oneOf<T extends string>(key: Key, allowed: readonly T[], byDefault: T): T;
  oneOf<T extends string>(key: Key, allowed: readonly T[]): T | undefined;
  oneOf<T extends string>(key: Key, allowed: readonly T[], byDefault?: T): T | undefined {
    const value = this.#get(key);
    if (value === undefined) {
      if (byDefault === undefined)
        this.problem(key, `is missing; allowed: ${allowed.join(", ")}.`, { do: "set", value: allowed[0] });
      return byDefault;
    }
    const word = allowed.find((each) => each === value);
    if (word === undefined) {
      this.problem(key, `is "${value}"; allowed: ${allowed.join(", ")}.`, {
        do: "set",
        value: byDefault ?? nearest(value, allowed) ?? allowed[0],
      });
    }
    return word ?? byDefault;
  }

  /** A structured value, checked by a schema. */
  object<T>(key: Key, schema: z.ZodType<T>, byDefault: T, allowed: string): T {
    const value = this.#get(key);
    if (value === undefined) return byDefault;
    const result = schema.safeParse(fromJson(value));
    if (result.success) return result.data;
    this.problem(key, `is ${value}; allowed: ${allowed}.`, { do: "rm" });
    return byDefault;
  }

  /** A text of some form; required when it has no default. `example` completes the command that sets it. */
  text(
    key: Key,
    schema: z.ZodType<string>,
    allowed: string,
    byDefault: string | undefined,
    example = byDefault ?? "<value>",
  ): string {
    const value = this.#get(key) ?? byDefault;
    if (value === undefined) {
      this.problem(key, `is missing; allowed: ${allowed}.`, { do: "set", value: example });
      return "";
    }
    if (!schema.safeParse(value).success) {
      this.problem(key, `is "${value}"; allowed: ${allowed}.`, { do: "set", value: example });
    }
    return value;
  }

  /** A text of some form that may be left out. */
  optional(key: Key, schema: z.ZodType<string>, allowed: string, example?: string): string | undefined {
    return this.#get(key) === undefined ? undefined : this.text(key, schema, allowed, undefined, example);
  }

  /** A number of things, from one to many, that may be left out. */
  count(key: Key, most: number, example: string): number | undefined {
    const digits = z.string().regex(/^[1-9]\d{0,8}$/);
    const schema = digits.refine((text) => Number(text) <= most);
    const value = this.optional(key, schema, `a whole number from 1 to ${most}`, example);
    return value === undefined ? undefined : Number(value);
  }

  /** A value that must be there and be kept encrypted. No message tells it. */
  secret(key: Key): pulumi.Output<string> {
    return this.#secret(`${project}:${key}`, this.#get(key));
  }

  /** How to reach a mail server, if one is named. */
  smtp(): SmtpSettings | undefined {
    if (this.#get("smtpHost") === undefined) {
      for (const key of ["smtpPort", "smtpFrom", "smtpUser", "smtpPassword"] as const) {
        if (this.#get(key) === undefined) continue;
        this.problem(key, "is set without event-flow:smtpHost.", { do: "rm" });
      }
      return undefined;
    }
    const user = this.optional("smtpUser", name, "the name of the mail server's user");
    const password = this.#get("smtpPassword");
    if (user === undefined && password !== undefined) {
      this.problem("smtpUser", "is missing; event-flow:smtpPassword is set.", { do: "set", value: "<value>" });
    }
    return {
      host: this.text("smtpHost", hostName, "a mail server's name like smtp.example.com", undefined),
      port: Number(this.text("smtpPort", portNumber, "a port, from 1 to 65535", "587")),
      from: this.text(
        "smtpFrom",
        sender,
        "an address, or a name with an address like Tasks <tasks@example.com>",
        undefined,
      ),
      auth: user === undefined ? undefined : { user, password: this.secret("smtpPassword") },
    };
  }

  /** DigitalOcean's API token, from where its provider takes it. */
  token(): pulumi.Output<string> {
    const { config, env } = this.#sources;
    const fromEnv = env["DIGITALOCEAN_TOKEN"] ?? env["DIGITALOCEAN_ACCESS_TOKEN"];
    const configured = config["digitalocean:token"];
    return configured === undefined && fromEnv !== undefined
      ? pulumi.secret(fromEnv)
      : this.#secret("digitalocean:token", configured);
  }

  #secret(key: string, value: string | undefined): pulumi.Output<string> {
    if (value === undefined || value === "") {
      this.#note(key, "is missing.", { do: "secret" });
    } else if (!this.#sources.isSecret(key)) {
      this.#note(key, "is in the stack's file in plain text.", { do: "secret" });
    }
    return pulumi.secret(value ?? "");
  }

  /** What this stack's resources at a cloud are called. */
  resourceName(): string {
    return `${project}-${this.#sources.stack}`.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  }

  namespace(byDefault: string): string {
    const value = this.#get("namespace") ?? byDefault;
    if (!namespaceName.safeParse(value).success) {
      const what = `is "${value}"; allowed: a Kubernetes name, at most 63 of a-z, 0-9 and inner "-".`;
      this.problem("namespace", what, { do: "set", value: byDefault });
    }
    return value;
  }

  tracing(): Tracing | undefined {
    const example = "http://collector.observability:4318";
    const endpoint = this.optional("otlpEndpoint", origin, `a URL without a path, like ${example}`, example);
    const share = this.optional("traceRatio", ratio, "a number from 0 to 1", "0.1");
    if (endpoint === undefined) {
      if (share !== undefined) {
        const what = "says which traces are kept, but without event-flow:otlpEndpoint there are none.";
        this.problem("traceRatio", what, { do: "rm" });
      }
      return undefined;
    }
    return { endpoint, ratio: Number(share ?? 1) };
  }

  daprChart(): DaprChart {
    const value = this.#get("daprChart");
    if (value === undefined) return { from: "official" };
    const directory = path.resolve(this.#expand(value));
    for (const needed of ["Chart.yaml", "crds"]) {
      if (existsSync(path.join(directory, needed))) continue;
      this.problem(
        "daprChart",
        `is "${value}", which is not a directory with Dapr's Helm chart: it has no ${needed}. Without this key the official chart is used.`,
        { do: "rm" },
      );
      break;
    }
    return { from: "directory", path: directory };
  }

  /** The context to deploy to, refused unless its cluster is on this machine or a private network. */
  localContext(): { kubeContext: string; kubeconfig: string | undefined } {
    const kubeContext = this.#get("kubeContext") ?? "minikube";
    const configured = this.#get("kubeconfig");
    const kubeconfig = configured === undefined ? undefined : path.resolve(this.#expand(configured));
    const found = this.#readKubeconfig(kubeconfig);
    if (found !== undefined) {
      const refusal = refusalOfContext(found, kubeContext);
      if (refusal !== undefined) this.problem("kubeContext", refusal, { do: "set", value: "<context>" });
    }
    return { kubeContext, kubeconfig };
  }

  #readKubeconfig(configured: string | undefined): Kubeconfig | undefined {
    const { env, home } = this.#sources;
    const fromEnv = (env["KUBECONFIG"] ?? "").split(path.delimiter).filter((file) => file !== "");
    const files =
      configured !== undefined ? [configured] : fromEnv.length > 0 ? fromEnv : [path.join(home, ".kube", "config")];
    const existing = files.filter((file) => existsSync(file));
    if (existing.length === 0) {
      const origin =
        configured !== undefined
          ? "is"
          : fromEnv.length > 0
            ? "is unset, and $KUBECONFIG is"
            : "is unset, and by default";
      this.problem("kubeconfig", `${origin} ${files.join(path.delimiter)}, which does not exist.`, {
        do: "set",
        value: "<path>",
      });
      return undefined;
    }
    try {
      return parseKubeconfig(...existing.map((file) => readFileSync(file, "utf8")));
    } catch {
      this.problem("kubeconfig", `leads to ${existing.join(path.delimiter)}, which is not a kubeconfig.`, {
        do: "set",
        value: "<path>",
      });
      return undefined;
    }
  }

  #expand(file: string): string {
    return file.replace(/^~(?=$|\/)/, this.#sources.home);
  }

  #get(key: Key): string | undefined {
    return this.#sources.config[`${project}:${key}`];
  }

  #ownKeys(): string[] {
    return Object.keys(this.#sources.config)
      .filter((key) => key.startsWith(`${project}:`))
      .map((key) => key.slice(project.length + 1))
      .sort();
  }
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The word that a mistyped one was meant to be, if any is like it: at most a third of its letters are others. */
function nearest<T extends string>(mistyped: string, words: readonly T[]): T | undefined {
  /** How many letters must be put in, taken out or replaced. */
  const distance = (a: string, b: string): number => {
    let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
    for (let row = 1; row <= a.length; row++) {
      const current = [row];
      for (let column = 1; column <= b.length; column++) {
        const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
        current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
      }
      previous = current;
    }
    return previous[b.length] ?? 0;
  };
  const [closest] = words
    .map((word) => ({ word, edits: distance(mistyped.toLowerCase(), word.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits);
  return closest !== undefined && closest.edits <= mistyped.length / 3 ? closest.word : undefined;
}
