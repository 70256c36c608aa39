/** What several checks ask of the services' pods and their sidecars. */
import {
  components,
  daprHttpPort,
  daprTokenHeader,
  daprTokenKey,
  daprTokenSecrets,
  type ServiceIdentity,
} from "@event-flow/events";
import { z } from "zod";
import { reason } from "./check.ts";
import type { ContainerStatus, HttpAnswer, HttpRequest, Pod, System } from "./system.ts";

/** Dapr's name for the sidecar's container. */
export const sidecarName = "daprd";

/** The pods of a service that are to stay. */
export function podsOf(system: System, name: string): Promise<Pod[]> {
  return podsWith(system, { app: name });
}

/** The pods with these labels that are to stay. */
export async function podsWith(system: System, labels: Readonly<Record<string, string>>): Promise<Pod[]> {
  const pods = await system.list("pods");
  return pods.filter(
    ({ metadata, status }) =>
      Object.entries(labels).every(([key, value]) => metadata.labels[key] === value) &&
      metadata.deletionTimestamp === undefined &&
      !["Succeeded", "Failed"].includes(status.phase),
  );
}

export function statusesOf({ status }: Pod): ContainerStatus[] {
  return [...status.containerStatuses, ...status.initContainerStatuses];
}

export function statusOf(pod: Pod, container: string): ContainerStatus | undefined {
  return statusesOf(pod).find(({ name }) => name === container);
}

/** Whether a container of this name is in the pod, running or not. */
export function has(pod: Pod, container: string): boolean {
  return [...pod.spec.containers, ...pod.spec.initContainers].some(({ name }) => name === container);
}

/** The pods of a service whose sidecar can be asked. */
export async function withSidecar(system: System, { name }: ServiceIdentity): Promise<Pod[]> {
  return (await podsOf(system, name)).filter((pod) => statusOf(pod, sidecarName)?.ready === true);
}

/** Whether a container has ended, or is not even begun, rather than only not being ready yet. */
export function isDown({ state }: ContainerStatus): boolean {
  return state.running === undefined;
}

/** Whose fault it is that a container doesn't run, by what it said last. */
export interface Trouble {
  /** Why it isn't ready, by Kubernetes' word. */
  readonly state: string;
  /** What it said. */
  readonly said: string;
  /** Whether somebody didn't take its user name or password, or a secret isn't there. */
  readonly isOfSecrets: boolean;
}

const refusal =
  /WRONGPASS|NOAUTH|invalid username-password|password authentication failed|SASL|authentication failed|failed to authenticate/i;

export async function troubleOf(system: System, pod: Pod, status: ContainerStatus): Promise<Trouble> {
  const { waiting, terminated, running } = status.state;
  const state =
    waiting?.reason ?? terminated?.reason ?? (running === undefined ? "not begun" : "runs, but is not ready");
  if (waiting?.reason === "CreateContainerConfigError") {
    return { state, said: waiting.message ?? "", isOfSecrets: /secret/i.test(waiting.message ?? "") };
  }
  const hasLived = status.lastState.terminated !== undefined;
  const logs: string[] = [];
  for (const previous of [false, ...(hasLived ? [true] : [])]) {
    // A container that has not been begun has no log.
    logs.push(await system.log(pod.metadata.name, status.name, previous).catch(() => ""));
  }
  const said = lastError(logs) ?? waiting?.message ?? "";
  return { state, said, isOfSecrets: refusal.test(said) };
}

/** The last line of a log, of this life or else of the one before, that tells of an error. */
function lastError(logs: readonly string[]): string | undefined {
  for (const log of logs) {
    const lines = log.split("\n").map(readLine);
    // Dapr's last word repeats its first in other words: what could not be begun is the cause.
    const line =
      lines.find(({ text }) => text.startsWith("Failed to init component")) ?? lines.findLast(({ isError }) => isError);
    if (line !== undefined) return line.text;
  }
  return undefined;
}

/** Dapr writes `level=error msg="…"`, the services write JSON of pino's, and Node what it was thrown. */
function readLine(line: string): { text: string; isError: boolean } {
  const dapr = /(?:^| )level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+)/.exec(line);
  if (dapr !== null) {
    const [, level = "", quoted = ""] = dapr;
    return {
      text: quoted.replace(/^"|"$/g, "").replaceAll('\\"', '"'),
      isError: ["error", "fatal"].includes(level),
    };
  }
  try {
    const { level, msg, err } = pinoLine.parse(JSON.parse(line));
    return { text: [msg, err?.message].filter(Boolean).join(": "), isError: level >= 40 };
  } catch {
    return { text: line.trim(), isError: /error/i.test(line) };
  }
}

const pinoLine = z.object({
  level: z.number(),
  msg: z.string().default(""),
  err: z.object({ message: z.string().default("") }).optional(),
});

const metadataSchema = z.object({
  runtimeVersion: z.string().default(""),
  components: z.array(z.object({ name: z.string() })).default([]),
  subscriptions: z.array(z.object({ pubsubname: z.string(), topic: z.string() })).default([]),
});

export type SidecarMetadata = z.infer<typeof metadataSchema>;

/** The header by which a service's sidecar takes somebody for the service (`api`), or the service for its sidecar (`app`). */
export async function tokenHeader(
  system: System,
  service: ServiceIdentity,
  use: "api" | "app",
): Promise<Record<string, string>> {
  const name = daprTokenSecrets(service)[use];
  const secrets = await system.list("secrets").catch((error: unknown) => {
    throw new Error(`the token in the secret ${name} is needed to ask, and can't be read: ${reason(error)}`);
  });
  const encoded = secrets.find(({ metadata }) => metadata.name === name)?.data[daprTokenKey];
  if (encoded === undefined) throw new Error(`the token is needed to ask, and there is none in the secret ${name}`);
  return { [daprTokenHeader]: Buffer.from(encoded, "base64").toString() };
}

/** Asks a service's sidecar as the service does. */
export async function askSidecar(
  system: System,
  service: ServiceIdentity,
  pod: Pod,
  request: Omit<HttpRequest, "port" | "headers">,
): Promise<HttpAnswer> {
  const headers = await tokenHeader(system, service, "api");
  const answer = await system.http(pod.metadata.name, { ...request, port: daprHttpPort, headers });
  if (answer.status === 401) {
    throw new Error(
      `the sidecar of ${pod.metadata.name} doesn't take the token in the secret ${daprTokenSecrets(service).api}: ` +
        `both are taken up by \`${restart(system, service.name)}\``,
    );
  }
  return answer;
}

/** What a sidecar says of itself (https://docs.dapr.io/reference/api/metadata_api/). */
export async function sidecarMetadata(system: System, service: ServiceIdentity, pod: Pod): Promise<SidecarMetadata> {
  const { status, text } = await askSidecar(system, service, pod, { path: "/v1.0/metadata" });
  if (status !== 200) throw new Error(`the sidecar of ${pod.metadata.name} answers HTTP ${status}`);
  return metadataSchema.parse(JSON.parse(text));
}

/** The path of a value in the state store. */
export function statePath(key: string): string {
  return `/v1.0/state/${components.stateStore}/${encodeURIComponent(key)}?consistency=strong`;
}

export function restart(system: System, name: string): string {
  return `${system.kubectl} --namespace ${system.namespace} rollout restart deployment/${name}`;
}

export function kubectlIn(system: System, rest: string): string {
  return `${system.kubectl} --namespace ${system.namespace} ${rest}`;
}

/** Things one after the other, with commas. */
export function list(items: readonly string[]): string {
  return items.join(", ");
}

/** How many of something there are. */
export function count(items: readonly unknown[], one: string, more = `${one}s`): string {
  return `${items.length} ${items.length === 1 ? one : more}`;
}
