export {
  BrokerIntent,
  MaintenanceKind,
  RebalanceGoal,
  RebalanceState,
} from "@millrace/proto/common";
export { murmur2, partitionOfKey } from "@millrace/record";
export * from "./admin.ts";
export { groupStateName } from "./admin-groups.ts";
export { RebalanceAdmin } from "./admin-rebalances.ts";
export type * from "./admin-types.ts";
export { isEndpoint } from "./checks.ts";
export * from "./client.ts";
export { Consumer, type IterationOptions } from "./consumer/consumer.ts";
export { EndOffsetMismatchError, LastOffsetMismatchError } from "./failures.ts";
export { GroupConsumer } from "./group/group-consumer.ts";
export type * from "./group/types.ts";
export type { LatestQuery, LatestScan } from "./latest.ts";
export type { BrokerInfo, GroupCoordinatorInfo } from "./metadata/index.ts";
export { Producer } from "./producer/producer.ts";
export * from "./serializers.ts";
export type * from "./types.ts";
