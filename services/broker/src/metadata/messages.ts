/** Parts of the metadata messages, from the view of the cluster. */
import { create } from "@bufbuild/protobuf";
import type { Endpoint } from "@millrace/errors";
import {
  type PartitionRoute,
  PartitionRouteSchema,
  type Topic,
  TopicSchema,
} from "@millrace/proto/metadata";
import { topicIdBytes } from "@millrace/record";
import type { ClusterSnapshot, PartitionView, TopicView } from "./view.ts";

const partitionFields = ({ partition, leader, leaderEpoch }: PartitionView) => ({
  partition,
  ...(leader === undefined ? {} : { leader }),
  leaderEpoch,
});

export const topicMessage = (topic: TopicView): Topic =>
  create(TopicSchema, {
    name: topic.name,
    topicId: topicIdBytes(topic.id),
    partitions: topic.partitions.map(partitionFields),
  });

export const routeMessage = (topic: TopicView, partition: PartitionView): PartitionRoute =>
  create(PartitionRouteSchema, {
    topicId: topicIdBytes(topic.id),
    partition: partitionFields(partition),
  });

/** Live brokers, in order of id. */
export const brokerMessages = (snapshot: ClusterSnapshot) =>
  [...snapshot.brokers.values()]
    .toSorted((a, b) => a.brokerId - b.brokerId)
    .map(({ brokerId, endpoint, rack }) => ({ brokerId, rack, ...endpointField(endpoint) }));

const endpointField = (endpoint: Endpoint | undefined): { endpoint?: Endpoint } =>
  endpoint === undefined ? {} : { endpoint };

/** The topics of these names that exist; all when none is named. */
export const selectTopics = (
  snapshot: ClusterSnapshot,
  names: readonly string[],
): readonly TopicView[] =>
  names.length === 0
    ? [...snapshot.topics.values()]
    : [...new Set(names)].flatMap((name) => snapshot.topics.get(name) ?? []);

/** True when both generations are known and the same. */
export const isSameGeneration = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length > 0 && Buffer.compare(a, b) === 0;
