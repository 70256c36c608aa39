export * from "./events.ts";
export * from "./names.ts";
