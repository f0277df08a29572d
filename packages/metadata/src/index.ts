export * from "./api.ts";
export * from "./embedded.ts";
export * from "./keys.ts";
export { operationsMax, requestBytesMax } from "./limits.ts";
export * from "./mirror.ts";
