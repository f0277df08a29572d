export * from "./batch.ts";
export * from "./body.ts";
export * from "./topic-id.ts";
export * from "./varint.ts";
