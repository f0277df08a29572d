export * from "./api.ts";
export * from "./cluster-id.ts";
export * from "./connection-error.ts";
export * from "./health.ts";
export * from "./method.ts";
export * from "./reflection.ts";
export * from "./status.ts";
export * from "./stream-methods.ts";
