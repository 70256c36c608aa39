import type { TestProject } from "vitest/node";
import { startKafka } from "./kafka.ts";
import { startPostgres } from "./postgres.ts";
import { startValkey } from "./valkey.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The servers that all test files share: each takes a database, an app id and users of its own. */
    readonly servers: {
      readonly postgresPort: number;
      readonly brokers: string;
      readonly valkey: { readonly address: string; readonly password: string };
    };
  }
}

export default async function setUp({ provide }: TestProject): Promise<() => Promise<void>> {
  const [postgres, kafka, valkey] = await Promise.all([startPostgres(), startKafka(), startValkey()]);
  provide("servers", {
    postgresPort: postgres.port,
    brokers: kafka.brokers,
    valkey: { address: valkey.address, password: valkey.password },
  });
  return async () => {
    await Promise.all([postgres.stop(), kafka.stop(), valkey.stop()]);
  };
}
