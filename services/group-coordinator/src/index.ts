export * from "./assignors/index.ts";

export { LeaderCalls } from "./cluster/leader-calls.ts";
export { LocalCalls } from "./cluster/local-calls.ts";
export type { PartitionCalls } from "./cluster/partition-calls.ts";
export type { StateRecord as GroupStateRecord } from "./group/types.ts";
export {
  GroupCoordinator,
  type GroupCoordinatorOptions,
} from "./group-coordinator.ts";
export { limits as groupLimits } from "./limits.ts";
export type { GroupMetrics } from "./metrics.ts";
export type { CoordinatorState } from "./runtime/coordinator.ts";

export { decodeRecord as decodeGroupRecord } from "./shard/records.ts";
export * from "./subscription/pattern.ts";
