import { services } from "@event-flow/events";
import { ConfigError } from "@event-flow/service";
import { expect, test } from "vitest";
import { runService } from "../../../test/servers/service.ts";
import { readConfig } from "../src/config.ts";

const valid = {
  DATABASE_URL: "postgres://tasks:secret@db:5432/tasks",
  JWT_SECRET: "0123456789abcdef0123456789abcdef",
  APP_API_TOKEN: "abcdef0123456789abcdef0123456789",
  NEXT_TASK_TOKEN: "fedcba9876543210fedcba9876543210",
};

test("only the secrets have to be set", () => {
  expect(readConfig({ ...valid, HOME: "/" })).toEqual({
    ...valid,
    PORT: services.backend.port,
    LOG_LEVEL: "info",
    DAPR_HTTP_PORT: 3500,
    DATABASE_START_TIMEOUT_SECONDS: 60,
    JWT_AUDIENCE: "event-flow",
    JWT_ISSUER: "event-flow",
    RATE_LIMIT_PER_MINUTE: 600,
  });
});

test("what is missing is listed at once, and ends the process", async () => {
  expect(await runService("backend", {})).toEqual({
    exitCode: 1,
    output: "",
    errors: `The environment is not valid:
  JWT_SECRET is not set; it must be the key, of at least 32 bytes, that signs users' bearer tokens (HS256)
  APP_API_TOKEN is not set; it must be a token of at least 32 bytes
  DATABASE_URL is not set; it must be a URL like postgres://user:password@host:5432/database
  NEXT_TASK_TOKEN is not set; it must be a token of at least 32 bytes
`,
  });
});

test("a wrong value is shown, but never a secret one", () => {
  const wrong = {
    PORT: "65536",
    LOG_LEVEL: "loud",
    JWT_SECRET: "31 bytes are one too few, so no",
    DAPR_HTTP_PORT: "dapr",
    DAPR_API_TOKEN: "",
    APP_API_TOKEN: "",
    DATABASE_URL: "mysql://root:hunter2@db/tasks",
    DATABASE_START_TIMEOUT_SECONDS: "-1",
    NEXT_TASK_TOKEN: "short",
  };
  expect(() => readConfig(wrong)).toThrow(
    new ConfigError(`The environment is not valid:
  PORT is "65536"; it must be an integer from 1 to 65535
  LOG_LEVEL is "loud"; it must be trace, debug, info, warn, error or fatal
  JWT_SECRET is not valid; it must be at least 32 bytes long
  DAPR_HTTP_PORT is "dapr"; it must be an integer from 1 to 65535
  DAPR_API_TOKEN is not valid; it must not be empty
  APP_API_TOKEN is not valid; it must be at least 32 bytes long
  DATABASE_URL is not valid; it must be a URL like postgres://user:password@host:5432/database
  DATABASE_START_TIMEOUT_SECONDS is "-1"; it must be a whole number of seconds, at most 9999
  NEXT_TASK_TOKEN is not valid; it must be at least 32 bytes long`),
  );
});

test.each(["", "db:5432/tasks", "postgres://db:5432", "postgres:///tasks", "postgres://u:100%@db/tasks"])(
  "%j is no DATABASE_URL",
  (url) => {
    expect(() => readConfig({ ...valid, DATABASE_URL: url })).toThrow(/DATABASE_URL is not valid/);
  },
);
