/** The room that knows the cluster; see `MetadataCache`. */
export { MetadataCache, type MetadataContext } from "./cache.ts";
export type { BrokerInfo, GroupCoordinatorInfo, Leader, PartitionInfo, TopicInfo } from "./view.ts";
export { isSameTopic } from "./view.ts";
