export * from "./assert.ts";
export * from "./endpoint.ts";
export * from "./error.ts";
export * from "./size.ts";
export * from "./table.ts";
