import { join } from "node:path";
import { daprd } from "../tools/go-tools.ts";
import { toolDir } from "../tools/index.ts";
import { servers } from "../tools/root-filesystems.ts";

/** Where the programs are that tests run: a root filesystem with PostgreSQL, Valkey, Java and Kafka, and Dapr's sidecar. */
export function locate(): { readonly root: string; readonly daprd: string } {
  return { root: join(toolDir(servers), "root"), daprd: join(toolDir(daprd), "daprd") };
}
