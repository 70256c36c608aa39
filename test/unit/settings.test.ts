import { perService } from "@event-flow/events";
import * as pulumi from "@pulumi/pulumi";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parseSettings, type Sources } from "../../components/settings.ts";
import { devConfig, fixture, prodConfig, prodSecrets } from "./support/config.ts";
import { unwrap } from "./support/pulumi.ts";
import { temporaryFolder } from "./support/folder.ts";

/** What images may be that are there already, as messages show it. */
const prebuilt = JSON.stringify({ from: "prebuilt", ...perService(() => "<image>") });

const emptyFolder = temporaryFolder();

function parse(config: Record<string, string>, more: Partial<Sources> = {}) {
  return parseSettings({ stack: "dev", config, isSecret: () => false, env: {}, home: emptyFolder, ...more });
}

/** The problems that a config has, without the title. */
function problems(config: Record<string, string>, more: Partial<Sources> = {}): string {
  try {
    parse(config, more);
  } catch (error) {
    const [title, ...rest] = (error as Error).message.split("\n\n");
    expect(title).toMatch(/^Stack [\w-]+ was not deployed: its config has (a problem|\d+ problems)\.$/);
    return rest.join("\n\n");
  }
  return "";
}

const minimal = { "event-flow:environment": "dev", "event-flow:kubeconfig": fixture("kubeconfig.yaml") };

describe("stack dev", () => {
  test("needs no key but its environment", () => {
    expect(parse(minimal)).toEqual({
      environment: "dev",
      kubeContext: "minikube",
      kubeconfig: fixture("kubeconfig.yaml"),
      namespace: "default",
      highlyAvailable: false,
      broker: "redpanda",
      pushContact: "mailto:event-flow@example.com",
      jwtKeyGeneration: 1,
      images: { from: "minikube" },
      daprChart: { from: "official" },
    });
  });

  test("takes every key", () => {
    expect(
      parse({
        ...devConfig,
        "event-flow:namespace": "todo",
        "event-flow:broker": "kafka",
        "event-flow:pushContact": "https://example.com/contact",
        "event-flow:kubeContext": "minikube",
        "event-flow:images": '{"from":"registry","repository":"localhost:5000/event-flow"}',
        "event-flow:otlpEndpoint": "https://collector.example.com",
        "event-flow:traceRatio": "0.25",
        "event-flow:jwtKeyGeneration": "3",
        "event-flow:requestsPerMinute": "60",
      }),
    ).toEqual({
      environment: "dev",
      kubeContext: "minikube",
      kubeconfig: fixture("kubeconfig.yaml"),
      namespace: "todo",
      highlyAvailable: false,
      broker: "kafka",
      pushContact: "https://example.com/contact",
      jwtKeyGeneration: 3,
      requestsPerMinute: 60,
      images: { from: "registry", repository: "localhost:5000/event-flow" },
      tracing: { endpoint: "https://collector.example.com", ratio: 0.25 },
      daprChart: { from: "directory", path: fixture("dapr-chart") },
    });
  });

  test("traces everything unless told otherwise, where it's told where to", () => {
    const config = { ...minimal, "event-flow:otlpEndpoint": "http://collector:4318" };
    expect(parse(config)).toMatchObject({ tracing: { endpoint: "http://collector:4318", ratio: 1 } });
    for (const ratio of ["1.5", "-1", "10%", ""]) {
      expect(problems({ ...config, "event-flow:traceRatio": ratio })).toBe(
        `  event-flow:traceRatio is "${ratio}"; allowed: a number from 0 to 1.\n` +
          "    pulumi config set event-flow:traceRatio 0.1 --stack dev",
      );
    }
  });

  test("finds the kubeconfig as kubectl does", () => {
    const config = { "event-flow:environment": "dev" };
    const list = [path.join(emptyFolder, "absent"), fixture("kubeconfig.yaml")].join(path.delimiter);
    expect(parse(config, { env: { KUBECONFIG: list } })).toMatchObject({ kubeconfig: undefined });
    expect(problems(config)).toBe(
      `  event-flow:kubeconfig is unset, and by default ${emptyFolder}/.kube/config, which does not exist.\n` +
        "    pulumi config set event-flow:kubeconfig <path> --stack dev",
    );
    expect(problems(config, { env: { KUBECONFIG: "/absent" } })).toBe(
      "  event-flow:kubeconfig is unset, and $KUBECONFIG is /absent, which does not exist.\n" +
        "    pulumi config set event-flow:kubeconfig <path> --stack dev",
    );
  });

  test("takes ~ for the home directory", () => {
    writeFileSync(
      path.join(emptyFolder, "config"),
      "contexts: [{ name: minikube, context: { cluster: a } }]\nclusters: [{ name: a, cluster: { server: https://127.0.0.1 } }]",
    );
    expect(parse({ ...minimal, "event-flow:kubeconfig": "~/config" })).toMatchObject({
      kubeconfig: path.join(emptyFolder, "config"),
    });
  });
});

describe("a bad value is told with its key, what is allowed, and the command that mends it", () => {
  test.each<[key: string, value: string, told: string]>([
    [
      "broker",
      "rabbitmq",
      '  event-flow:broker is "rabbitmq"; allowed: redpanda, kafka.\n' +
        "    pulumi config set event-flow:broker redpanda --stack dev",
    ],
    [
      "broker",
      "",
      '  event-flow:broker is ""; allowed: redpanda, kafka.\n' +
        "    pulumi config set event-flow:broker redpanda --stack dev",
    ],
    [
      "environment",
      "staging",
      '  event-flow:environment is "staging"; allowed: dev, prod.\n' +
        "    pulumi config set event-flow:environment dev --stack dev",
    ],
    [
      "namespace",
      "Event_Flow",
      '  event-flow:namespace is "Event_Flow"; allowed: a Kubernetes name, at most 63 of a-z, 0-9 and inner "-".\n' +
        "    pulumi config set event-flow:namespace default --stack dev",
    ],
    ...["dapr-system", "kube-system"].map((namespace): [key: string, value: string, told: string] => [
      "namespace",
      namespace,
      `  event-flow:namespace is "${namespace}"; allowed: a Kubernetes name, at most 63 of a-z, 0-9 and inner "-", ` +
        "that is neither Kubernetes' own (kube-…) nor Dapr's.\n" +
        "    pulumi config set event-flow:namespace default --stack dev",
    ]),
    [
      "pushContact",
      "https://example.com/$(JWT_SECRET)",
      '  event-flow:pushContact is "https://example.com/$(JWT_SECRET)"; allowed: an address like ' +
        "mailto:admin@example.com, or an https URL.\n" +
        "    pulumi config set event-flow:pushContact mailto:event-flow@example.com --stack dev",
    ],
    ...[
      "http://collector:99999",
      "http://0x7f.1:4318",
      "collector:4318",
      "http://collector:4318/v1/traces",
      "http://user:secret@collector",
      "grpc://collector",
    ].map((endpoint): [key: string, value: string, told: string] => [
      "otlpEndpoint",
      endpoint,
      `  event-flow:otlpEndpoint is "${endpoint}"; allowed: a URL without a path, like http://collector.observability:4318.\n` +
        "    pulumi config set event-flow:otlpEndpoint http://collector.observability:4318 --stack dev",
    ]),
    [
      "traceRatio",
      "0.1",
      "  event-flow:traceRatio says which traces are kept, but without event-flow:otlpEndpoint there are none.\n" +
        "    pulumi config rm event-flow:traceRatio --stack dev",
    ],
    ...["0", "-1", "1.5", "two", "10000", "1e3", ""].map((count): [key: string, value: string, told: string] => [
      "jwtKeyGeneration",
      count,
      `  event-flow:jwtKeyGeneration is "${count}"; allowed: a whole number from 1 to 9999.\n` +
        "    pulumi config set event-flow:jwtKeyGeneration 2 --stack dev",
    ]),
    [
      "requestsPerMinute",
      "1000000000",
      '  event-flow:requestsPerMinute is "1000000000"; allowed: a whole number from 1 to 999999999.\n' +
        "    pulumi config set event-flow:requestsPerMinute 600 --stack dev",
    ],
    [
      "images",
      "minikube",
      '  event-flow:images is minikube; allowed: {"from":"minikube"}, ' +
        '{"from":"registry","repository":"<registry>/<path>"} or ' +
        `${prebuilt}.\n` +
        "    pulumi config rm event-flow:images --stack dev",
    ],
    [
      "images",
      '{"from":"prebuilt","backend":"backend:1"}',
      '  event-flow:images is {"from":"prebuilt","backend":"backend:1"}; allowed: {"from":"minikube"}, ' +
        '{"from":"registry","repository":"<registry>/<path>"} or ' +
        `${prebuilt}.\n` +
        "    pulumi config rm event-flow:images --stack dev",
    ],
    [
      "daprChart",
      fixture("dapr-chart/crds"),
      `  event-flow:daprChart is "${fixture("dapr-chart/crds")}", which is not a directory with Dapr's Helm chart: ` +
        "it has no Chart.yaml. Without this key the official chart is used.\n" +
        "    pulumi config rm event-flow:daprChart --stack dev",
    ],
    [
      "kubeconfig",
      "/absent",
      "  event-flow:kubeconfig is /absent, which does not exist.\n" +
        "    pulumi config set event-flow:kubeconfig <path> --stack dev",
    ],
    [
      "kubeconfig",
      import.meta.filename,
      `  event-flow:kubeconfig leads to ${import.meta.filename}, which is not a kubeconfig.\n` +
        "    pulumi config set event-flow:kubeconfig <path> --stack dev",
    ],
  ])("%s: %s", (key, value, told) => {
    expect(problems({ ...minimal, [`event-flow:${key}`]: value })).toBe(told);
  });

  test("the environment has no default", () => {
    expect(problems({})).toBe(
      "  event-flow:environment is missing; allowed: dev, prod.\n" +
        "    pulumi config set event-flow:environment dev --stack dev",
    );
  });

  test("all of them at once, for the stack that has them", () => {
    const config = {
      ...minimal,
      "event-flow:broker": "nats",
      "event-flow:namespace": "-",
      "event-flow:brokr": "kafka",
    };
    expect(() => parse(config, { stack: "dev-alice" })).toThrow(
      [
        "Stack dev-alice was not deployed: its config has 3 problems.",
        "  event-flow:brokr is not a key of this project. Did you mean event-flow:broker?\n" +
          "    pulumi config rm event-flow:brokr --stack dev-alice",
        '  event-flow:namespace is "-"; allowed: a Kubernetes name, at most 63 of a-z, 0-9 and inner "-".\n' +
          "    pulumi config set event-flow:namespace default --stack dev-alice",
        '  event-flow:broker is "nats"; allowed: redpanda, kafka.\n' +
          "    pulumi config set event-flow:broker redpanda --stack dev-alice",
      ].join("\n\n"),
    );
  });

  test("an unknown key that is like no other, with all there are", () => {
    expect(problems({ ...minimal, "event-flow:replicas": "3" })).toBe(
      "  event-flow:replicas is not a key of this project. Its keys: environment, namespace, daprChart, images, " +
        "otlpEndpoint, traceRatio, pushContact, jwtKeyGeneration, requestsPerMinute, kubeContext, kubeconfig, broker, region, nodes, " +
        "domain, redpandaBrokers, redpandaUsername, redpandaPassword, redpandaMechanism, redpandaCa, smtpHost, smtpPort, smtpFrom, smtpUser, smtpPassword.\n" +
        "    pulumi config rm event-flow:replicas --stack dev",
    );
  });

  test("a value that a terminal would take for more than text, or that is too long to be read", () => {
    expect(problems({ ...minimal, "event-flow:broker": "\u001b[2Jk\u0430fka\n" })).toBe(
      '  event-flow:broker is "\\u001b[2Jk\\u0430fka\\u000a"; allowed: redpanda, kafka.\n' +
        "    pulumi config set event-flow:broker redpanda --stack dev",
    );
    expect(problems({ ...minimal, "event-flow:broker": "x".repeat(1_000) })).toContain(
      `is "${"x".repeat(200)}… (1000 characters)"; allowed`,
    );
    expect(problems({ ...minimal, "event-flow:broker": "x".repeat(100_000) })).toBe(
      "  event-flow:broker has 100000 characters; allowed: at most 65536.\n" +
        "    pulumi config rm event-flow:broker --stack dev",
    );
  });

  test("a key that every object has is as unknown as any", () => {
    for (const key of ["constructor", "__proto__", "toString"]) {
      expect(problems({ ...minimal, [`event-flow:${key}`]: "x" })).toContain(
        `  event-flow:${key} is not a key of this project. Its keys: environment, `,
      );
    }
  });

  test("an unknown key makes no other command of the one that mends it", () => {
    expect(problems({ ...minimal, "event-flow:$(reboot)\u001b": "x" })).toMatch(
      /\n {4}pulumi config rm 'event-flow:\$\(reboot\)\\u001b' --stack dev$/,
    );
  });

  test("what isn't one of its secrets is not taken as one, and not told", () => {
    expect(
      problems({ ...minimal, "event-flow:broker": "hunter2" }, { isSecret: (key) => key === "event-flow:broker" }),
    ).toBe(
      "  event-flow:broker is set as a secret, but is none: it would be in plain text in the state and in the cluster.\n" +
        "    pulumi config set --plaintext event-flow:broker <value> --stack dev",
    );
  });

  test("a kubeconfig without an end", () => {
    expect(problems({ ...minimal, "event-flow:kubeconfig": "/dev/zero" })).toBe(
      "  event-flow:kubeconfig leads to /dev/zero, which is not a kubeconfig.\n" +
        "    pulumi config set event-flow:kubeconfig <path> --stack dev",
    );
  });

  test("a context that a command would take for several words", () => {
    const kubeconfig = path.join(emptyFolder, "blanks");
    writeFileSync(
      kubeconfig,
      "contexts: [{ name: a b, context: { cluster: a } }]\nclusters: [{ name: a, cluster: { server: https://127.0.0.1 } }]",
    );
    expect(problems({ ...minimal, "event-flow:kubeconfig": kubeconfig, "event-flow:kubeContext": "a b" })).toBe(
      '  event-flow:kubeContext is "a b"; allowed: letters, digits and "._@:/+-" after the first, at most 253; ' +
        "kubectl config rename-context renames one.\n" +
        "    pulumi config set event-flow:kubeContext <context> --stack dev",
    );
  });

  test("an unknown key, without its value", () => {
    expect(problems({ ...minimal, "event-flow:redpandaPasword": "hunter2" })).not.toContain("hunter2");
  });

  test("keys of others than this project are none of its business", () => {
    expect(problems({ ...minimal, "kubernetes:context": "minikube" })).toBe("");
  });
});

describe("stack dev does not deploy to", () => {
  const remedy = "    pulumi config set event-flow:kubeContext <context> --stack dev";
  test.each<[context: string, told: string]>([
    [
      "do-fra1-event-flow",
      'is "do-fra1-event-flow" (https://0f1e2d3c.k8s.ondigitalocean.com), by its name a cluster of DigitalOcean. ' +
        "Stack dev deploys only to a cluster on this machine or a private network.",
    ],
    [
      "do-behind-a-tunnel",
      'is "do-behind-a-tunnel" (https://192.168.49.2:8443), by its name a cluster of DigitalOcean. ' +
        "Stack dev deploys only to a cluster on this machine or a private network.",
    ],
    [
      "renamed",
      'is "renamed", whose API server https://0f1e2d3c.k8s.ondigitalocean.com is not on this machine or a private ' +
        "network. Stack dev deploys only to a cluster that is.",
    ],
    ["dangling", 'is "dangling", a context whose cluster the kubeconfig does not have.'],
    [
      "absent",
      'is "absent", a context that the kubeconfig does not have. ' +
        "It has: minikube, do-fra1-event-flow, renamed, do-behind-a-tunnel, dangling.",
    ],
  ])("context %s", (context, told) => {
    expect(problems({ ...minimal, "event-flow:kubeContext": context })).toBe(
      `  event-flow:kubeContext ${told}\n${remedy}`,
    );
  });
});

describe("stack prod", () => {
  const isSecret = (key: string) => prodSecrets.includes(key);
  const prodProblems = (config: Record<string, string>, more: Partial<Sources> = {}) =>
    problems(config, { stack: "prod", isSecret, ...more });

  test("needs no more than how to reach DigitalOcean and Redpanda Cloud", async () => {
    const settings = parse(prodConfig, { stack: "prod", isSecret });
    if (settings.environment !== "prod") expect.unreachable();
    const { token, redpanda, ...rest } = settings;
    expect(rest).toEqual({
      environment: "prod",
      highlyAvailable: true,
      name: "event-flow-prod",
      region: "fra1",
      nodes: { size: "s-2vcpu-4gb", min: 3, max: 5 },
      domain: undefined,
      smtp: undefined,
      pushContact: undefined,
      jwtKeyGeneration: 1,
      namespace: "event-flow",
      images: { from: "registry" },
      daprChart: { from: "directory", path: fixture("dapr-chart") },
    });
    const { password, ...known } = redpanda;
    expect(known).toEqual({
      brokers: ["seed-1.example.com:9092", "seed-2.example.com:9092"],
      username: "event-flow",
      mechanism: "SCRAM-SHA-256",
      ca: undefined,
    });
    for (const [output, value] of [
      [token, "<do-token>"],
      [password, "<redpanda-password>"],
    ] as const) {
      expect(await pulumi.isSecret(output)).toBe(true);
      expect(await unwrap(output)).toBe(value);
    }
  });

  test("names each key that is missing, and the command that sets it", () => {
    expect(prodProblems({ "event-flow:environment": "prod" })).toBe(
      [
        "  digitalocean:token is missing.\n    pulumi config set --secret digitalocean:token --stack prod",
        "  event-flow:redpandaBrokers is missing; allowed: host:port, or several with commas between them.\n" +
          "    pulumi config set event-flow:redpandaBrokers <value> --stack prod",
        "  event-flow:redpandaUsername is missing; allowed: the name of a SASL user.\n" +
          "    pulumi config set event-flow:redpandaUsername <value> --stack prod",
        "  event-flow:redpandaPassword is missing.\n" +
          "    pulumi config set --secret event-flow:redpandaPassword --stack prod",
      ].join("\n\n"),
    );
  });

  test("takes a mail server, with a user or without", async () => {
    const more = { "event-flow:smtpHost": "smtp.example.com", "event-flow:smtpFrom": "tasks@example.com" };
    const without = parse({ ...prodConfig, ...more }, { stack: "prod", isSecret });
    expect(without).toMatchObject({
      smtp: { host: "smtp.example.com", port: 587, from: "tasks@example.com", auth: undefined },
    });
    const withUser = parse(
      { ...prodConfig, ...more, "event-flow:smtpUser": "tasks", "event-flow:smtpPassword": "<smtp-password>" },
      { stack: "prod", isSecret: (key) => isSecret(key) || key === "event-flow:smtpPassword" },
    );
    if (withUser.environment !== "prod" || withUser.smtp?.auth === undefined) expect.unreachable();
    expect(withUser.smtp.auth.user).toBe("tasks");
    expect(await pulumi.isSecret(withUser.smtp.auth.password)).toBe(true);
    expect(await unwrap(withUser.smtp.auth.password)).toBe("<smtp-password>");
  });

  test("half a mail server is refused", () => {
    expect(
      prodProblems({ ...prodConfig, "event-flow:smtpPort": "2525", "event-flow:smtpPassword": "<smtp-password>" }),
    ).toBe(
      "  event-flow:smtpPort is set without event-flow:smtpHost.\n" +
        "    pulumi config rm event-flow:smtpPort --stack prod\n\n" +
        "  event-flow:smtpPassword is set without event-flow:smtpHost.\n" +
        "    pulumi config rm event-flow:smtpPassword --stack prod",
    );
    expect(prodProblems({ ...prodConfig, "event-flow:smtpHost": "smtp.example.com" })).toBe(
      "  event-flow:smtpFrom is missing; allowed: an address, or a name with an address like Tasks <tasks@example.com>.\n" +
        "    pulumi config set event-flow:smtpFrom <value> --stack prod",
    );
    const named = { ...prodConfig, "event-flow:smtpHost": "smtp.example.com", "event-flow:smtpFrom": "a@example.com" };
    expect(prodProblems({ ...named, "event-flow:smtpUser": "tasks" })).toBe(
      "  event-flow:smtpPassword is missing.\n" + "    pulumi config set --secret event-flow:smtpPassword --stack prod",
    );
    expect(prodProblems({ ...named, "event-flow:smtpPort": "0", "event-flow:smtpPassword": "<smtp-password>" })).toBe(
      "  event-flow:smtpUser is missing; event-flow:smtpPassword is set.\n" +
        "    pulumi config set event-flow:smtpUser <value> --stack prod\n\n" +
        '  event-flow:smtpPort is "0"; allowed: a port, from 1 to 65535.\n' +
        "    pulumi config set event-flow:smtpPort 587 --stack prod",
    );
  });

  test("takes DigitalOcean's token from where its own tools do", () => {
    const rest = Object.fromEntries(Object.entries(prodConfig).filter(([key]) => key !== "digitalocean:token"));
    expect(prodProblems(rest, { env: { DIGITALOCEAN_TOKEN: "token" } })).toBe("");
    expect(prodProblems(rest, { env: { DIGITALOCEAN_ACCESS_TOKEN: "token" } })).toBe("");
  });

  test("does not take an empty token, or one with a line break, for one", () => {
    const rest = Object.fromEntries(Object.entries(prodConfig).filter(([key]) => key !== "digitalocean:token"));
    const remedy = "    pulumi config set --secret digitalocean:token --stack prod";
    expect(prodProblems(rest, { env: { DIGITALOCEAN_TOKEN: "" } })).toBe(
      `  digitalocean:token is unset, and $DIGITALOCEAN_TOKEN is empty.\n${remedy}`,
    );
    expect(prodProblems({ ...rest, "digitalocean:token": "dop_v1_0123\n" })).toBe(
      `  digitalocean:token has a line break or another control character in it.\n${remedy}`,
    );
  });

  test("tells nothing of a key that was taken for a certificate", () => {
    const key = "-----BEGIN PRIVATE KEY-----\nMIIBVAIBADANBgkqhkiG\n-----END PRIVATE KEY-----";
    expect(prodProblems({ ...prodConfig, "event-flow:redpandaCa": key })).toBe(
      '  event-flow:redpandaCa is "-----BEGIN PRIVATE KEY-----" and more lines; allowed: a certificate in PEM.\n' +
        "    pulumi config set event-flow:redpandaCa < <file> --stack prod",
    );
  });

  test("is called nothing that is too long for what is called after it", () => {
    const stack = "a".repeat(40);
    expect(prodProblems(prodConfig, { stack })).toBe(
      `  The stack's name ${stack} has 40 characters; allowed: at most 39, as its resources are called event-flow-<stack>.\n` +
        `    pulumi stack rename <name> --stack ${stack}`,
    );
  });

  test("refuses a secret in plain text, without telling it", () => {
    expect(prodProblems(prodConfig, { isSecret: () => false })).toBe(
      "  digitalocean:token is in the stack's file in plain text.\n" +
        "    pulumi config set --secret digitalocean:token --stack prod\n\n" +
        "  event-flow:redpandaPassword is in the stack's file in plain text.\n" +
        "    pulumi config set --secret event-flow:redpandaPassword --stack prod",
    );
  });

  test.each<[key: string, value: string, told: string]>([
    [
      "region",
      "Frankfurt",
      '  event-flow:region is "Frankfurt"; allowed: a region\'s name like fra1.\n' +
        "    pulumi config set event-flow:region fra1 --stack prod",
    ],
    [
      "nodes",
      '{"size":"s-2vcpu-4gb","min":5,"max":3}',
      '  event-flow:nodes is {"size":"s-2vcpu-4gb","min":5,"max":3}; allowed: ' +
        '{"size":"<droplet size>","min":<count>,"max":<count>}, with min at most max.\n' +
        "    pulumi config rm event-flow:nodes --stack prod",
    ],
    [
      "domain",
      "https://tasks.example.com",
      '  event-flow:domain is "https://tasks.example.com"; allowed: a domain name like tasks.example.com.\n' +
        "    pulumi config set event-flow:domain <value> --stack prod",
    ],
    [
      "redpandaBrokers",
      "seed-1.example.com",
      '  event-flow:redpandaBrokers is "seed-1.example.com"; allowed: host:port, or several with commas between them.\n' +
        "    pulumi config set event-flow:redpandaBrokers <value> --stack prod",
    ],
    [
      "redpandaMechanism",
      "SHA-256",
      '  event-flow:redpandaMechanism is "SHA-256"; allowed: SCRAM-SHA-256, SCRAM-SHA-512.\n' +
        "    pulumi config set event-flow:redpandaMechanism SCRAM-SHA-256 --stack prod",
    ],
    [
      "redpandaCa",
      "/etc/ssl/ca.pem",
      '  event-flow:redpandaCa is "/etc/ssl/ca.pem"; allowed: a certificate in PEM.\n' +
        "    pulumi config set event-flow:redpandaCa < <file> --stack prod",
    ],
    [
      "images",
      '{"from":"minikube"}',
      '  event-flow:images is {"from":"minikube"}; allowed: {"from":"registry"}, {"from":"registry","name":"<registry>"} ' +
        `or ${prebuilt}.\n` +
        "    pulumi config rm event-flow:images --stack prod",
    ],
    [
      "kubeContext",
      "minikube",
      "  event-flow:kubeContext is a key for dev only, and this stack is for prod.\n" +
        "    pulumi config rm event-flow:kubeContext --stack prod",
    ],
  ])("%s: %s", (key, value, told) => {
    expect(prodProblems({ ...prodConfig, [`event-flow:${key}`]: value })).toBe(told);
  });

  test("a key for prod is refused on dev", () => {
    expect(problems({ ...minimal, "event-flow:redpandaPassword": "hunter2" })).toBe(
      "  event-flow:redpandaPassword is a key for prod only, and this stack is for dev.\n" +
        "    pulumi config rm event-flow:redpandaPassword --stack dev",
    );
  });
});
