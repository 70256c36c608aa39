import { buildTools } from "./index.ts";

await buildTools();
