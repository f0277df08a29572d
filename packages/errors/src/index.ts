export * from "./assert.ts";
export * from "./error.ts";
export * from "./table.ts";
