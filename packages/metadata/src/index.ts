export * from "./api.ts";
export * from "./embedded.ts";
export * from "./generation.ts";
export * from "./guarded-writer.ts";
export * from "./keys.ts";
export { callTimeoutMs, operationsMax, requestBytesMax } from "./limits.ts";
export * from "./mirror.ts";
export { isOutcomeUnknown } from "./outcome.ts";
