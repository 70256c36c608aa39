import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { probes } from "@event-flow/events";
import fastifySwagger from "@fastify/swagger";
import fastifySwaggerUi from "@fastify/swagger-ui";
import Fastify, { LogController, type FastifyInstance } from "fastify";
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import { pino } from "pino";
import { z } from "zod";
import { knowUsers, requireSidecar, type UsersConfig } from "./auth.ts";
import { documentErrors, errorResponses, handleError, HttpError, type OpenApi } from "./errors.ts";
import { takeJson } from "./json.ts";
import { defaultLimits, hasTooManyHeaders, mostHeaders, serverOptions, type Limits } from "./limits.ts";
import { showMetrics } from "./metrics.ts";
import { redactor } from "./redact.ts";
import { continueTrace } from "./trace.ts";
import { requestTracing, type Tracing } from "./tracing.ts";

export interface AppOptions {
  /** The title and the description of the API's documentation, served at /docs. */
  readonly title: string;
  readonly description: string;
  readonly logLevel: string;
  /** How users are known, and what they may do. */
  readonly users: UsersConfig;
  /** What the sidecar shows when it calls. */
  readonly appApiToken: string;
  /** What clients may take of the service. @default `defaultLimits` */
  readonly limits?: Partial<Limits>;
  /** Values that must appear in no log line, besides that and the keys of `users`. */
  readonly secrets: readonly string[];
  /**
   * What must work for the service to take requests. Each check rejects if its part does not. An object that it resolves
   * to becomes part of the answer.
   */
  readonly readiness: Readonly<Record<string, () => Promise<unknown>>>;
  /** What is told of requests; closed with the app. @default nothing is */
  readonly tracing?: Tracing | undefined;
}

/**
 * How long a service that stops takes requests on connections that it has, each of which it closes with the answer: who sends one on
 * a connection that is being closed under it can't know whether it was done.
 */
const lastRequestsMs = 500;

export type App = Awaited<ReturnType<typeof createApp>>;

declare module "fastify" {
  interface FastifyContextConfig {
    /** Whether the handler itself logs what became of each request. */
    logsOutcome?: boolean;
    /** Whether an answer goes on for as long as its client stays: how long that is says nothing of the service. */
    isStream?: boolean;
  }
}

/** One line for each request, when it's answered: writing lines is a good part of what a small request costs. */
class RequestLog extends LogController {
  override incomingRequest(): void {
    // Its line comes with the answer.
  }

  override requestCompleted(...[err, request, reply]: Parameters<LogController["requestCompleted"]>): void {
    const facts = { req: request, res: reply, responseTime: reply.elapsedTime };
    if (err) {
      reply.log.error({ ...facts, err }, "request errored");
    } else if (request.routeOptions.config.logsOutcome !== true) {
      reply.log.info(facts, "request completed");
    }
  }
}

/** A Fastify app with what every service here has: schemas in zod, OpenAPI, probes, metrics, one error shape, bearer tokens. */
export async function createApp(options: AppOptions) {
  const { title, description, logLevel, users, appApiToken, secrets, readiness, tracing } = options;
  const redact = redactor([users.JWT_SECRET, users.JWT_SECRET_PREVIOUS ?? "", appApiToken, ...secrets]);
  const requests = tracing && requestTracing(tracing);
  const app = Fastify({
    ...serverOptions({ ...defaultLimits, ...options.limits }),
    return503OnClosing: false,
    // What isn't even a path.
    frameworkErrors: (error, request, reply) => {
      void handleError(error, request, reply);
    },
    logger: {
      level: logLevel,
      hooks: { streamWrite: redact },
      // Written before anything else happens: a service that is killed takes no line about what it did with it, as it would
      // take those that pino, left to itself, has yet to write.
      stream: pino.destination({ dest: 1, sync: true }),
    },
    // A request is known by its step in the caller's trace: `request.id`, and in every line that it logs.
    genReqId: (request) => requests?.begin(request) ?? continueTrace(request.headers.traceparent),
    logController: new RequestLog({ requestIdLogLabel: "traceparent" }),
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(handleError);
  // Of a route that chooses not to be there: `guard` answers for the others.
  app.setNotFoundHandler(({ method, url }) => {
    throw noRoute(method, pathOf(url));
  });
  takeJson(app);
  guard(app);
  await knowUsers(app, users);

  await app.register(fastifySwagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title, description: `${description}\n\n${ofConnections}`, version: "1.0.0" },
      components: { securitySchemes: { bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" } } },
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => {
      const { openapiObject } = document as { openapiObject: OpenApi };
      makeNullableBodiesOptional(openapiObject);
      documentErrors(openapiObject);
      return openapiObject;
    },
  });
  await app.register(fastifySwaggerUi, { routePrefix: "/docs", staticCSP: docsPolicy });

  showMetrics(app);
  if (tracing !== undefined) {
    tracing.attach(app.log, redact);
    requests?.register(app);
    // Closed as the last: in the reverse order of their registration.
    app.addHook("onClose", () => tracing.close());
  }

  // The kubelet asks every few seconds: only what goes wrong is worth a line.
  const probe = { logLevel: "warn" } as const;
  app.get(
    probes.liveness,
    { ...probe, schema: { summary: "Whether the process runs", response: { 200: z.object({ status: z.string() }) } } },
    () => ({ status: "healthy" }),
  );
  app.get(
    probes.readiness,
    {
      ...probe,
      schema: {
        summary: "Whether the service can take requests",
        response: { 200: z.looseObject({ status: z.string() }), ...errorResponses(503) },
      },
    },
    async () => ({ status: "ready", ...(await checkAll(readiness)) }),
  );

  // What Dapr asks of each app; who has something to say has a route of its own. To others there's nothing to find here.
  app.all(
    "/dapr/*",
    { onRequest: requireSidecar(appApiToken), schema: { hide: true }, logLevel: "warn" },
    ({ method, url }) => {
      throw noRoute(method, pathOf(url));
    },
  );

  // A connection that was opened for later, as browsers and load balancers do, is none that Node closes when it stops: it takes it
  // for one whose request is on its way.
  const unused = new Set<Socket>();
  app.server.on("connection", (socket) => {
    unused.add(socket);
    socket.once("close", () => unused.delete(socket));
  });
  app.server.on("request", ({ socket }) => unused.delete(socket));

  // A kept-alive connection whose request is answered after the stop began would hold the stop up until its client goes.
  let stopping = false;
  app.addHook("preClose", async () => {
    stopping = true;
    if (app.server.listening) await sleep(lastRequestsMs);
    for (const socket of unused) socket.destroy();
  });
  app.addHook("onSend", (_request, reply, payload, done) => {
    if (stopping) {
      reply.header("connection", "close");
    }
    done(null, payload);
  });

  return app;
}

/** What the page of the documentation may load: what comes with it. */
const docsPolicy =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/** What of the documentation is no operation's. */
const ofConnections =
  "Every error is answered in one shape, also where a request reaches no operation: 400 for what is no HTTP or no path, 404 and " +
  "405 (with `Allow`) for what is no route, 408 if it doesn't come in time, 431 for too many or too long headers.";

function pathOf(url: string): string {
  return url.split("?", 1)[0] ?? "";
}

function noRoute(method: string, path: string): HttpError {
  return new HttpError(404, `There is no route ${method} ${path}`);
}

/** Says of each answer what clients may do with it, and ends requests that are for no route before their body is read. */
function guard(app: FastifyInstance): void {
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook("onRoute", ({ url, method }) => {
    const parts = url.split("/").map((part) => {
      if (part.startsWith(":")) return "[^/]+";
      return part === "*" ? ".*" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    });
    const pattern = new RegExp(`^${parts.join("/")}$`);
    const { methods } = routes.get(url) ?? { methods: new Set() };
    for (const each of [method].flat()) methods.add(each);
    routes.set(url, { pattern, methods });
  });
  app.addHook("onRequest", (request, reply, done) => {
    // Whatever a browser makes of an answer, it's no page; and nothing between here and a user is to keep what is his.
    reply.header("x-content-type-options", "nosniff").header("cache-control", "no-store");
    if (hasTooManyHeaders(request.raw)) {
      done(new HttpError(431, `A request may have ${mostHeaders} headers`));
    } else if (request.is404) {
      const path = pathOf(request.url);
      const methods = [...routes.values()].find(({ pattern }) => pattern.test(path))?.methods;
      done(
        methods === undefined || methods.has(request.method)
          ? noRoute(request.method, path)
          : new HttpError(405, `${path} knows no ${request.method}`, { headers: { allow: [...methods].join(", ") } }),
      );
    } else {
      done();
    }
  });
}

async function checkAll(readiness: AppOptions["readiness"]): Promise<object> {
  const checks = Object.entries(readiness);
  const results = await Promise.allSettled(checks.map(([, check]) => check()));
  const failures = results.flatMap((result, index) =>
    result.status === "rejected"
      ? [{ name: checks[index]?.[0] ?? "", reason: result.reason instanceof Error ? result.reason.message : "failed" }]
      : [],
  );
  if (failures.length > 0) {
    throw new HttpError(503, `Not ready: ${failures.map(({ name }) => name).join(", ")}`, {
      cause: new Error(failures.map(({ name, reason }) => `${name}: ${reason}`).join("; ")),
    });
  }
  const details = results.map((result) => (result.status === "fulfilled" ? result.value : undefined));
  return Object.assign({}, ...details.filter((detail) => typeof detail === "object")) as object;
}

/** A route that takes null takes no body at all. @fastify/swagger calls every body required. */
function makeNullableBodiesOptional({ paths = {} }: OpenApi): void {
  for (const { requestBody } of Object.values(paths).flatMap((operations) => Object.values(operations))) {
    const media = Object.values(requestBody?.content ?? {});
    if (requestBody !== undefined && media.some(({ schema }) => schema.anyOf?.some(({ type }) => type === "null"))) {
      requestBody.required = false;
    }
  }
}
