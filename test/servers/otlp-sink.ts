import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

/** A span as it's sent (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). */
export interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly status: { readonly code: number; readonly message?: string };
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
}

/** Takes what one service in the test's own process sends, for tests that need no real collector. */
export interface OtlpSink {
  readonly url: string;
  readonly spans: readonly SentSpan[];
  /** From now on it answers no more. */
  freeze(): void;
  stop(): void;
}

interface Batch {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[] }[];
}

export async function startOtlpSink(): Promise<OtlpSink> {
  const spans: SentSpan[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { resourceSpans } = JSON.parse(body) as Batch;
      spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)));
      response.setHeader("content-type", "application/json").end("{}");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    freeze: () => {
      server.removeAllListeners("request");
    },
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
