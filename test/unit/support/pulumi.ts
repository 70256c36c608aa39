import * as pulumi from "@pulumi/pulumi";
import { MockMonitor } from "@pulumi/pulumi/runtime/mocks.js";

/** A value that the engine would keep encrypted. */
export class Secret {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
  toJSON(): string {
    return "[secret]";
  }
}

/** What the program asked the engine for: a resource, with its inputs as they are, secrets marked. */
export interface Recorded {
  readonly type: string;
  readonly name: string;
  /** The parent's name; empty at the top. */
  readonly parent: string;
  /** The names of what it depends on, sorted. */
  readonly dependsOn: readonly string[];
  /** The name of the provider resource that makes it; empty for the default one. */
  readonly provider: string;
  readonly protect: boolean;
  readonly ignoreChanges: readonly string[];
  readonly inputs: Record<string, unknown>;
  /** What a component says it made; `undefined` when it never said it was done. */
  outputs?: Record<string, unknown>;
}

/** What is used of the request that the SDK sends the engine. */
interface RegisterRequest {
  getType: () => string;
  getName(): string;
  getParent(): string;
  getProvider(): string;
  getProtect(): boolean;
  getIgnorechangesList(): string[];
  getDependenciesList(): string[];
  getObject(): { toJavaScript(): Record<string, unknown> };
}

interface OutputsRequest {
  getUrn(): string;
  getOutputs(): { toJavaScript(): Record<string, unknown> } | undefined;
}

const signature = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";

/** Makes plain values of what goes over the wire, with secrets marked. */
function fromWire(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromWire);
  if (value === null || typeof value !== "object") return value;
  const record = value as Record<string, unknown>;
  if (record[signature] === secretSignature) return new Secret(fromWire(record["value"]));
  return Object.fromEntries(Object.entries(record).map(([key, each]) => [key, fromWire(each)]));
}

/** `urn:pulumi:stack::project::parentType$type::name` → `name`; a provider reference has `::id` behind it. */
const nameOf = (urn: string) => urn.split("::")[3] ?? "";

let recorded: Recorded[] = [];

/** What the last run asked for, also when it threw. */
export const resourcesSoFar = (): readonly Recorded[] => recorded;

type Answer = (this: MockMonitor, request: unknown, callback: unknown) => unknown;
const prototype = MockMonitor.prototype;
const register = Reflect.get(prototype, "registerResource") as Answer;
prototype.registerResource = async function (this: MockMonitor, request: RegisterRequest, callback) {
  recorded.push({
    type: request.getType(),
    name: request.getName(),
    parent: nameOf(request.getParent()),
    dependsOn: request.getDependenciesList().map(nameOf).sort(),
    provider: nameOf(request.getProvider()),
    protect: request.getProtect(),
    ignoreChanges: request.getIgnorechangesList(),
    inputs: fromWire(request.getObject().toJavaScript()) as Record<string, unknown>,
  });
  await register.call(this, request, callback);
};
const registerOutputs = Reflect.get(prototype, "registerResourceOutputs") as Answer;
prototype.registerResourceOutputs = function (this: MockMonitor, request: OutputsRequest, callback) {
  const resource = recorded.find(({ name }) => name === nameOf(request.getUrn()));
  if (resource) {
    resource.outputs = fromWire(request.getOutputs()?.toJavaScript() ?? {}) as Record<string, unknown>;
  }
  registerOutputs.call(this, request, callback);
};

/** Forgets what was recorded, and answers the resources that are made from now on as the real providers would. */
async function startRecording(stack: string): Promise<void> {
  recorded = [];
  await pulumi.runtime.setMocks(
    {
      newResource: (args) => {
        const inputs = args.inputs as Record<string, unknown>;
        return { id: `${args.name}-id`, state: { ...inputs, ...answer(args.type, args.name) } };
      },
      call: ({ token, inputs }) => lookUp(token, inputs as Record<string, unknown>),
    },
    "event-flow",
    stack,
  );
}

function answer(type: string, name: string): Record<string, unknown> {
  switch (type) {
    case "random:index/randomPassword:RandomPassword":
      return { result: pulumi.secret(`<${name}>`) };
    case "command:local:Command":
      return { stdout: "built" };
    case "docker-build:index:Image":
      return { ref: `<${name}>@sha256:0123` };
    case "digitalocean:index/vpc:Vpc":
      return { ipRange: "10.114.0.0/20" };
    case "digitalocean:index/databaseCluster:DatabaseCluster":
      return {
        privateHost: `private-${name}`,
        port: 25060,
        user: "doadmin",
        password: pulumi.secret(`<${name}-password>`),
      };
    case "digitalocean:index/databaseUser:DatabaseUser":
      return { password: pulumi.secret(`<${name}-password>`) };
    case "digitalocean:index/containerRegistry:ContainerRegistry":
      return { endpoint: "registry.digitalocean.com/event-flow-prod", serverUrl: "registry.digitalocean.com" };
    case "digitalocean:index/certificate:Certificate":
      return { uuid: `<uuid of ${name}>` };
    case "kubernetes:core/v1:Service":
      return { status: { loadBalancer: { ingress: [{ ip: "203.0.113.7" }] } } };
    default:
      return {};
  }
}

function lookUp(token: string, inputs: Record<string, unknown>): Record<string, unknown> {
  switch (token) {
    case "digitalocean:index/getKubernetesVersions:getKubernetesVersions":
      return { latestVersion: "1.34.1-do.0" };
    case "digitalocean:index/getKubernetesCluster:getKubernetesCluster":
      return { kubeConfigs: [{ rawConfig: `<kubeconfig-token of ${String(inputs["name"])}>` }] };
    case "digitalocean:index/getDatabaseCa:getDatabaseCa":
      return { certificate: `<CA of ${String(inputs["clusterId"])}>` };
    default:
      throw new Error(`Nothing is known of ${token}.`);
  }
}

/** A program that was run: what it asked for, and its stack outputs. */
export interface Run {
  readonly resources: readonly Recorded[];
  readonly outputs: Readonly<Record<string, unknown>>;
  /** The one resource of a name. */
  readonly resource: (name: string) => Recorded;
}

/** Runs a part of the program and waits until all that it asked for was answered. */
export async function run(program: () => unknown, stack = "dev"): Promise<Run> {
  await startRecording(stack);
  const result = await program();
  const outputs: Record<string, unknown> = {};
  for (const [key, output] of Object.entries((result ?? {}) as Record<string, unknown>)) {
    const secret = pulumi.Output.isInstance(output) && (await pulumi.isSecret(output));
    const value = await unwrap(output);
    outputs[key] = secret ? new Secret(value) : value;
  }
  await pulumi.runtime.disconnect();
  const resources = recorded;
  return {
    resources,
    outputs,
    resource(name) {
      const found = resources.filter((resource) => resource.name === name);
      if (found[0] === undefined || found.length > 1) {
        throw new Error(
          `${found.length} resources are called ${name}: ${resources.map((each) => each.name).join(", ")}`,
        );
      }
      return found[0];
    },
  };
}

/** The value of an output, once it is there. */
export function unwrap<T>(output: pulumi.Input<T>): Promise<pulumi.Unwrap<T>> {
  return new Promise((resolve) => {
    pulumi.output(output).apply(resolve);
  });
}
