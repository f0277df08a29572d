/** The kinds of `millrace.dev`: their types, their schemas, and how they are rendered. */
import { brokerKind } from "./broker.ts";
import { brokerPoolKind } from "./broker-pool.ts";
import { clusterKind } from "./cluster.ts";
import { type Kind, resourceType } from "./kind.ts";
import { rebalanceKind } from "./rebalance.ts";
import { topicKind } from "./topic.ts";

/** Every kind. */
export const kinds: readonly Kind[] = [
  clusterKind,
  brokerPoolKind,
  brokerKind,
  topicKind,
  rebalanceKind,
];

/** How the runtime finds objects of each kind. */
export const resourceTypes = {
  Cluster: resourceType(clusterKind),
  BrokerPool: resourceType(brokerPoolKind),
  Broker: resourceType(brokerKind),
  Topic: resourceType(topicKind),
  Rebalance: resourceType(rebalanceKind),
} as const;

export type { Broker } from "./broker.ts";
export type { BrokerPool } from "./broker-pool.ts";
export type { Cluster } from "./cluster.ts";
export { type ConditionType, conditions, type ReasonOf } from "./conditions.ts";
export {
  type CustomResourceDefinition,
  customResourceDefinition,
  schemaOf,
} from "./crd.ts";
export { group, type Kind, type ObjectOfKind, version } from "./kind.ts";
export { parts } from "./parts.ts";
export type { Rebalance } from "./rebalance.ts";
export type { JsonSchema } from "./schema.ts";
export type { Topic } from "./topic.ts";
