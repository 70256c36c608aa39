/** What the doctor sees of a stack: objects in its cluster, what its servers answer, and what Pulumi knows of it. */
import { execa } from "execa";
import { z } from "zod";
import { type Access, type Forward, forward } from "../../test/flow/access.ts";
import type { Report } from "./report.ts";
import { readStack, type Stack } from "./stack.ts";

const containerState = z.object({
  running: z.looseObject({ startedAt: z.string().optional() }).optional(),
  waiting: z.looseObject({ reason: z.string().optional(), message: z.string().optional() }).optional(),
  terminated: z.looseObject({ reason: z.string().optional(), exitCode: z.number().optional() }).optional(),
});

const containerSchema = z.object({
  name: z.string(),
  image: z.string(),
  env: z
    .array(
      z.object({
        name: z.string(),
        valueFrom: z
          .object({
            secretKeyRef: z
              .object({ name: z.string(), key: z.string(), optional: z.boolean().default(false) })
              .optional(),
          })
          .optional(),
      }),
    )
    .default([]),
});
const metadataSchema = z.object({
  name: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
  deletionTimestamp: z.string().optional(),
});
const podSpec = z.object({
  containers: z.array(containerSchema),
  // Where Dapr puts the sidecar when it is told to make a native one.
  initContainers: z.array(containerSchema).default([]),
  volumes: z
    .array(
      z.object({
        secret: z.looseObject({ secretName: z.string().optional(), optional: z.boolean().default(false) }).optional(),
      }),
    )
    .default([]),
});
const containerStatus = z.object({
  name: z.string(),
  ready: z.boolean(),
  state: containerState.default({}),
  lastState: containerState.default({}),
});

const workloadSchema = z.object({
  metadata: metadataSchema,
  spec: z.object({
    replicas: z.int().default(1),
    selector: z.object({ matchLabels: z.record(z.string(), z.string()).default({}) }),
    template: z.object({ metadata: metadataSchema.omit({ name: true }), spec: podSpec }),
  }),
  status: z.object({ readyReplicas: z.int().default(0) }).default({ readyReplicas: 0 }),
});

/** The kinds of objects that are looked at, by what kubectl calls them, with what is used of each. */
export const kinds = {
  deployments: workloadSchema,
  statefulsets: workloadSchema,
  pods: z.object({
    metadata: metadataSchema,
    spec: podSpec,
    status: z.object({
      phase: z.string().default("Unknown"),
      podIP: z.string().optional(),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), message: z.string().optional() }))
        .default([]),
      containerStatuses: z.array(containerStatus).default([]),
      initContainerStatuses: z.array(containerStatus).default([]),
    }),
  }),
  secrets: z.object({ metadata: metadataSchema, data: z.record(z.string(), z.string()).default({}) }),
  "components.dapr.io": z.object({
    metadata: metadataSchema,
    spec: z.object({
      type: z.string(),
      metadata: z
        .array(
          z.looseObject({
            name: z.string(),
            secretKeyRef: z.object({ name: z.string(), key: z.string() }).optional(),
          }),
        )
        .default([]),
    }),
    scopes: z.array(z.string()).default([]),
  }),
  customresourcedefinitions: z.object({ metadata: metadataSchema, spec: z.record(z.string(), z.unknown()) }),
  mutatingwebhookconfigurations: z.object({ metadata: metadataSchema }),
  networkpolicies: z.object({ metadata: metadataSchema, spec: z.record(z.string(), z.unknown()) }),
} as const;

export type Kind = keyof typeof kinds;
export type KubeObject<K extends Kind> = z.infer<(typeof kinds)[K]>;
export type Pod = KubeObject<"pods">;
export type ContainerStatus = z.infer<typeof containerStatus>;

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

export interface HttpRequest {
  readonly port: number;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

const kubeconfigSchema = z.object({
  users: z
    .array(
      z.object({
        user: z.object({ "client-certificate-data": z.string().optional(), token: z.string().optional() }).default({}),
      }),
    )
    .nullish(),
});

export interface System extends Pick<Report, "stack" | "context" | "namespace"> {
  /** How the commands begin that the doctor tells of. */
  readonly kubectl: string;
  /** The command that makes the stack again as it is to be, whoever changed what. */
  readonly repair: string;
  /** What is added to `dead-letters.ts` for it to find this stack; nothing where it does by itself. */
  readonly whichStack: string;
  /** All objects of a kind, in the services' namespace or another one. */
  readonly list: <K extends Kind>(kind: K, namespace?: string) => Promise<KubeObject<K>[]>;
  /** What the last `pulumi up` made. */
  readonly made: () => Promise<Stack>;
  /** Asks what listens in a pod. */
  readonly http: (pod: string, request: HttpRequest) => Promise<HttpAnswer>;
  /** To which of some places, `<address>:<port>`, a connection can be opened from inside a container that has Node. */
  readonly reachable: (pod: string, container: string, places: readonly string[]) => Promise<string[]>;
  /** The last lines of a container's log, of its life before this one with `previous`. */
  readonly log: (pod: string, container: string, previous: boolean) => Promise<string>;
  /** The user of the kubeconfig's context: what shows who this is. */
  readonly credentials: () => Promise<{ certificate: string | undefined; token: string | undefined }>;
  readonly now: () => number;
  readonly wait: (milliseconds: number) => Promise<void>;
  /** Takes the values of secrets that were read out of a text. */
  readonly redact: (text: string) => string;
}

/** How to reach a stack. */
export interface Way extends Access {
  readonly pulumi: string;
  readonly stack: Report["stack"];
  readonly repository: string;
  /** Whether commands find it without being told the context. */
  readonly isFoundByItself: boolean;
}

/** What one call may take; several are made one after the other by one check. */
const callMs = 10_000;

/** A program of Node's: prints those of its arguments that a connection can be opened to within 3 s. */
const tryPlaces = `
const { connect } = require("node:net");
const isOpen = (place) =>
  new Promise((resolve) => {
    const [, host, port] = /^(.*):([0-9]+)$/.exec(place);
    const socket = connect({ host, port: Number(port), timeout: 3000 });
    const end = (opened) => (socket.destroy(), resolve(opened));
    socket.on("connect", () => end(true)).on("error", () => end(false)).on("timeout", () => end(false));
  });
const places = process.argv.slice(1);
Promise.all(places.map(isOpen)).then((open) => console.log(JSON.stringify(places.filter((_, index) => open[index]))));
`;

/** The stack in a cluster. What it is asked twice it answers once. */
export class ClusterSystem implements System {
  readonly stack: Report["stack"];
  readonly context: string;
  readonly namespace: string;
  readonly kubectl: string;
  readonly repair: string;
  readonly whichStack: string;
  readonly #way: Way;
  readonly #answers = new Map<string, Promise<unknown>>();
  readonly #forwards = new Map<string, Promise<Forward>>();
  readonly #secrets = new Set<string>();

  constructor(way: Way) {
    const { stack, context, namespace } = way;
    this.#way = way;
    this.stack = stack;
    this.context = context;
    this.namespace = namespace;
    this.kubectl = `kubectl --context ${context}`;
    // With --refresh Pulumi sees what others changed, and by the variable it takes back what they own since.
    this.repair = `PULUMI_K8S_ENABLE_PATCH_FORCE=true pulumi up --refresh --stack ${stack}`;
    this.whichStack = way.isFoundByItself ? "" : ` --context ${context} --namespace ${namespace}`;
  }

  /** Rejects if there is no cluster that answers. */
  async reach(): Promise<void> {
    await this.#kubectl("get", "--raw=/readyz");
  }

  list<K extends Kind>(kind: K, namespace: string = this.namespace): Promise<KubeObject<K>[]> {
    return this.#once(`${namespace}/${kind}`, async () => {
      const text = await this.#kubectl(`--namespace=${namespace}`, "get", kind, "--output=json");
      const { items } = z.object({ items: z.array(z.unknown()) }).parse(JSON.parse(text));
      const objects = items.map((item) => kinds[kind].parse(item)) as KubeObject<K>[];
      if (kind === "secrets") this.#remember(objects as KubeObject<"secrets">[]);
      return objects;
    });
  }

  made(): Promise<Stack> {
    return this.#once("made", async () => {
      const { pulumi, stack, repository: cwd, env } = this.#way;
      const text = await run(pulumi, ["stack", "export", "--stack", stack, "--non-interactive"], { cwd, env });
      return readStack(JSON.parse(text), this.namespace);
    });
  }

  async http(pod: string, { port, path, method = "GET", headers, body }: HttpRequest): Promise<HttpAnswer> {
    const { url } = await this.#forward(pod, port);
    try {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(callMs),
      });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      const why =
        error instanceof Error && error.name === "TimeoutError" ? `no answer within ${callMs / 1_000} s` : "no answer";
      throw new Error(`port ${port} of ${pod}: ${why}`, { cause: error });
    }
  }

  async reachable(pod: string, container: string, places: readonly string[]): Promise<string[]> {
    const text = await this.#kubectl(
      ...[`--namespace=${this.namespace}`, "exec", pod, `--container=${container}`, "--"],
      ...["node", "--eval", tryPlaces, ...places],
    );
    return z.array(z.string()).parse(JSON.parse(text));
  }

  log(pod: string, container: string, previous: boolean): Promise<string> {
    return this.#once(`${pod}/${container}/${previous}`, () =>
      this.#kubectl(
        ...[`--namespace=${this.namespace}`, "logs", pod, `--container=${container}`, "--tail=200"],
        ...(previous ? ["--previous"] : []),
      ),
    );
  }

  async credentials() {
    const text = await this.#kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json");
    const user = kubeconfigSchema.parse(JSON.parse(text)).users?.[0]?.user;
    const certificate = user?.["client-certificate-data"];
    return {
      certificate: certificate === undefined ? undefined : Buffer.from(certificate, "base64").toString(),
      token: user?.token,
    };
  }

  now(): number {
    return Date.now();
  }

  wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
  }

  readonly redact = (text: string): string =>
    [...this.#secrets].reduce((shown, secret) => shown.replaceAll(secret, "[secret]"), text);

  /** No address or user name is one: only what lets somebody in. */
  #remember(objects: readonly KubeObject<"secrets">[]): void {
    for (const { data } of objects) {
      for (const [key, encoded] of Object.entries(data)) {
        const value = Buffer.from(encoded, "base64").toString();
        const password = URL.canParse(value) ? new URL(value).password : "";
        const isSecret = !/^(host|username)$|crt$|ca$/i.test(key);
        for (const each of [...(isSecret ? [value, encoded] : []), password, decodeURIComponent(password)]) {
          if (each.length >= 8) this.#secrets.add(each);
        }
      }
    }
  }

  #kubectl(...args: string[]): Promise<string> {
    const { kubectl, context, env } = this.#way;
    return run(kubectl, [`--context=${context}`, `--request-timeout=${callMs / 1_000}s`, ...args], { env });
  }

  #once<T>(key: string, ask: () => Promise<T>): Promise<T> {
    const asked = (this.#answers.get(key) as Promise<T> | undefined) ?? ask();
    this.#answers.set(key, asked);
    return asked;
  }

  #forward(pod: string, port: number): Promise<Forward> {
    const key = `${pod}:${port}`;
    const opened = this.#forwards.get(key) ?? forward(this.#way, `pod/${pod}`, port);
    this.#forwards.set(key, opened);
    return opened;
  }
}

async function run(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env: Readonly<Record<string, string>> },
): Promise<string> {
  const result = await execa(command, args, { ...options, reject: false, stdin: "ignore", timeout: 2 * callMs });
  if (!result.failed) return result.stdout;
  const why = result.timedOut ? `no answer within ${(2 * callMs) / 1_000} s` : result.stderr || result.shortMessage;
  throw new Error(`${command.split("/").at(-1) ?? command} ${args.find((arg) => !arg.startsWith("-")) ?? ""}: ${why}`);
}
