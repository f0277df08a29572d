export { Broker, type BrokerOptions } from "./broker.ts";
export { ClusterMirror } from "./cluster-mirror.ts";
export type { ClusterChange, ClusterSnapshot, ClusterView } from "./cluster-view.ts";
export { limits } from "./limits.ts";
export { type BrokerMetrics, noMetrics } from "./metrics.ts";
export { logConfigOf } from "./replica-manager.ts";
