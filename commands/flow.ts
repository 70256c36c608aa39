import { deployed, followOneEvent } from "../test/flow/flow.ts";
import { main } from "./process.ts";
import { openWorkspace } from "./workspace.ts";

/** Follows one event through the stack that is up. */
await main(async () => {
  await followOneEvent(deployed(await openWorkspace()));
});
