export { createApp, type App, type AppOptions } from "./app.ts";
export { bearerSecurity, requireOwner, userIdSchema } from "./auth.ts";
export { DaprClient, DaprError, type BindingCall, type Refusal, type Versioned } from "./dapr.ts";
export { ConfigError, readEnvironment, secret, serviceEnvironment, token } from "./environment.ts";
export { errorResponses, HttpError } from "./errors.ts";
export { serve, startOrExit } from "./server.ts";
export { continueTrace, traceId } from "./trace.ts";
