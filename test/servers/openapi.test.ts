import { createECDH, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { services, type ServiceKey } from "@event-flow/events";
import { execa } from "execa";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import { cacheDir } from "../tools/cache.ts";
import { buildTools } from "../tools/index.ts";
import { waitFor } from "../tools/progress.ts";
import { tail } from "../tools/run.ts";
import { schemathesis, schemathesisCommand } from "../tools/schemathesis.ts";
import { call } from "./client.ts";
import { type Daprd, startDaprd } from "./daprd.ts";
import { freePort } from "./ports.ts";
import { createDatabase } from "./postgres.ts";
import { type Service, startService, vapidSecret } from "./service.ts";
import { token } from "./token.ts";

const { postgresPort, brokers, valkey } = inject("servers");

/** How many requests there are to be at least, over all services. */
const atLeast = 10_000;

/** Where the requests, the answers and what is wrong with them are kept, until the next run. */
const logs = join(cacheDir, "logs", "openapi");

/** Each API is called by a user of its own: what one does of his tasks would hold up what he does of his notifications. */
const users = { backend: randomUUID(), notificationService: randomUUID(), analyticsService: randomUUID() };

function tokenOf(user: string): string {
  return token({ sub: user, exp: Math.floor(Date.now() / 1_000) + 3_600, scope: "stats:all" });
}

/** Where browsers are said to be subscribed; nothing is sent there. */
const pushService = "https://127.0.0.1:1";

/** The services that have an API for users, and what there is to know about testing it. */
const apis = {
  backend: {
    examples: 900,
    env: async () => ({ DATABASE_URL: await createDatabase(postgresPort, "openapi") }),
    // That a rule is one of RFC 5545's and matches a day, and a time zone is one of the IANA's, is nothing that a schema can say.
    beyondSchemas: ["POST /api/{user_id}/tasks", "PUT /api/{user_id}/tasks/{id}"],
  },
  notificationService: {
    examples: 650,
    env: () =>
      Promise.resolve({
        VAPID_SECRET: vapidSecret,
        VAPID_SUBJECT: "mailto:admin@example.com",
        PUSH_ENDPOINTS_ALLOWED: pushService,
        EMAIL: "on",
      }),
    // The channel `email` takes an address; and of what browsers add to a subscription nothing may be called `__proto__`.
    beyondSchemas: [
      "PUT /api/{user_id}/notifications/preferences",
      "POST /api/{user_id}/notifications/push-subscriptions",
    ],
  },
  analyticsService: {
    examples: 900,
    env: async () => ({ DATABASE_URL: await createDatabase(postgresPort, "openapi_analytics") }),
    // That the first day isn't after the last, nor too long before it.
    beyondSchemas: ["GET /api/{user_id}/stats", "GET /api/stats"],
  },
} as const satisfies Partial<Record<ServiceKey, unknown>>;

type Api = keyof typeof apis;
const apiKeys = Object.keys(apis) as Api[];

const running: { service: Service; daprd: Daprd }[] = [];

async function start(api: Api): Promise<Service> {
  const { appId, name } = services[api];
  const port = await freePort();
  const [env, daprd] = await Promise.all([apis[api].env(), startDaprd({ appId, appPort: port, brokers, valkey })]);
  const service = await startService(
    name,
    port,
    {
      ...env,
      DAPR_HTTP_PORT: String(daprd.httpPort),
      RATE_LIMIT_PER_MINUTE: "999999999",
      LOG_LEVEL: "warn",
    },
    { listening: false },
  );
  running.push({ service, daprd });
  await expect
    .poll(async () => (await call("GET", `${service.url}/ready`).catch(() => undefined))?.status, {
      timeout: 60_000,
    })
    .toBe(200);
  return service;
}

beforeAll(async () => {
  await buildTools([schemathesis]);
  rmSync(logs, { recursive: true, force: true });
  mkdirSync(logs, { recursive: true });
});

afterAll(async () => {
  await Promise.all(
    running.map(async ({ service, daprd }) => {
      await service.stop();
      await daprd.stop();
    }),
  );
});

type Schema = Record<string, unknown> & { readonly properties?: Readonly<Record<string, Schema>> };

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

interface Operation {
  readonly parameters?: { readonly name: string; schema: Schema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}

/** What nobody comes across by chance, put into a service's document; the rest of it stays what it is. */
function withSecrets(document: Document, user: string): Document {
  const copy = structuredClone(document);
  const key = createECDH("prime256v1").generateKeys("base64url");
  for (const operation of Object.values(copy.paths).flatMap((operations) => Object.values(operations))) {
    for (const parameter of operation.parameters ?? []) {
      if (parameter.name === "user_id") parameter.schema = { type: "string", const: user };
    }
    const { endpoint, keys } = operation.requestBody?.content["application/json"]?.schema.properties ?? {};
    if (endpoint !== undefined)
      Object.assign(endpoint, { pattern: `^${pushService.replaceAll(".", "\\.")}/[a-z]{1,20}$`, maxLength: 100 });
    if (keys?.properties?.["p256dh"] !== undefined) {
      Object.assign(keys.properties["p256dh"], { enum: [key] });
    }
  }
  return copy;
}

/** Has all users told of some tasks, so that there is something to answer. */
async function fill(backend: Service | undefined, notifications: Service | undefined): Promise<void> {
  for (const user of Object.values(users)) {
    for (const title of ["Water the plants", "Feed the cat"]) {
      const { status } = await call("POST", `${backend?.url ?? ""}/api/${user}/tasks`, { user, body: { title } });
      expect(status).toBe(201);
    }
  }
  const user = users.notificationService;
  await waitFor("the user to be told of his tasks", 60, async () => {
    const told = await call<unknown[]>("GET", `${notifications?.url ?? ""}/api/${user}/notifications`, { user });
    return told.body.length === 2 ? true : undefined;
  });
}

const reportSchema = z.object({
  complete: z.boolean(),
  exit_code: z.int(),
  operations: z.object({ total: z.int(), tested: z.int(), errored: z.int() }),
  test_cases: z.object({ generated: z.int() }),
});

async function judge(api: Api, { url }: Service) {
  const { examples, beyondSchemas } = apis[api];
  const file = (ending: string) => join(logs, `${services[api].name}.${ending}`);
  const { body: document } = await call<Document>("GET", `${url}/docs/json`);
  writeFileSync(file("openapi.json"), JSON.stringify(withSecrets(document, users[api])));
  const settings = [
    "seed = 1",
    "workers = 1",
    "continue-on-failure = true",
    "request-timeout = 10",
    // Each run is the same as the one before.
    "[cache]",
    "enabled = false",
    "[auth.openapi.bearer]",
    `bearer = "${tokenOf(users[api])}"`,
    "[generation]",
    `max-examples = ${examples}`,
    'database = "none"',
    // It doesn't end by itself: each takes the whole of its time, so that there are few.
    ...(api === "notificationService"
      ? [
          "[[operations]]",
          'include-path-regex = "/stream$"',
          "max-stream-events = 1",
          "request-timeout = 1",
          "phases.fuzzing.enabled = false",
        ]
      : []),
    ...beyondSchemas.flatMap((name) => [
      "[[operations]]",
      `include-name = ${JSON.stringify(name)}`,
      "checks.positive_data_acceptance.enabled = false",
    ]),
  ];
  writeFileSync(file("toml"), settings.join("\n"));
  const [program = "", ...args] = schemathesisCommand();
  await execa(
    program,
    [
      ...args,
      ...["--config-file", file("toml"), "--no-color", "run", file("openapi.json"), "--url", url],
      ...["--report", "json", "--report-json-path", file("report.json")],
    ],
    {
      cwd: logs,
      reject: false,
      stdin: "ignore",
      stdout: { file: file("log") },
      stderr: { file: file("log"), append: true },
    },
  );
  return { report: reportSchema.parse(JSON.parse(readFileSync(file("report.json"), "utf8"))), log: file("log") };
}

test(
  "of at least 10,000 generated requests none has a 5xx or an answer that isn't documented",
  { timeout: 900_000 },
  async () => {
    const started = await Promise.all(apiKeys.map(start));
    await fill(started[apiKeys.indexOf("backend")], started[apiKeys.indexOf("notificationService")]);
    const judged = await Promise.all(started.map((service, nth) => judge(apiKeys[nth] as Api, service)));
    for (const { report, log } of judged) {
      expect(report.exit_code, `${tail(log, 150)}\nAll of it: ${log}`).toBe(0);
      expect(report).toMatchObject({ complete: true, operations: { errored: 0, tested: report.operations.total } });
    }
    const requests = judged.reduce((sum, { report }) => sum + report.test_cases.generated, 0);
    console.log(`${requests.toLocaleString("en")} requests, logs in ${logs}`);
    expect(requests).toBeGreaterThanOrEqual(atLeast);
  },
);
