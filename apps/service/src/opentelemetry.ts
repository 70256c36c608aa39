import { setTimeout as sleep } from "node:timers/promises";
import { traceparentPattern } from "@event-flow/events";
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Context,
  type Link,
  type SpanContext,
} from "@opentelemetry/api";
import { setGlobalErrorHandler } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type Sampler,
} from "@opentelemetry/sdk-trace";
import type { FastifyBaseLogger } from "fastify";
import type { Sampler as SamplerName, Span, SpanOptions, Tracing } from "./tracing.ts";

/** How long a service that stops waits for its last spans to be taken. */
const closeMs = 3_000;
/** How often at most the log says that spans aren't taken. */
const complaintMs = 60_000;

const kinds = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

interface Options {
  readonly endpoint: string;
  readonly serviceName: string;
  readonly sampler: SamplerName;
  readonly samplerRatio: number;
}

/** Tells an OpenTelemetry collector. Only what needs it imports this file: it takes memory. */
export function createTracing({ endpoint, serviceName, sampler, samplerRatio }: Options): Tracing {
  let log: FastifyBaseLogger | undefined;
  let redact = (text: string) => text;
  let complained = -Infinity;
  setGlobalErrorHandler((error) => {
    if (performance.now() - complained < complaintMs) {
      return;
    }
    complained = performance.now();
    log?.warn(
      { cause: redact(typeof error === "string" ? error : (error as Error).message) },
      "Traces could not be sent to the collector",
    );
  });
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(detectResources({ detectors: [resourceAttributesEnvDetector] }))
      .merge(resourceFromAttributes({ "service.name": serviceName })),
    sampler: samplerOf(sampler, samplerRatio),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, "")}/v1/traces` }),
        // What an operator looks for is there when he looks.
        scheduledDelayMillis: 1_000,
      }),
    ],
  });
  const tracer = provider.getTracer("event-flow");

  return {
    begin(name: string, { kind, parent, links = [], attributes = {} }: SpanOptions): Span {
      const span = tracer.startSpan(
        name,
        { kind: kinds[kind], attributes, links: links.flatMap(linkTo) },
        contextOf(parent),
      );
      return {
        traceparent: traceparentOf(span.spanContext()),
        end({ failure, name: lastName, attributes: lastAttributes } = {}) {
          if (span.isRecording()) {
            if (lastName !== undefined) span.updateName(lastName);
            if (lastAttributes !== undefined) span.setAttributes(lastAttributes);
            if (failure !== undefined) {
              span.setStatus({ code: SpanStatusCode.ERROR, message: redact(messageOf(failure)) });
              if (failure instanceof Error) span.setAttribute("error.type", failure.name);
            }
          }
          span.end();
        },
      };
    },
    attach(appLog, appRedact) {
      log = appLog;
      redact = appRedact;
    },
    async close() {
      const late = new AbortController();
      await Promise.race([
        provider.shutdown().catch(() => undefined),
        sleep(closeMs, undefined, { ref: false, signal: late.signal }).catch(() => undefined),
      ]);
      late.abort();
    },
  };
}

function samplerOf(name: SamplerName, samplerRatio: number): Sampler {
  const basedOnParent = (root: Sampler) => new ParentBasedSampler({ root });
  switch (name) {
    case "always_on":
      return new AlwaysOnSampler();
    case "always_off":
      return new AlwaysOffSampler();
    case "traceidratio":
      return new TraceIdRatioBasedSampler(samplerRatio);
    case "parentbased_always_on":
      return basedOnParent(new AlwaysOnSampler());
    case "parentbased_always_off":
      return basedOnParent(new AlwaysOffSampler());
    case "parentbased_traceidratio":
      return basedOnParent(new TraceIdRatioBasedSampler(samplerRatio));
  }
}

function spanContextOf(traceparent: string | undefined): SpanContext | undefined {
  return traceparent !== undefined && traceparentPattern.test(traceparent)
    ? {
        traceId: traceparent.slice(3, 35),
        spanId: traceparent.slice(36, 52),
        traceFlags: Number.parseInt(traceparent.slice(53), 16),
        isRemote: true,
      }
    : undefined;
}

function contextOf(parent: string | undefined): Context {
  const spanContext = spanContextOf(parent);
  return spanContext === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, spanContext);
}

function linkTo(traceparent: string): Link[] {
  const context = spanContextOf(traceparent);
  return context === undefined ? [] : [{ context }];
}

function traceparentOf({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${(traceFlags & TraceFlags.SAMPLED).toString(16).padStart(2, "0")}`;
}

function messageOf(failure: unknown): string {
  return failure instanceof Error ? failure.message : typeof failure === "string" ? failure : "failed";
}
