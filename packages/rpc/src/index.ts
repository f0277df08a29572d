export * from "./api.ts";
export * from "./method.ts";
export * from "./status.ts";
