/** Topics of a cluster by way of Millrace's own client. */
import type { Client } from "@millrace/client";
import { ErrorCode, hasCode } from "@millrace/errors";
import { BrokerIntent } from "@millrace/proto/common";
import { ConfigSource, type TopicDescription } from "@millrace/proto/controller";
import type { ClusterTopics, FoundTopic } from "./cluster-topics.ts";

const foundTopic = (topic: TopicDescription): FoundTopic => ({
  topicId: Buffer.from(topic.topicId).toString("hex"),
  createdAtMs: Number(topic.createdAtMs),
  partitions: topic.partitions.map(({ adding, isr, leader, partition, removing, replicas }) => ({
    ...{ adding, isr, partition, removing, replicas },
    ...(leader === undefined ? {} : { leader }),
  })),
  configs: Object.fromEntries(
    topic.configs
      .filter(({ source }) => source === ConfigSource.TOPIC)
      .map(({ key, value }) => [key, value]),
  ),
});

/** The client is the caller's to close. */
export const clientTopics = ({ admin }: Pick<Client, "admin">): ClusterTopics => {
  const find: ClusterTopics["find"] = async (name) => {
    try {
      const [topic] = await admin.describeTopics({ names: [name] });
      return topic === undefined ? undefined : foundTopic(topic);
    } catch (error) {
      if (hasCode(error, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)) return undefined;
      throw error;
    }
  };
  return {
    find,
    create: async (topic, { validateOnly }) => {
      await admin.createTopic({ ...topic, validateOnly });
    },
    addPartitions: (name, partitions) => admin.createPartitions({ name, partitions }),
    alterConfigs: (topic, { remove, set }) => admin.alterConfigs({ topic, set, remove }),
    brokers: async () =>
      (await admin.describeBrokers())
        .filter(({ intent, registered }) => registered && intent === BrokerIntent.ACTIVE)
        .map(({ brokerId, rack, replicaCount }) => ({ brokerId, rack, replicas: replicaCount })),
    move: async (topic, moves) => {
      const results = await admin.alterPartitionReassignments({
        moves: moves.map(({ partition, replicas }) => ({ topic, partition, replicas })),
      });
      const refused = results.find(({ error }) => error !== undefined);
      if (refused?.error !== undefined) throw refused.error;
    },
    isEmpty: async (topic) => {
      const found = await find(topic);
      for (const { partition } of found?.partitions ?? []) {
        const first = await admin.listOffset({ topic, partition, at: "earliest" });
        const end = await admin.listOffset({ topic, partition, at: "latest" });
        if (first?.offset !== end?.offset) return false;
      }
      return true;
    },
    delete: (name, topicId) =>
      admin.deleteTopic({ name, topicId: Uint8Array.from(Buffer.from(topicId, "hex")) }),
  };
};
