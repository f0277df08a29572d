/** The operator's runtime, as its process and its tests use it. */
export * from "./api/index.ts";
export * from "./runtime/kubernetes.ts";
