/** A stack of plain data for the doctor to look at: sound, until a test breaks something of it. */
import "reflect-metadata";
import {
  components,
  daprHttpPort,
  daprTokenHeader,
  daprTokenKey,
  daprTokenSecrets,
  deadLetterTopic,
  eventTypes,
  metrics,
  perService,
  secrets,
  type ServiceIdentity,
  services,
  subscribers,
  topic,
} from "@event-flow/events";
import * as x509 from "@peculiar/x509";
import { type HttpRequest, type Kind, kinds, type KubeObject, type System } from "../../../commands/doctor/system.ts";
import { readStack } from "../../../commands/doctor/stack.ts";
import { daprNamespace, daprVersion } from "../../../components/versions.ts";

const namespace = "event-flow";
const encode = (text: string) => Buffer.from(text).toString("base64");
const dayMs = 24 * 3_600_000;

export interface Container {
  name: string;
  image: string;
  env?: { name: string; valueFrom: { secretKeyRef: { name: string; key: string } } }[];
}

export interface Workload {
  metadata: { name: string };
  spec: {
    replicas: number;
    selector: { matchLabels: Record<string, string> };
    template: { metadata: { annotations: Record<string, string> }; spec: { containers: Container[] } };
  };
  status: { readyReplicas: number };
}

export interface Status {
  name: string;
  ready: boolean;
  state: { running?: object; waiting?: { reason: string; message?: string }; terminated?: { reason: string } };
  lastState?: { terminated?: { reason: string } };
}

export interface PodData {
  metadata: { name: string; labels: { app: string }; annotations: Record<string, string> };
  spec: { containers: Container[] };
  status: {
    phase: string;
    podIP: string;
    conditions?: { type: string; status: string; message?: string }[];
    containerStatuses: Status[];
  };
}

export interface Secret {
  metadata: { name: string };
  data: Record<string, string>;
}

export interface Component {
  metadata: { name: string };
  spec: { type: string; metadata: { name: string; value?: string; secretKeyRef?: { name: string; key: string } }[] };
  scopes: string[];
}

export interface Specified {
  metadata: { name: string };
  spec: Record<string, unknown>;
}

const serviceOf = (name: string) => Object.values(services).find((service) => service.name === name);

function workload(name: string, image: string, annotations: Record<string, string> = {}, replicas = 1): Workload {
  return {
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { annotations }, spec: { containers: [{ name, image }] } },
    },
    status: { readyReplicas: replicas },
  };
}

function annotations({ appId, name, port }: ServiceIdentity): Record<string, string> {
  return {
    "dapr.io/enabled": "true",
    "dapr.io/app-id": appId,
    "dapr.io/app-port": String(port),
    "dapr.io/config": name,
  };
}

function serviceWorkload(service: ServiceIdentity): Workload {
  const made = workload(service.name, `${service.name}:1`, annotations(service));
  for (const container of made.spec.template.spec.containers) {
    const tokens = daprTokenSecrets(service);
    container.env = [
      ...Object.values(secrets.todo.keys).map((key) => [key, secrets.todo.name, key] as const),
      ["DAPR_API_TOKEN", tokens.api, daprTokenKey] as const,
      ["APP_API_TOKEN", tokens.app, daprTokenKey] as const,
    ].map(([name, secret, key]) => ({ name, valueFrom: { secretKeyRef: { name: secret, key } } }));
  }
  return made;
}

function pod({ metadata: { name }, spec: { template } }: Workload, index: number): PodData {
  const sidecar = { name: "daprd", image: `ghcr.io/dapr/daprd:${daprVersion}` };
  const containers = [...template.spec.containers, ...(serviceOf(name) === undefined ? [] : [sidecar])];
  return {
    metadata: { name: `${name}-1`, labels: { app: name }, annotations: template.metadata.annotations },
    spec: { containers },
    status: {
      phase: "Running",
      podIP: `10.0.0.${index + 1}`,
      containerStatuses: containers.map((container) => ({ name: container.name, ready: true, state: { running: {} } })),
    },
  };
}

/** A certificate that ends after so many days. */
export async function certificate(days: number): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=test",
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - 400 * dayMs),
    notAfter: new Date(Date.now() + days * dayMs),
  });
  return made.toString("pem");
}

export class Patient implements System {
  readonly stack = "prod";
  readonly context = "do-fra1-event-flow-prod";
  readonly namespace = namespace;
  readonly kubectl = "kubectl --context do-fra1-event-flow-prod";
  readonly repair = "pulumi up --refresh --stack prod";
  readonly whichStack = " --context do-fra1-event-flow-prod --namespace event-flow";

  readonly deployments = [...Object.values(services).map(serviceWorkload), workload("lag-exporter", "backend:1")];
  readonly statefulsets = [workload("kafka", "kafka:1")];
  readonly pods = [...this.deployments, ...this.statefulsets].map(pod);
  readonly secrets: Secret[] = [
    ...Object.values(secrets).map(({ name, keys }) => ({
      metadata: { name },
      data: Object.fromEntries(Object.values(keys).map((key) => [key, encode(`a value of ${key}`)])),
    })),
    ...Object.values(services).flatMap((service) =>
      Object.values(daprTokenSecrets(service)).map((name) => ({
        metadata: { name },
        data: { [daprTokenKey]: encode(`the value of ${name}`) },
      })),
    ),
  ];
  readonly components: Component[] = [
    {
      metadata: { name: components.pubsub },
      spec: {
        type: "pubsub.kafka",
        metadata: [
          { name: "brokers", value: "kafka:9092" },
          { name: "saslPassword", secretKeyRef: { name: secrets.redpanda.name, key: "password" } },
        ],
      },
      scopes: Object.values(services).map(({ appId }) => appId),
    },
    {
      metadata: { name: components.stateStore },
      spec: {
        type: "state.redis",
        metadata: [{ name: "redisPassword", secretKeyRef: { name: secrets.redis.name, key: "password" } }],
      },
      scopes: subscribers.map(({ appId }) => appId),
    },
  ];
  readonly policies: Specified[] = [
    { metadata: { name: "deny-all" }, spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] } },
    {
      metadata: { name: "to-broker" },
      spec: { podSelector: {}, policyTypes: ["Egress"], egress: [{ ports: [{ port: 9092 }] }] },
    },
  ];
  /** Places that can be reached though no policy allows it. */
  readonly open = new Set<string>();
  readonly crds: Specified[] = [
    {
      metadata: { name: "components.dapr.io" },
      spec: { group: "dapr.io", versions: [{ name: "v1alpha1", schema: { description: "as it is" } }] },
    },
  ];
  readonly controlPlane = [
    ...["dapr-operator", "dapr-sentry", "dapr-sidecar-injector"],
    ...["dapr-placement-server", "dapr-scheduler-server"],
  ].map((name) => workload(name, `ghcr.io/dapr/${name}:${daprVersion}`, {}, 3));
  webhooks = [{ metadata: { name: "dapr-sidecar-injector" } }];
  trustBundle: Record<string, string> = {};
  user: { certificate: string | undefined; token: string | undefined } = { certificate: undefined, token: "opaque" };
  readonly logs = new Map<string, string>();

  readonly subscribed = Object.fromEntries(
    subscribers.map((subscriber) => [
      subscriber.name,
      [...eventTypes.map((type): string => topic(type)), deadLetterTopic(subscriber)],
    ]),
  );
  /** What a sidecar knows, where that isn't what its app says. */
  readonly registered: Record<string, string[]> = {};
  readonly loaded: Record<string, string[]> = {};
  runtimeVersion: string = daprVersion;
  /** What answers otherwise than a sound system would, by `<service>:<port><path>`. */
  readonly answers = new Map<string, { status: number; text: string }>();
  outbox: { events: number; age: number } | undefined = { events: 0, age: 0 };
  lag: Record<string, number> = {};
  /** How many events a group takes between two looks. */
  taken: Record<string, number> = {};
  brokers = 1;
  letters: Record<string, object[]> = {};
  #looks = 0;
  /** What the stack's state is, taken when the patient was sound. */
  readonly #exported: unknown = structuredClone(this.#exportStack());

  static async make(): Promise<Patient> {
    const patient = new Patient();
    patient.trustBundle = { "ca.crt": encode(await certificate(300)), "issuer.crt": encode(await certificate(300)) };
    return patient;
  }

  #exportStack(): unknown {
    const resource = (type: string, inputs: object) => ({ type, inputs: { ...inputs } });
    const inputs = ({ metadata, ...rest }: { metadata: object }) => ({ metadata: { ...metadata, namespace }, ...rest });
    const images = perService((service) => `${services[service].name}:1`);
    return {
      deployment: {
        resources: [
          { type: "pulumi:pulumi:Stack", outputs: { images, namespace } },
          ...this.deployments.map((each) => resource("kubernetes:apps/v1:Deployment", inputs(each))),
          ...this.statefulsets.map((each) => resource("kubernetes:apps/v1:StatefulSet", inputs(each))),
          ...this.secrets.map(({ metadata }) => resource("kubernetes:core/v1:Secret", inputs({ metadata }))),
          ...this.components.map((each) => resource("kubernetes:dapr.io/v1alpha1:Component", inputs(each))),
          ...this.policies.map((each) => resource("kubernetes:networking.k8s.io/v1:NetworkPolicy", inputs(each))),
          ...this.crds.map((each) => resource("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", each)),
        ],
      },
    };
  }

  deployment(name: string): Workload {
    return find(this.deployments, name);
  }

  pod(app: string): PodData {
    return find(this.pods, `${app}-1`);
  }

  setSecret(name: string, values: Readonly<Record<string, string>>): void {
    const secret = find(this.secrets, name);
    secret.data = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, encode(value)]));
  }

  status(app: string, container: string): Status {
    const status = this.pod(app).status.containerStatuses.find(({ name }) => name === container);
    if (status === undefined) throw new Error(`${app} has no ${container}`);
    return status;
  }

  /** A container that ends again and again, with its last words. */
  crash(app: string, container: string, said: string): void {
    Object.assign(this.status(app, container), {
      ready: false,
      state: { waiting: { reason: "CrashLoopBackOff" } },
      lastState: { terminated: { reason: "Error" } },
    });
    this.logs.set(`${app}-1/${container}`, said);
    // A service isn't ready without its sidecar.
    if (container === "daprd") this.status(app, app).ready = false;
  }

  list<K extends Kind>(kind: K, where: string = namespace): Promise<KubeObject<K>[]> {
    const isOwn = where === namespace;
    const [inControlPlane, stateful] = [this.controlPlane.slice(0, 3), this.controlPlane.slice(3)];
    const objects: Record<Kind, readonly object[]> = {
      deployments: isOwn ? this.deployments : inControlPlane,
      statefulsets: isOwn ? this.statefulsets : stateful,
      pods: this.pods,
      secrets: isOwn ? this.secrets : [{ metadata: { name: "dapr-trust-bundle" }, data: this.trustBundle }],
      "components.dapr.io": this.components,
      customresourcedefinitions: this.crds,
      mutatingwebhookconfigurations: this.webhooks,
      networkpolicies: this.policies,
    };
    if (!isOwn && where !== daprNamespace) throw new Error(`nobody asks for ${where}`);
    return Promise.resolve(objects[kind].map((each) => kinds[kind].parse(each)) as KubeObject<K>[]);
  }

  made = () => Promise.resolve(readStack(this.#exported, namespace));

  http(name: string, { port, path, headers = {} }: HttpRequest) {
    const app = name.replace(/-1$/, "");
    if (!this.#takes(app, port, path, headers)) return Promise.resolve({ status: 401, text: "" });
    const set = this.answers.get(`${app}:${port}${path}`);
    return Promise.resolve(set ?? { status: 200, text: this.#answer(app, port, path) });
  }

  /** Whether what is to be shown is what was there when the pod began. */
  #takes(app: string, port: number, path: string, headers: Readonly<Record<string, string>>): boolean {
    const service = serviceOf(app);
    if (service === undefined) return true;
    const { api, app: ofSidecar } = daprTokenSecrets(service);
    const name = port === daprHttpPort ? api : path.startsWith("/dapr/") ? ofSidecar : undefined;
    return name === undefined || headers[daprTokenHeader] === `the value of ${name}`;
  }

  #answer(app: string, port: number, path: string): string {
    const service = serviceOf(app);
    if (port === 9308) {
      this.#looks += 1;
      return [
        `${metrics.brokers} ${this.brokers}`,
        ...subscribers.flatMap(({ appId }) => {
          const labels = `{consumergroup="${appId}",topic="${topic("task_created")}",partition="0"}`;
          const taken = (this.taken[appId] ?? 0) * this.#looks;
          return [
            `${metrics.consumerLag}${labels} ${this.lag[appId] ?? 0}`,
            `${metrics.consumerOffset}${labels} ${100 + taken}`,
          ];
        }),
      ].join("\n");
    }
    if (path === "/dapr/subscribe")
      return JSON.stringify((this.subscribed[app] ?? []).map((each) => ({ topic: each })));
    if (path === "/metrics") {
      if (this.outbox === undefined) return "up 1";
      return `${metrics.outboxEvents} ${this.outbox.events}\n${metrics.outboxAge} ${this.outbox.age}`;
    }
    if (path === "/v1.0/metadata" && port === daprHttpPort) {
      const scoped = this.components.filter(({ scopes }) => scopes.includes(service?.appId ?? ""));
      const registered = this.registered[app] ?? this.subscribed[app] ?? [];
      return JSON.stringify({
        runtimeVersion: this.runtimeVersion,
        components: (this.loaded[app] ?? scoped.map(({ metadata }) => metadata.name)).map((each) => ({ name: each })),
        subscriptions: registered.map((each) => ({ pubsubname: components.pubsub, topic: each })),
      });
    }
    if (path.startsWith("/v1.0/state/")) return JSON.stringify(this.letters[app] ?? []);
    return "";
  }

  reachable: System["reachable"] = (_pod, _container, places) =>
    Promise.resolve(places.filter((place) => this.open.has(place)));
  log = (name: string, container: string) => Promise.resolve(this.logs.get(`${name}/${container}`) ?? "");
  credentials = () => Promise.resolve(this.user);
  now = () => Date.now();
  wait: System["wait"] = () => Promise.resolve();
  redact = (text: string) => text;
}

function find<T extends { metadata: { name: string } }>(objects: readonly T[], name: string): T {
  const found = objects.find(({ metadata }) => metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}
