import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { repositoryRoot } from "../../components/content-tag.ts";
import { buildTools, toolDir } from "../tools/index.ts";
import { daprControlPlane, kubeconform, kubeScore } from "../tools/go-tools.ts";
import { devConfig, prodConfig, prodSecrets } from "../unit/support/config.ts";
import { type Manifest, manifestsOf } from "../unit/support/manifests.ts";
import { certificate } from "../unit/support/patient.ts";
import { runProgram } from "../unit/support/program.ts";
import { ignored, notIgnored } from "./ignored.ts";
import { schemas } from "./schemas.ts";
import { conform, type Finding, score } from "./tools.ts";

const tracing = { "event-flow:otlpEndpoint": "http://collector.observability:4318", "event-flow:traceRatio": "0.1" };
const contact = { "event-flow:pushContact": "mailto:admin@example.com" };

/** Every manifest that there can be is in one of these. */
const stacks: readonly {
  readonly name: string;
  readonly config: Record<string, string>;
  readonly secrets?: string[];
}[] = [
  { name: "dev", config: devConfig },
  {
    name: "dev with all that can be set",
    config: {
      ...devConfig,
      ...tracing,
      ...contact,
      "event-flow:broker": "kafka",
      "event-flow:namespace": "tasks",
    },
  },
  { name: "prod", config: prodConfig, secrets: prodSecrets },
  {
    name: "prod with all that can be set",
    config: {
      ...prodConfig,
      ...tracing,
      ...contact,
      "event-flow:domain": "tasks.example.com",
      "event-flow:redpandaCa": await certificate(300),
      "event-flow:smtpHost": "smtp.example.com",
      "event-flow:smtpFrom": "Tasks <tasks@example.com>",
      "event-flow:smtpUser": "tasks",
      "event-flow:smtpPassword": "<smtp-password>",
    },
    secrets: [...prodSecrets, "event-flow:smtpPassword"],
  },
];

const manifests = new Map<string, Manifest[]>();

beforeAll(async () => {
  await buildTools([kubeconform, kubeScore, daprControlPlane, schemas]);
  const chart = { "event-flow:daprChart": join(toolDir(daprControlPlane), "charts", "dapr") };
  for (const { name, config, secrets } of stacks) {
    const { resources } = await runProgram({ ...config, ...chart }, name.split(" ")[0], secrets);
    manifests.set(name, manifestsOf(resources));
  }
}, 300_000);

const of = (stack: string): Manifest[] => manifests.get(stack) ?? [];

type Path = readonly (string | number)[];

/** A stack with one field of a manifest set, or taken away; of the first manifest of the kind. */
function changed(stack: string, kind: string, path: Path, value: unknown): Manifest[] {
  const copy = structuredClone(of(stack));
  let parent: unknown = copy.find((manifest) => manifest.kind === kind);
  for (const key of path.slice(0, -1)) parent = (parent as Record<string | number, unknown>)[key];
  (parent as Record<string | number, unknown>)[path.at(-1) ?? ""] = value;
  return copy;
}

const pod: Path = ["spec", "template", "spec"];
const container: Path = [...pod, "containers", 0];

const shown = (findings: readonly Finding[]) =>
  findings.map(({ object, check, message }) => `${object}: ${check}: ${message}`);

describe.each(stacks)("stack $name", ({ name }) => {
  test("is valid by the strict schemas of Kubernetes and of Dapr's CRDs", async () => {
    expect(of(name).length).toBeGreaterThan(30);
    expect(of(name).map(({ kind }) => kind)).toEqual(expect.arrayContaining(["Component", "CustomResourceDefinition"]));
    expect(shown(await conform(of(name)))).toEqual([]);
  });

  test("has nothing that kube-score finds critical", async () => {
    expect(shown(notIgnored(await score(of(name))))).toEqual([]);
  });

  test("has no secret in a manifest", () => {
    expect(JSON.stringify(of(name))).not.toMatch(/<[\w-]*(password|token|jwt|vapid|key)>/);
  });
});

describe("what is wrong with a manifest is told", () => {
  test.each<[string, string, Path, unknown, RegExp]>([
    ["an unknown field", "Deployment", [...container, "imagePolicy"], "Always", /imagePolicy/],
    ["an unknown field of the pod's", "StatefulSet", [...pod, "readOnly"], true, /readOnly/],
    ["a wrong type", "Deployment", ["spec", "replicas"], "two", /\/spec\/replicas/],
    ["a missing field", "Service", ["spec", "ports", 0, "port"], undefined, /missing property 'port'/],
    ["an unknown field of metadata", "Component", ["metadata", "label"], {}, /label/],
    ["a field that a Component hasn't", "Component", ["spec", "metadatas"], [], /metadatas/],
    ["a wrong type in a Resiliency", "Resiliency", ["spec", "policies", "timeouts"], ["4s"], /timeouts/],
    ["a wrong type in a Configuration", "Configuration", ["spec", "metrics", "enabled"], "yes", /enabled/],
    ["an unknown kind", "Service", ["kind"], "Servize", /could not find schema/],
  ])("%s", async (_, kind, path, value, message) => {
    const findings = shown(await conform(changed("dev", kind, path, value)));
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatch(message);
  });

  test.each<[string, Path, unknown, string]>([
    ["no limit", [...container, "resources", "limits", "memory"], undefined, "container-resources"],
    [
      "no limit of the disk",
      [...container, "resources", "limits", "ephemeral-storage"],
      undefined,
      "container-ephemeral-storage-request-and-limit",
    ],
    ["no version", [...container, "image"], "backend", "container-image-tag"],
    [
      "a file system to write to",
      [...container, "securityContext", "readOnlyRootFilesystem"],
      undefined,
      "container-security-context-readonlyrootfilesystem",
    ],
    ["a user below 10,000", [...pod, "securityContext", "runAsUser"], 1000, "container-security-context-user-group-id"],
    [
      "a variable twice",
      [...container, "env"],
      [
        { name: "LOG_LEVEL", value: "info" },
        { name: "LOG_LEVEL", value: "debug" },
      ],
      "environment-variable-key-duplication",
    ],
  ])("a service with %s", async (_, path, value, check) => {
    const findings = notIgnored(await score(changed("dev", "Deployment", path, value)));
    expect(findings.map((finding) => finding.check)).toContain(check);
  });
});

describe("a rule that is ignored", () => {
  test("is one that some object breaks", async () => {
    const findings = (await Promise.all(stacks.map(({ name }) => score(of(name))))).flat();
    const unused = ignored.filter(
      ({ check, objects }) => !findings.some((each) => each.check === check && objects.test(each.object)),
    );
    expect(unused).toEqual([]);
  });

  test("stands in the docs with its reason", () => {
    const docs = readFileSync(join(repositoryRoot, "docs", "hardening.md"), "utf8");
    expect(ignored.filter(({ check, because }) => !docs.includes(`- \`${check}\` ${because}`))).toEqual([]);
  });
});
