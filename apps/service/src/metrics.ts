import { metrics, metricsPath } from "@event-flow/events";
import type { FastifyInstance } from "fastify";
import { collectDefaultMetrics, Histogram, Registry } from "prom-client";

declare module "fastify" {
  interface FastifyInstance {
    /** What the service measures, shown to Prometheus. No label may have a value for each user, task or event. */
    readonly metrics: Registry;
  }
}

/** From a request that touches nothing to one that waits for a backing service until that is given up. */
const requestSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Measures the process and every request of an app, and shows that together with what the app itself adds to `app.metrics`. */
export function showMetrics(app: FastifyInstance): void {
  // Not prom-client's own: there may be several apps in a process.
  const register = new Registry();
  app.decorate("metrics", register);
  collectDefaultMetrics({ register });

  const durations = new Histogram({
    name: metrics.requestDuration,
    help: "How long requests took, from the arrival of their headers to the end of their answer",
    labelNames: ["method", "route", "status_code"],
    buckets: requestSeconds,
    registers: [register],
  });
  app.addHook("onResponse", (request, reply, done) => {
    if (request.routeOptions.config.isStream === true) {
      done();
      return;
    }
    // The route's template, not the path: a path has a user's id in it.
    const route = request.routeOptions.url ?? "none";
    durations.observe({ method: request.method, route, status_code: reply.statusCode }, reply.elapsedTime / 1_000);
    done();
  });

  app.get(metricsPath, { logLevel: "warn", schema: { hide: true } }, async (request, reply) => {
    // Prometheus comes straight to the pod. What comes by a load balancer is from the world, whose business this isn't.
    if (request.headers["x-forwarded-for"] !== undefined) {
      reply.callNotFound();
      return reply;
    }
    return reply.type(register.contentType).send(await register.metrics());
  });
}
