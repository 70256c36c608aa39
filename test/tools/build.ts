import { main } from "../../commands/process.ts";
import { buildTools } from "./index.ts";

await main(() => buildTools());
