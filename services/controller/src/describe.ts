/** Answers of the read-only calls of the Admin service. */
import { create } from "@bufbuild/protobuf";
import { allowedOf, type Setting, topicSchema } from "@millrace/config";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type ConfigEntry,
  ConfigEntrySchema,
  ConfigSource,
  type DescribeTopicsRequest,
  type DescribeTopicsResponse,
  DescribeTopicsResponseSchema,
  type ListTopicsRequest,
  type ListTopicsResponse,
  ListTopicsResponseSchema,
} from "@millrace/proto/controller";
import type { PartitionRecord, TopicRecord } from "@millrace/proto/storage";
import { limits } from "./limits.ts";
import { targetOf } from "./reassignment.ts";
import type { Registry, StoredTopic } from "./registry.ts";

/** Every topic config, set or not, in order of key. */
export const configEntries = (set: Readonly<Record<string, string>>): ConfigEntry[] =>
  (Object.entries(topicSchema) as [string, Setting][])
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, setting]) =>
      create(ConfigEntrySchema, {
        key,
        value: set[key] ?? String(setting.default),
        source: Object.hasOwn(set, key) ? ConfigSource.TOPIC : ConfigSource.DEFAULT,
        description: `${setting.description} (${allowedOf(setting)})`,
      }),
    );

export const listTopics = async (
  registry: Registry,
  request: ListTopicsRequest,
): Promise<ListTopicsResponse> => {
  const wanted = request.pageSize === 0 ? limits.pageSizeDefault : request.pageSize;
  const { topics, more } = await registry.topics(
    request.pageToken,
    Math.min(wanted, limits.pageSizeMax),
  );
  return create(ListTopicsResponseSchema, {
    topics: topics.map(({ record }) => ({
      name: record.name,
      topicId: record.topicId,
      partitionCount: record.partitionCount,
      replicationFactor: record.replicationFactor,
    })),
    nextPageToken: more ? (topics.at(-1)?.record.name ?? "") : "",
  });
};

export const describeTopics = async (
  registry: Registry,
  request: DescribeTopicsRequest,
): Promise<DescribeTopicsResponse> => {
  if (request.names.length < 1 || request.names.length > limits.topicsPerCallMax) {
    throw new MillraceError(
      ErrorCode.INVALID_REQUEST,
      `${request.names.length} topic names: send 1 to ${limits.topicsPerCallMax}`,
    );
  }
  const topics = [];
  for (const name of request.names)
    topics.push(await describe(registry, await registry.topic(name)));
  const revision = BigInt(await registry.revision());
  return create(DescribeTopicsResponseSchema, { topics, revision });
};

/** As Kafka tells it: the replicas that partition 0 has, or gets by its reassignment. */
export const replicationFactorOf = (
  { replicationFactor }: TopicRecord,
  [first]: readonly { readonly record: PartitionRecord }[],
): number => (first === undefined ? replicationFactor : targetOf(first.record).length);

const describe = async (registry: Registry, { record, id }: StoredTopic) => {
  const partitions = await registry.partitions(id);
  return {
    name: record.name,
    topicId: record.topicId,
    replicationFactor: replicationFactorOf(record, partitions),
    createdAtMs: record.createdAtMs,
    configs: configEntries(record.configs),
    partitions: partitions.map(({ record: one }) => ({
      partition: one.partition,
      ...(one.leader === undefined ? {} : { leader: one.leader }),
      leaderEpoch: one.leaderEpoch,
      replicas: one.replicas,
      isr: one.isr,
      elr: one.elr,
      adding: one.adding,
      removing: one.removing,
    })),
  };
};
