export { Broker, type BrokerOptions } from "./broker.ts";
export { checkFeatures, featureLevel } from "./features.ts";
export { limits } from "./limits.ts";
export { GroupShards, shardOf } from "./metadata/group-shards.ts";
export { ClusterMirror } from "./metadata/mirror.ts";
export type { Coordinators } from "./metadata/service.ts";
export type { ClusterChange, ClusterSnapshot, ClusterView } from "./metadata/view.ts";
export { type BrokerMetrics, noMetrics } from "./metrics.ts";
export { logConfigOf } from "./partitions/log-config.ts";
