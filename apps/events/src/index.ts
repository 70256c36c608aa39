export * from "./dead-letters.ts";
export * from "./events.ts";
export * from "./names.ts";
