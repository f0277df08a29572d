export * from "./schema.ts";
export * from "./topic.ts";
export * from "./units.ts";
