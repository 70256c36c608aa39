export * from "./access.ts";
export * from "./dead-letters.ts";
export * from "./events.ts";
export * from "./metrics.ts";
export * from "./names.ts";
export * from "./next-task.ts";
