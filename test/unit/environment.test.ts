/** What is told to services and commands from outside: whatever it is, it's taken as what it says, or one clear error says why not. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type ServiceKey, serviceKeys, services } from "@event-flow/events";
import { createDatabase } from "../../apps/backend/src/database.ts";
import { ConfigError } from "@event-flow/service";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jwtSecret, nextTaskToken, runService, vapidSecret } from "../servers/service.ts";

type Environment = Readonly<Record<string, string>>;
type ReadConfig = (env: NodeJS.ProcessEnv) => Readonly<Record<string, unknown>>;

/** Each service's own reader. A new service has one in the same place. */
async function readerOf(key: ServiceKey): Promise<ReadConfig> {
  const module = (await import(join("..", "..", "apps", services[key].name, "src", "config.ts"))) as {
    readConfig: ReadConfig;
  };
  return module.readConfig;
}

/** What is needed by some service. */
const needed: Environment = {
  DATABASE_URL: "postgres://tasks:s3cr3t-hunter2@db:5432/tasks",
  JWT_SECRET: jwtSecret,
  NEXT_TASK_TOKEN: nextTaskToken,
  VAPID_SECRET: vapidSecret,
  VAPID_SUBJECT: "mailto:a@example.com",
  APP_API_TOKEN: "the-token-that-a-sidecar-shows-to-its-app",
};
const secrets = ["DATABASE_URL", "JWT_SECRET", "NEXT_TASK_TOKEN", "VAPID_SECRET", "DAPR_API_TOKEN", "APP_API_TOKEN"];

/** The variables that a reader asks for. */
function variablesOf(readConfig: ReadConfig): string[] {
  const asked = new Set<string>();
  const env = new Proxy<NodeJS.ProcessEnv>(needed, {
    get: (target, name) => {
      if (typeof name === "string" && /^[A-Z_]+$/.test(name)) asked.add(name);
      return Reflect.get(target, name) as unknown;
    },
  });
  readConfig(env);
  return [...asked];
}

const hostile = [
  ...[
    "",
    " ",
    "0",
    "-1",
    "65536",
    "1e3",
    "0x10",
    "8000 ",
    "+8000",
    "NaN",
    "9".repeat(400),
    "x".repeat(100_000),
    "null",
    "true",
  ],
  ...["\u001b[2J", "a\nb", "\r\n", "\u202e", "${HOME}", "$(id)", "--inspect", "__proto__", "constructor", "{}", "[]"],
  ...[
    "postgres://",
    "postgres://db",
    "postgres://u:100%@db/tasks",
    "mysql://u:hunter2@db/tasks",
    "postgres://u:p@:5432/tasks",
  ],
  ...[
    "postgres://u:p@db/tasks?host=/etc",
    "postgres://u:p@db/tasks?port=1",
    "postgres://u:p@db/tasks?options=-c%20a=b",
  ],
  ...[
    "postgres://u:p@db/tasks?sslmode=never",
    "postgres://u:p@db/tasks?sslrootcert=/absent",
    "postgres://u:p@db:99999/tasks",
  ],
  ...[
    "http://",
    "http://host:99999",
    "https://a b",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "http://collector:4318/?a=b",
    "http://c#d",
  ],
  ...[
    "mailto:",
    "mailto:a@b",
    "mailto:a@example.com\r\nx: y",
    "https://",
    "https://%",
    "https://a,b",
    "https://push:8443/path",
    ",,,",
  ],
];

describe.each(serviceKeys)("the environment of %s", (key) => {
  test("is sound, or each wrong variable is named and no secret is told", async () => {
    const readConfig = await readerOf(key);
    const variables = variablesOf(readConfig);
    expect(variables).toEqual(
      expect.arrayContaining(["PORT", "JWT_SECRET", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT"]),
    );
    const check = (name: string, value: string) => {
      let config: Readonly<Record<string, unknown>>;
      try {
        config = readConfig({ ...needed, [name]: value });
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        expect(error.message).toMatch(/^The environment is not valid:\n {2}[A-Z_]+ [^\n]+$/);
        expect(error.message).toContain(`\n  ${name} is`);
        expect(error.message).not.toMatch(/(?!\n)[^ -~…]/);
        expect(error.message.length).toBeLessThan(1_000);
        if (secrets.includes(name) && value.length > 20) expect(error.message).not.toContain(value);
        expect(error.message).not.toContain("s3cr3t");
        return;
      }
      for (const [variable, each] of Object.entries(config)) {
        if (typeof each === "number") expect(Number.isFinite(each), variable).toBe(true);
        if (variable.endsWith("PORT")) expect(Number(each) > 0 && Number(each) < 65_536, variable).toBe(true);
        if (variable.endsWith("TOKEN")) expect(() => new Headers({ token: String(each) })).not.toThrow();
        if (variable === "OTEL_EXPORTER_OTLP_ENDPOINT") expect(URL.canParse(`${String(each)}/v1/traces`)).toBe(true);
      }
      // Throws at what it can't make a connection of.
      if (name === "DATABASE_URL") createDatabase(value, () => undefined);
    };
    for (const name of variables) for (const value of hostile) check(name, value);
    fc.assert(
      fc.property(
        fc.constantFrom(...variables),
        fc.oneof(fc.string({ unit: "binary" }), fc.string(), fc.constantFrom(...hostile), fc.webUrl()),
        check,
      ),
      { numRuns: 500 },
    );
  });
});

describe("a service that is told wrong", () => {
  test.each<[name: string, env: Environment, told: string]>([
    [services.backend.name, { PORT: "99999" }, 'PORT is "99999"; it must be an integer from 1 to 65535'],
    [
      services.backend.name,
      { DATABASE_URL: "postgres://u:hunter2@db/tasks?sslrootcert=/absent" },
      "DATABASE_URL is not valid; it may have no options but sslmode, sslrootcert and the like, with values that there are, " +
        "and files that can be read",
    ],
    [
      services.analyticsService.name,
      { DATABASE_URL: "mysql://u:hunter2@db/tasks" },
      "DATABASE_URL is not valid; it must be a URL like postgres://user:password@host:5432/database",
    ],
    [
      services.recurringTaskService.name,
      { NEXT_TASK_TOKEN: `${nextTaskToken}\nx: y` },
      "NEXT_TASK_TOKEN is not valid; it must be of ASCII's visible characters",
    ],
    [
      services.notificationService.name,
      { VAPID_SUBJECT: "https://\u001b[2J" },
      'VAPID_SUBJECT is "https://\\u001b[2J"; it must be mailto:<address> or an https URL',
    ],
  ])("%s by %j ends with one clear message", async (name, env, told) => {
    expect(await runService(name, { ...needed, ...env })).toEqual({
      exitCode: 1,
      output: "",
      errors: `The environment is not valid:\n  ${told}\n`,
    });
  });
});

describe("a command that is told wrong", () => {
  test.each<[command: string, args: readonly string[], told: string]>([
    ["dead-letters.ts", ["--wat"], "usage: dead-letters.ts list"],
    ["dead-letters.ts", ["list", "--service", "\u001b[2J"], "usage: dead-letters.ts list"],
    ["dead-letters.ts", ["steal", "--dapr", "http://127.0.0.1:1"], "usage: dead-letters.ts list"],
    ["dead-letters.ts", ["list", "--dapr", "javascript:alert(1)"], "usage: dead-letters.ts list"],
    ["chaos.ts", ["--kills", "\u001b[2J"], '--kills is "\\u001b[2J"; it must be a whole number'],
    ["chaos.ts", ["--minutes", "9999999999"], '--minutes is "9999999999"; it must be a whole number of at most 71000'],
    ["chaos.ts", ["--report"], "usage: chaos.ts"],
    ["doctor.ts", ["--stack", "staging"], "usage: doctor.ts"],
    ["doctor.ts", ["--stak\u001b"], "Unknown option"],
    ["bench.ts", ["--seed", "many"], "--seed is many; it must be a whole number"],
    ["bench.ts", ["--what"], "Unknown option"],
    ["test.ts", ["constructor"], "usage: test.ts test|check|e2e|rehearse"],
  ])("%s %j says so", async (command, args, told) => {
    const ended: unknown = await promisify(execFile)(process.execPath, [
      join(import.meta.dirname, "..", "..", "commands", command),
      ...args,
    ]).catch((error: unknown) => error);
    expect(ended).toMatchObject({ stdout: "", stderr: expect.stringContaining(told) as string });
    const { code, stderr } = ended as { code: number; stderr: string };
    expect(code).toBeGreaterThan(0);
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(stderr).not.toMatch(/(?!\n)\p{Cc}/u);
  });
});
