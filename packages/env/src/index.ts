export * from "./brands.ts";
export * from "./env.ts";
export * from "./waiters.ts";
