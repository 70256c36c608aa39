import { perService } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { isIPv4 } from "node:net";
import { homedir } from "node:os";
import path from "node:path";
import { z } from "zod";
import { type Kubeconfig, parseKubeconfig, refusalOfContext } from "./kube-context.ts";
import { printable, printableWord, shellWord } from "./text.ts";
import { daprNamespace } from "./versions.ts";

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

  /** Which key signs users' tokens, counted from 1: each higher one is a new key. */
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

/** An image as registries name it (https://github.com/distribution/reference), or the beginning of its name. */
const imagePath = String.raw`(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*`;
const repository = z
  .string()
  .max(200)
  .regex(new RegExp(`^${imagePath}$`));
const imageReference = z
  .string()
  .max(500)
  .regex(new RegExp(`^${imagePath}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`));
const prebuilt = z.strictObject({ from: z.literal("prebuilt"), ...perService(() => imageReference) });
const prebuiltExample = JSON.stringify({ from: "prebuilt", ...perService(() => "<image>") });
const devImages = z.discriminatedUnion("from", [
  z.strictObject({ from: z.literal("minikube") }),
  z.strictObject({ from: z.literal("registry"), repository }),
  prebuilt,
]);

/** What clouds take for a name of a resource, as Kubernetes does for a namespace's: a label of DNS. */
const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const labelAllowed = 'at most 63 of a-z, 0-9 and inner "-"';

const prodImages = z.discriminatedUnion("from", [
  z.strictObject({ from: z.literal("registry"), name: z.string().regex(label).optional() }),
  prebuilt,
]);
const nodes = z
  .strictObject({
    size: z
      .string()
      .max(63)
      .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/),
    // As many as a cluster at DigitalOcean may have.
    min: z.int().min(1).max(512),
    max: z.int().max(512),
  })
  .refine(({ min, max }) => min <= max);

/** The name of a host by RFC 1123, or its IPv4 address. */
function isHost(name: string): boolean {
  const labels = name.split(".");
  return (
    name.length <= 253 &&
    labels.every((each) => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/i.test(each)) &&
    // What ends in a number is read as an address, by some in octal or as one number of 32 bits.
    (/[a-z]/i.test(labels.at(-1)?.replace(/^0x[0-9a-f]*$/i, "") ?? "") || isIPv4(name))
  );
}
function isPort(digits: string): boolean {
  return /^[1-9]\d{0,4}$/.test(digits) && Number(digits) <= 65_535;
}
function isHostAndPort(text: string): boolean {
  const [host = "", digits = "", ...more] = text.split(":");
  return isHost(host) && isPort(digits) && more.length === 0;
}
const brokerList = z.string().refine((list) => list.split(",").every(isHostAndPort));
const domainName = z
  .string()
  .refine((domain) => isHost(domain) && domain === domain.toLowerCase() && /\.[a-z][-a-z0-9]*[a-z0-9]$/.test(domain));
const hostName = z.string().refine(isHost);
const portNumber = z.string().refine(isPort);

/** No blank in it: none at an end that nobody sees, and none that a list takes for a separator. */
const userName = z.string().regex(/^[!-~]{1,256}$/);
/**
 * An address, or a name before it in angle brackets. The name has nothing in it that must be quoted or encoded in a mail's
 * header, which Dapr doesn't do.
 */
const sender = z.string().refine((text) => {
  const address = /^[A-Za-z0-9][A-Za-z0-9 '_-]{0,98} <([^<>]*)>$/.exec(text)?.[1] ?? text;
  return address.length <= 254 && z.email().safeParse(address).success;
});
// The sidecar takes no path.
const origin = z.string().refine((text) => {
  const [, address = ""] = /^https?:\/\/([^/]*)$/.exec(text) ?? [];
  return isHost(address) || isHostAndPort(address);
});
/** As many digits as are written without an exponent. */
const ratio = z.string().regex(/^(0|1|0\.\d{1,6})$/);

/** As the notification service takes it. Kubernetes puts other variables, secrets too, in the place of `$(NAME)`. */
const contact = z.string().refine((text) => {
  if (!/^[!-~]{1,500}$/.test(text) || text.includes("$")) return false;
  if (text.startsWith("mailto:")) return z.email().safeParse(text.slice("mailto:".length)).success;
  const url = URL.parse(text);
  return (
    text.startsWith("https://") && url !== null && url.username === "" && url.password === "" && isHost(url.hostname)
  );
});
const contactAllowed = "an address like mailto:admin@example.com, or an https URL";

/** One certificate or more, and nothing else. */
const certificates = z.string().refine((text) => {
  const found = text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  const rest = found.reduce((left, each) => left.replace(each, ""), text);
  return found.length > 0 && rest.trim() === "" && found.every(isCertificate);
});
function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

/** Contexts of kubeconfigs are called this and that, but nothing that a command takes for several words, or for an option. */
const contextName = z
  .string()
  .max(253)
  .regex(/^\w[\w.@:/+-]*$/);

/** Kubernetes keeps all that begin with `kube-` for itself, and Dapr's control plane has its own, made by this program. */
const namespaceName = z
  .string()
  .regex(label)
  .refine((namespace) => !namespace.startsWith("kube-") && namespace !== daprNamespace);

/** The longest value that is looked at; the certificates of a few CAs are far from it. */
const longest = 65_536;
const longestSecret = 4_096;
const largestKubeconfig = 10_000_000;

/** So that what has more in its name (`-tasks`, `-state`) is a label of DNS, too. */
const longestResourceName = 50;

/** The project's config namespace, which is also its name. */
const project = "event-flow";

const environments = ["dev", "prod"] as const;
type Environment = (typeof environments)[number];

/** Every config key of this project, and the environments it is a key of. */
export const keys = {
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

export type Key = keyof typeof keys;

/** Those that must be kept encrypted. */
export const secretKeys = ["redpandaPassword", "smtpPassword"] as const satisfies readonly Key[];
type SecretKey = (typeof secretKeys)[number];

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
  reader.refuseUnreadable();
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
          username: reader.text("redpandaUsername", userName, "the name of a SASL user", undefined),
          password: reader.secret("redpandaPassword"),
          mechanism: reader.oneOf("redpandaMechanism", saslMechanisms, "SCRAM-SHA-256"),
          ca: reader.optional(
            "redpandaCa",
            certificates,
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
type Fix = { do: "set"; value?: string | undefined } | { do: "rm" | "secret" | "plain"; value?: undefined };

/** Takes values out of the config and collects what is wrong with them. */
class ConfigReader {
  readonly #sources: Sources;
  readonly #problems: string[] = [];
  readonly #refused = new Set<Key>();

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
    // A key may be anything, and people run what a message tells them to.
    const word = printableWord(shellWord(key));
    const command = {
      set: ["set", word, fix.value],
      plain: ["set", "--plaintext", word, "<value>"],
      // Without a value the command asks for it, so that it is in no shell's history.
      secret: ["set", "--secret", word, undefined],
      rm: ["rm", word, undefined],
    }[fix.do];
    const words = ["pulumi config", ...command, "--stack", this.#sources.stack];
    this.#problems.push(`  ${printableWord(key)} ${what}\n    ${words.filter((each) => each !== undefined).join(" ")}`);
  }

  #missing(key: Key, what: string, fix: Fix): void {
    // What was refused is there.
    if (!this.#refused.has(key)) this.problem(key, what, fix);
  }

  refuseUnknownKeys(): void {
    for (const key of this.#ownKeys()) {
      if (isKey(key)) continue;
      const similar = nearest(key, Object.keys(keys));
      const hint =
        similar === undefined ? `Its keys: ${Object.keys(keys).join(", ")}.` : `Did you mean ${project}:${similar}?`;
      // Neither here nor anywhere else is the value of an unknown key told: it may be a secret.
      this.problem(key, `is not a key of this project. ${hint}`, { do: "rm" });
    }
  }

  /** Refuses values that no other check is to meet. They are then taken for what isn't there. */
  refuseUnreadable(): void {
    for (const key of this.#ownKeys().filter(isKey)) {
      const { length } = this.#get(key) ?? "";
      if (length > longest) {
        this.problem(key, `has ${length} characters; allowed: at most ${longest}.`, {
          do: isSecretKey(key) ? "secret" : "rm",
        });
      } else if (!isSecretKey(key) && this.#sources.isSecret(`${project}:${key}`)) {
        this.problem(
          key,
          "is set as a secret, but is none: it would be in plain text in the state and in the cluster.",
          { do: "plain" },
        );
      } else {
        continue;
      }
      this.#refused.add(key);
    }
  }

  refuseKeysOfOthers(environment: Environment): void {
    for (const key of this.#ownKeys()) {
      const owners: readonly Environment[] | undefined = isKey(key) ? keys[key] : undefined;
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
        this.#missing(key, `is missing; allowed: ${allowed.join(", ")}.`, { do: "set", value: allowed[0] });
      return byDefault;
    }
    const word = allowed.find((each) => each === value);
    if (word === undefined) {
      this.problem(key, `is "${printableWord(value)}"; allowed: ${allowed.join(", ")}.`, {
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
    this.problem(key, `is ${printableWord(value)}; allowed: ${allowed}.`, { do: "rm" });
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
      this.#missing(key, `is missing; allowed: ${allowed}.`, { do: "set", value: example });
      return "";
    }
    if (!schema.safeParse(value).success) {
      // Of many lines the first says enough: what should have been a certificate may be its key.
      const [first = "", ...more] = value.split("\n");
      const shown = `"${printableWord(first)}"${more.length > 0 ? " and more lines" : ""}`;
      this.problem(key, `is ${shown}; allowed: ${allowed}.`, { do: "set", value: example });
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
  secret(key: SecretKey): pulumi.Output<string> {
    if (this.#refused.has(key)) return pulumi.secret("");
    return this.#secret(`${project}:${key}`, this.#get(key));
  }

  /** How to reach a mail server, if one is named. */
  smtp(): SmtpSettings | undefined {
    if (this.#get("smtpHost") === undefined && !this.#refused.has("smtpHost")) {
      for (const key of ["smtpPort", "smtpFrom", "smtpUser", "smtpPassword"] as const) {
        if (this.#get(key) === undefined) continue;
        this.problem(key, "is set without event-flow:smtpHost.", { do: "rm" });
      }
      return undefined;
    }
    const user = this.optional("smtpUser", userName, "the name of the mail server's user");
    const password = this.#get("smtpPassword");
    if (user === undefined && password !== undefined) {
      this.#missing("smtpUser", "is missing; event-flow:smtpPassword is set.", { do: "set", value: "<value>" });
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
    const configured = config["digitalocean:token"];
    const variable = ["DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"].find((each) => env[each] !== undefined);
    if (configured !== undefined || variable === undefined) return this.#secret("digitalocean:token", configured);
    const fromEnv = env[variable] ?? "";
    const fault = faultOfSecret(fromEnv);
    if (fault !== undefined) this.#note("digitalocean:token", `is unset, and $${variable} ${fault}.`, { do: "secret" });
    return pulumi.secret(fromEnv);
  }

  #secret(key: string, value = ""): pulumi.Output<string> {
    const fault = faultOfSecret(value);
    if (value === "") {
      this.#note(key, "is missing.", { do: "secret" });
    } else if (!this.#sources.isSecret(key)) {
      this.#note(key, "is in the stack's file in plain text.", { do: "secret" });
    } else if (fault !== undefined) {
      this.#note(key, `${fault}.`, { do: "secret" });
    }
    return pulumi.secret(value);
  }

  /** What this stack's resources at a cloud are called. */
  resourceName(): string {
    const { stack } = this.#sources;
    const name = `${project}-${stack}`
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/-$/, "");
    if (name.length > longestResourceName) {
      const most = longestResourceName - project.length - 1;
      this.#problems.push(
        `  The stack's name ${printableWord(stack)} has ${stack.length} characters; allowed: at most ${most}, as ` +
          `its resources are called ${project}-<stack>.\n    pulumi stack rename <name> --stack ${stack}`,
      );
    }
    return name;
  }

  namespace(byDefault: string): string {
    const value = this.#get("namespace") ?? byDefault;
    if (!namespaceName.safeParse(value).success) {
      const reserved = label.test(value) ? ", that is neither Kubernetes' own (kube-…) nor Dapr's" : "";
      const what = `is "${printableWord(value)}"; allowed: a Kubernetes name, ${labelAllowed}${reserved}.`;
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
    const fault = !isPath(value)
      ? "its path has a control character"
      : !isThere(path.join(directory, "Chart.yaml"), "file")
        ? "it has no Chart.yaml"
        : isThere(path.join(directory, "crds"), "folder")
          ? undefined
          : "it has no crds";
    if (fault !== undefined) {
      this.problem(
        "daprChart",
        `is "${printable(value)}", which is not a directory with Dapr's Helm chart: ${fault}. Without this key the official chart is used.`,
        { do: "rm" },
      );
    }
    return { from: "directory", path: directory };
  }

  /** The context to deploy to, refused unless its cluster is on this machine or a private network. */
  localContext(): { kubeContext: string; kubeconfig: string | undefined } {
    const kubeContext = this.#get("kubeContext") ?? "minikube";
    const remedy: Fix = { do: "set", value: "<context>" };
    const configured = this.#get("kubeconfig");
    const kubeconfig = configured === undefined ? undefined : path.resolve(this.#expand(configured));
    const found = this.#readKubeconfig(kubeconfig);
    if (found !== undefined) {
      const refusal = refusalOfContext(found, kubeContext);
      if (refusal !== undefined) {
        this.problem("kubeContext", refusal, remedy);
      } else if (!contextName.safeParse(kubeContext).success) {
        const allowed =
          'letters, digits and "._@:/+-" after the first, at most 253; kubectl config rename-context renames one';
        this.problem("kubeContext", `is "${printableWord(kubeContext)}"; allowed: ${allowed}.`, remedy);
      }
    }
    return { kubeContext, kubeconfig };
  }

  #readKubeconfig(configured: string | undefined): Kubeconfig | undefined {
    const { env, home } = this.#sources;
    const fromEnv = (env["KUBECONFIG"] ?? "").split(path.delimiter).filter((file) => file !== "");
    const files =
      configured !== undefined ? [configured] : fromEnv.length > 0 ? fromEnv : [path.join(home, ".kube", "config")];
    const shown = (paths: readonly string[]) => printable(paths.join(path.delimiter));
    const existing = files.filter((file) => existsSync(file));
    if (existing.length === 0) {
      const origin =
        configured !== undefined
          ? "is"
          : fromEnv.length > 0
            ? "is unset, and $KUBECONFIG is"
            : "is unset, and by default";
      this.problem("kubeconfig", `${origin} ${shown(files)}, which does not exist.`, {
        do: "set",
        value: "<path>",
      });
      return undefined;
    }
    try {
      return parseKubeconfig(...existing.map(readRegularFile));
    } catch {
      this.problem("kubeconfig", `leads to ${shown(existing)}, which is not a kubeconfig.`, {
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
    if (this.#refused.has(key)) return undefined;
    return this.#sources.config[`${project}:${key}`];
  }

  #ownKeys(): string[] {
    return Object.keys(this.#sources.config)
      .filter((key) => key.startsWith(`${project}:`))
      .map((key) => key.slice(project.length + 1))
      .sort();
  }
}

function isKey(key: string): key is Key {
  return Object.hasOwn(keys, key);
}

function isSecretKey(key: Key): key is SecretKey {
  return (secretKeys as readonly Key[]).includes(key);
}

/** What is wrong with a secret, without telling anything of it. */
function faultOfSecret(value: string): string | undefined {
  if (value.trim() === "") return "is empty";
  if (value.length > longestSecret) return `has ${value.length} characters; allowed: at most ${longestSecret}`;
  // A line break at its end, say, from a file that it was read from.
  if (/\p{C}|[\u2028\u2029]/u.test(value)) return "has a line break or another control character in it";
  return value === value.trim() ? undefined : "has a blank at its start or end";
}

function isPath(text: string): boolean {
  return !/\p{Cc}/u.test(text);
}

function isThere(file: string, kind: "file" | "folder"): boolean {
  try {
    return kind === "file" ? statSync(file).isFile() : statSync(file).isDirectory();
  } catch {
    return false;
  }
}

/** A device or a pipe may have no end. */
function readRegularFile(file: string): string {
  if (!isThere(file, "file") || statSync(file).size > largestKubeconfig) throw new Error(`${file} is no such file`);
  return readFileSync(file, "utf8");
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
  // Nobody mistypes that much, and comparing takes time.
  if (mistyped.length > 100) return undefined;
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
