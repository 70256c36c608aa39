/** A service whose routes fail in every way, for the tests of what all services share. */
import { Readable } from "node:stream";
import { z } from "zod";
import {
  createApp,
  DaprError,
  HttpError,
  readEnvironment,
  requireOwner,
  secret,
  serve,
  serviceEnvironment,
  startOrExit,
  userIdSchema,
} from "../src/index.ts";

await startOrExit(async () => {
  const config = readEnvironment(
    { ...serviceEnvironment(8000), SECRET: z.string().meta(secret), LIMITS: z.string().default("{}") },
    process.env,
  );
  const { SECRET } = config;
  let broken = false;
  const app = await createApp({
    title: "Failing",
    description: "Fails",
    logLevel: config.LOG_LEVEL,
    users: config,
    appApiToken: config.APP_API_TOKEN,
    limits: z.record(z.string(), z.number()).parse(JSON.parse(config.LIMITS)),
    secrets: [SECRET, "short"],
    readiness: {
      first: () => (broken ? Promise.reject(new Error("the first is broken")) : Promise.resolve()),
      second: () => Promise.resolve({ seconds: 2 }),
    },
  });

  app.get("/break", () => {
    broken = true;
    return {};
  });
  app.post("/optional", { schema: { body: z.object({ a: z.string() }).nullish() } }, ({ body }) => body ?? {});
  app.post("/echo", { schema: { body: z.strictObject({ name: z.string().min(1) }) } }, ({ body }) => body);
  app.get("/endless", (_request, reply) => {
    const chunk = Buffer.alloc(64 * 1024, "a");
    const stream = new Readable({
      read() {
        this.push(chunk);
      },
    });
    stream.once("close", () => {
      app.log.info("The stream is closed");
    });
    return reply.type("text/plain").send(stream);
  });
  app.get("/trace", ({ id, log }) => {
    log.info("traced");
    return { traceparent: id };
  });
  app.get("/known", () => {
    throw new HttpError(503, "Come back later", { cause: new Error(SECRET) });
  });
  app.get("/dapr", () => {
    throw new DaprError("publish to a", "ERR: it is down", { status: 500, errorCode: "ERR" });
  });
  app.get("/unknown", () => {
    throw Object.assign(new Error(`connecting to ${SECRET} was not possible`), { url: SECRET });
  });
  app.get("/killed", ({ log }) => {
    for (let line = 1; line <= 10; line += 1) log.info({ line }, "Done before the end");
    process.kill(process.pid, "SIGKILL");
  });
  app.get("/crash", () => {
    setImmediate(() => {
      throw new Error(`${SECRET} is not what was expected`);
    });
    return {};
  });
  await app.register((scope, _options, done) => {
    scope.addHook("onRequest", requireOwner);
    scope.get("/of/:user_id", { schema: { params: z.object({ user_id: userIdSchema }) } }, ({ params }) => params);
    done();
  });
  await serve(app, config.PORT);
});
