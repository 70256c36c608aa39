export { createApp, type App, type AppOptions } from "./app.ts";
export {
  bearerSecurity,
  integerText,
  requireOwner,
  requireScope,
  requireSidecar,
  tokenCheck,
  userIdSchema,
  type UsersConfig,
} from "./auth.ts";
export { DaprClient, DaprError, type BindingCall, type Invocation, type Refusal, type Versioned } from "./dapr.ts";
export { ConfigError, readEnvironment, secret, serviceEnvironment, sharedToken } from "./environment.ts";
export { errorResponses, HttpError, userErrors } from "./errors.ts";
export { loadOnly, serve, startOrExit } from "./server.ts";
export { continueTrace, isSampled, traceId } from "./trace.ts";
export { inSpan, openTracing, type Span, type Tracing, type TracingConfig } from "./tracing.ts";
