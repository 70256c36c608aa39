import { AsyncLocalStorage } from "node:async_hooks";
import type { IncomingMessage } from "node:http";
import { metricsPath, probes } from "@event-flow/events";
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import { z } from "zod";
import { continueTrace } from "./trace.ts";

const samplers = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
export type Sampler = (typeof samplers)[number];

const endpoint = "must be a URL like http://collector:4318";
const ratio = "must be a number from 0 to 1";

/**
 * OpenTelemetry's own variables (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). The exporter
 * reads others of them by itself, such as OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_TIMEOUT.
 */
export function tracingEnvironment() {
  return {
    /** Where traces go, by OTLP over HTTP. Without it nothing is traced. */
    OTEL_EXPORTER_OTLP_ENDPOINT: z
      .url({ protocol: /^https?$/, error: endpoint })
      .refine((url) => URL.parse(url)?.search === "" && URL.parse(url)?.hash === "", endpoint)
      .optional(),
    OTEL_SERVICE_NAME: z.string().min(1, "must not be empty").max(255, "must not be longer than 255").optional(),
    /** @default what the caller decided, and else all */
    OTEL_TRACES_SAMPLER: z.enum(samplers, `must be one of ${samplers.join(", ")}`).optional(),
    OTEL_TRACES_SAMPLER_ARG: z
      .string()
      .regex(/^([01]|[01]?\.\d+)$/, ratio)
      .transform(Number)
      .refine((value) => value <= 1, ratio)
      .optional(),
  };
}

/** What `tracingEnvironment` reads. */
export interface TracingConfig {
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined;
  readonly OTEL_SERVICE_NAME?: string | undefined;
  readonly OTEL_TRACES_SAMPLER?: Sampler | undefined;
  readonly OTEL_TRACES_SAMPLER_ARG?: number | undefined;
}

/** What is told of a span (https://opentelemetry.io/docs/specs/semconv/). */
export type Attributes = Readonly<Record<string, string | number>>;

export interface SpanOptions {
  readonly kind: "server" | "client" | "producer" | "consumer";
  /** The `traceparent` of what it is a part of. @default it begins a trace */
  readonly parent?: string | undefined;
  /** The `traceparent`s of what else it has to do with. @default nothing */
  readonly links?: readonly string[];
  readonly attributes?: Attributes;
}

/** A piece of work with its beginning and its end, in a trace. */
export interface Span {
  /** By which others become a part of it, in this process or another. */
  readonly traceparent: string;
  end(result?: {
    /** Why it failed: an error, or words. @default it didn't */
    readonly failure?: unknown;
    /** Another name than it began with. */
    readonly name?: string;
    readonly attributes?: Attributes;
  }): void;
}

/** Tells a collector of the work that is done. A collector that fails, or isn't there, holds nothing up. */
export interface Tracing {
  begin(name: string, options: SpanOptions): Span;
  /** Where to say that the collector doesn't take spans, and how to keep secrets out of them. */
  attach(log: FastifyBaseLogger, redact: (text: string) => string): void;
  /** Sends what is left, as far as that goes quickly. */
  close(): Promise<void>;
}

/** Undefined where nothing is to be traced: then OpenTelemetry isn't even loaded. */
export async function openTracing(serviceName: string, config: TracingConfig): Promise<Tracing | undefined> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint } = config;
  if (endpoint === undefined) {
    return undefined;
  }
  const { createTracing } = await import("./opentelemetry.ts");
  return createTracing({
    endpoint,
    serviceName: config.OTEL_SERVICE_NAME ?? serviceName,
    sampler: config.OTEL_TRACES_SAMPLER ?? "parentbased_always_on",
    samplerRatio: config.OTEL_TRACES_SAMPLER_ARG ?? 1,
  });
}

const current = new AsyncLocalStorage<Span>();

/** The `traceparent` of the span that the running code is a part of. */
export function currentTraceparent(): string | undefined {
  return current.getStore()?.traceparent;
}

/**
 * Does work as a span, which others that it begins are parts of. It failed if the work rejects, or says so by `fail`.
 * Without tracing it's just the work.
 */
export async function inSpan<T>(
  tracing: Tracing | undefined,
  describe: () => SpanOptions & { readonly name: string },
  work: (fail: (reason: unknown) => void) => Promise<T>,
): Promise<T> {
  if (tracing === undefined) {
    return work(() => undefined);
  }
  const { name, ...options } = describe();
  const span = tracing.begin(name, options);
  let failure: unknown;
  try {
    return await current.run(span, () =>
      work((reason) => {
        failure = reason;
      }),
    );
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    span.end({ failure });
  }
}

/** What the kubelet, Prometheus and the sidecar ask for themselves is nobody's trace. */
const asked: readonly string[] = [...Object.values(probes), metricsPath];

function isTraced(url: string): boolean {
  const path = url.split("?", 1)[0] ?? "";
  return !asked.includes(path) && !path.startsWith("/dapr/");
}

/** Makes a span of each request. It begins with the request's id, which is its `traceparent`. */
export function requestTracing(tracing: Tracing) {
  const spans = new WeakMap<IncomingMessage, Span>();
  return {
    begin(request: IncomingMessage): string {
      const { headers, method = "", url = "" } = request;
      if (!isTraced(url)) {
        return continueTrace(headers.traceparent);
      }
      const { traceparent } = headers;
      const span = tracing.begin(method, {
        kind: "server",
        parent: typeof traceparent === "string" ? traceparent : undefined,
        attributes: { "http.request.method": method },
      });
      spans.set(request, span);
      return span.traceparent;
    },
    register(app: FastifyInstance): void {
      // The last hook before the handler: what reads the body leaves the context behind.
      app.addHook("preHandler", (request, _reply, done) => {
        const span = spans.get(request.raw);
        if (span === undefined) {
          done();
        } else {
          current.run(span, done);
        }
      });
      app.addHook("onResponse", (request, reply, done) => {
        // The route's template, not the path, which has a user's id in it.
        const route = request.routeOptions.url;
        const status = reply.statusCode;
        spans.get(request.raw)?.end({
          name: route === undefined ? request.method : `${request.method} ${route}`,
          attributes: { ...(route !== undefined && { "http.route": route }), "http.response.status_code": status },
          failure: status >= 500 ? `HTTP ${status}` : undefined,
        });
        done();
      });
    },
  };
}
