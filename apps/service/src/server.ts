import closeWithGrace from "close-with-grace";
import type { App } from "./app.ts";
import { ConfigError } from "./environment.ts";

/** How long requests in flight may take to finish after SIGTERM; below Kubernetes' 30 s before it kills the pod. */
const stopTimeout = 20_000;

/** Tells a program only to load what it's made of, and to end: so its image gets what Node compiles of it. */
export const loadOnly = "--load-only";

/**
 * Runs `start`, which ends in `serve`. What it throws before there is a logger is a wrong environment, whose message
 * is written for the operator and holds no secret; anything else shows only its kind.
 */
export async function startOrExit(start: () => Promise<void>): Promise<void> {
  if (process.argv.includes(loadOnly)) return;
  try {
    await start();
  } catch (error) {
    console.error(error instanceof ConfigError ? error.message : `Cannot start: ${(error as Error).name}`);
    process.exit(1);
  }
}

/**
 * Prepares, then listens, until SIGTERM or an unexpected error. Then each connection is closed after its next
 * answer; half a second later Fastify stops listening, closes those that lie still, finishes the requests in flight, and runs the
 * `onClose` hooks, where an app gives back what it holds.
 */
export async function serve(app: App, port: number, prepare?: () => Promise<void>): Promise<void> {
  const logger = {
    error(message: unknown) {
      app.log.error(message);
    },
  };
  const { uninstall } = closeWithGrace({ delay: stopTimeout, logger }, async ({ signal, err }) => {
    if (err) {
      app.log.fatal({ err }, "Stopping after an unexpected error");
    } else {
      app.log.info({ signal }, "Stopping");
    }
    await app.close();
  });
  try {
    await prepare?.();
    await app.listen({ host: "0.0.0.0", port });
  } catch (err) {
    uninstall();
    app.log.fatal({ err }, "Cannot start");
    process.exit(1);
  }
}
