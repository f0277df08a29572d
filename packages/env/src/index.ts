export * from "./brands.ts";
export * from "./env.ts";
