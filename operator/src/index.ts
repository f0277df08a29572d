/** The kinds and the runtime of the operator, as its process and its tests use them. */
export * from "./api/index.ts";
export { Applier, type ApplierOptions, appliedAnnotation } from "./runtime/apply.ts";
export { type Change, keyFrom, keyOf, keyText } from "./runtime/cache.ts";
export { type Condition, mergeConditions, type WantedCondition } from "./runtime/conditions.ts";
export * from "./runtime/controller.ts";
export * from "./runtime/errors.ts";
export { EventRecorder, type Occurrence } from "./runtime/events.ts";
export * from "./runtime/fenced.ts";
export * from "./runtime/finalizers.ts";
export { Informer, type InformerOptions, informerDefaults } from "./runtime/informer.ts";
export * from "./runtime/kubernetes.ts";
export { LeaderElection, type LeaderOptions, leaderDefaults } from "./runtime/leader.ts";
export { Manager } from "./runtime/manager.ts";
export { measured } from "./runtime/measured.ts";
export * from "./runtime/metrics.ts";
export * from "./runtime/owners.ts";
export { queueDefaults, WorkQueue } from "./runtime/queue.ts";
export { microTimestamp, timestamp } from "./runtime/timestamps.ts";
