export { createApp, type App, type AppOptions } from "./app.ts";
export { bearerSecurity, requireOwner, userIdSchema } from "./auth.ts";
export { DaprClient, DaprError, type Refusal, type Versioned } from "./dapr.ts";
export { ConfigError, readEnvironment, secret, serviceEnvironment, token } from "./environment.ts";
export { errorResponses, HttpError } from "./errors.ts";
export { serve, startOrExit } from "./server.ts";
export { continueTrace, isSampled, traceId } from "./trace.ts";
export { inSpan, openTracing, type Span, type Tracing, type TracingConfig } from "./tracing.ts";
