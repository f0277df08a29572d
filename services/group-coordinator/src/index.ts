export * from "./assignors/index.ts";
export * from "./subscription/pattern.ts";
