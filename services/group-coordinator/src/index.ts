export * from "./assignors/index.ts";
