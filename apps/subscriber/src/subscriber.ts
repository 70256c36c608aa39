import type { ServiceIdentity } from "@event-flow/events";
import {
  createApp,
  DaprClient,
  DaprError,
  openTracing,
  serviceEnvironment,
  type App,
  type AppOptions,
  type TracingConfig,
  type UsersConfig,
} from "@event-flow/service";
import { ConflictError } from "./dead-letters.ts";
import { dropLongHeaders } from "./long-headers.ts";
import { eventSubscriptions, subscriptionRoutes, type Handlers, type Subscription } from "./subscriptions.ts";

/** The environment variables that every subscriber has. */
export function subscriberEnvironment({ port }: ServiceIdentity) {
  return serviceEnvironment(port);
}

/** What is used of the environment. */
interface Config extends TracingConfig, UsersConfig {
  readonly LOG_LEVEL: string;
  readonly DAPR_HTTP_PORT: number;
  readonly DAPR_API_TOKEN?: string | undefined;
  readonly APP_API_TOKEN: string;
}

export interface SubscriberOptions extends Pick<AppOptions, "title" | "description"> {
  readonly identity: ServiceIdentity;
  /** What `subscriberEnvironment` reads. */
  readonly config: Config;
  /** What is done with the events of each type; the subscriber gets those that there is a handler for. */
  readonly handlers: Handlers;
  /** Other topics than those of events. @default none */
  readonly subscriptions?: readonly Subscription[];
  /**
   * Whether what a handler threw is no fault of its event, which is then tried again for as long as it takes.
   * @default only when the sidecar failed, or a value in the state store was always written by others
   */
  readonly isTransient?: (error: unknown) => boolean;
  /** Registers what users may call. @default nothing */
  readonly routes?: (scope: App, dapr: DaprClient) => void;
  /** What must work besides the sidecar. @default nothing */
  readonly readiness?: (dapr: DaprClient) => AppOptions["readiness"];
  /** Values that must appear in no log line, besides the tokens. @default none */
  readonly secrets?: readonly string[];
}

/** Builds a service that does something with events. Opens no connection. */
export async function createSubscriber(options: SubscriberOptions): Promise<App> {
  const { identity, title, description, config, handlers, routes, isTransient = () => false } = options;
  const tracing = await openTracing(identity.name, config);
  const dapr = new DaprClient({ port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN, tracing });
  const app = await createApp({
    title,
    description,
    logLevel: config.LOG_LEVEL,
    users: config,
    appApiToken: config.APP_API_TOKEN,
    secrets: [config.DAPR_API_TOKEN ?? "", ...(options.secrets ?? [])],
    readiness: { sidecar: () => dapr.checkOutbound(), ...options.readiness?.(dapr) },
    tracing,
  });

  dropLongHeaders(app);

  // Before those of the routes, as the last of these hooks is the first to run: they may still need it.
  app.addHook("onClose", () => dapr.close());
  await app.register((scope, _options, done) => {
    routes?.(scope, dapr);
    done();
  });
  await app.register((scope, _options, done) => {
    subscriptionRoutes(scope, {
      identity,
      dapr,
      tracing,
      appApiToken: config.APP_API_TOKEN,
      subscriptions: [...eventSubscriptions(handlers), ...(options.subscriptions ?? [])],
      isTransient: (error) => error instanceof DaprError || error instanceof ConflictError || isTransient(error),
    });
    done();
  });
  return app;
}
