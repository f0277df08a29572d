/** The operator's runtime, as its process and its tests use it. */
export * from "./runtime/kubernetes.ts";
