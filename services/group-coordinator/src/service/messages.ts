/** Messages of the protocol, and what the groups make of them. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type AssignedPartition,
  AssignedPartitionSchema,
  AssignedTopicSchema,
  type Assignment,
  AssignmentSchema,
  type CommittedOffset,
  CommittedOffsetSchema,
  PartitionOffsetSchema,
  type TopicOffsets,
  TopicOffsetsSchema,
  type TopicPartitions,
  TopicPartitionsSchema,
} from "@millrace/proto/group";
import { type TopicId, topicIdBytes, topicIdOf } from "@millrace/record";
import { partitionError } from "@millrace/rpc";
import { PartitionMap, PartitionSet } from "../group/partition-map.ts";
import type { Committed, OffsetToCommit, Push, RefusedOffset, Topics } from "../group/types.ts";
import { limits } from "../limits.ts";

const invalid = (message: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, message);

interface NamedTopic {
  readonly topicId: Uint8Array;
  readonly topic: string;
}

/** The id of a topic that a message names; undefined where there is none of this name. */
export const topicIdIn = (topics: Topics, { topic, topicId }: NamedTopic): TopicId | undefined => {
  if (topicId.length === 0) return topics.byName(topic)?.topicId;
  if (topicId.length === 16) return topicIdOf(topicId);
  throw invalid(`a topic id of ${topicId.length} bytes: it has 16`);
};

/** Partitions of a message. Topics that do not exist have none. */
export const setOf = (topics: Topics, listed: readonly TopicPartitions[]): PartitionSet => {
  const set = new PartitionSet();
  for (const one of listed) {
    const topicId = topicIdIn(topics, one);
    if (topicId === undefined) continue;
    for (const partition of one.partitions) set.add(topicId, partition);
    if (set.size > limits.partitionsMax)
      throw invalid(`more than ${limits.partitionsMax} partitions: send fewer`);
  }
  return set;
};

export const partitionsMessage = (set: PartitionSet, topics: Topics): TopicPartitions[] =>
  set.sorted().map(([topicId, partitions]) =>
    create(TopicPartitionsSchema, {
      topicId: topicIdBytes(topicId),
      topic: topics.byId(topicId)?.name ?? "",
      partitions: [...partitions],
    }),
  );

/** What a message asks to be committed, and what it names that is not there. */
export interface ReadOffsets {
  readonly offsets: readonly OffsetToCommit[];
  readonly unknown: readonly TopicOffsets[];
}

/** Throws INVALID_REQUEST. */
export const readOffsets = (topics: Topics, listed: readonly TopicOffsets[]): ReadOffsets => {
  const offsets: OffsetToCommit[] = [];
  const unknown: TopicOffsets[] = [];
  for (const one of listed) {
    const topicId = topicIdIn(topics, one);
    if (topicId === undefined) unknown.push(unknownTopic(one));
    for (const { committed, partition } of one.partitions) {
      if (committed === undefined) throw invalid(`partition ${partition} has no offset`);
      if (committed.offset > Number.MAX_SAFE_INTEGER)
        throw invalid(`offset ${committed.offset}: offsets are below 2^53`);
      const { leaderEpoch, metadata } = committed;
      const offset = Number(committed.offset);
      if (topicId !== undefined)
        offsets.push({ topicId, partition, offset, leaderEpoch, metadata });
    }
    if (offsets.length > limits.partitionsMax)
      throw invalid(`more than ${limits.partitionsMax} partitions: send fewer`);
  }
  return { offsets, unknown };
};

const unknownTopic = ({ partitions, topic }: TopicOffsets): TopicOffsets => {
  const message = `no topic ${topic}: create it, or correct the name`;
  const error = MillraceError.refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message);
  return create(TopicOffsetsSchema, {
    topic,
    partitions: partitions.map(({ partition }) =>
      create(PartitionOffsetSchema, { partition, error: partitionError(error) }),
    ),
  });
};

/** Refusals as a message has them: by topic. */
export const refusedMessage = (
  topics: Topics,
  refused: readonly RefusedOffset[],
  unknown: readonly TopicOffsets[],
): TopicOffsets[] => {
  const byTopic = new PartitionMap<RefusedOffset>();
  for (const one of refused) byTopic.set(one.topicId, one.partition, one);
  const known = byTopic.sorted().map(([topicId, partitions]) =>
    create(TopicOffsetsSchema, {
      topicId: topicIdBytes(topicId),
      topic: topics.byId(topicId)?.name ?? "",
      partitions: partitions.flatMap((partition) => {
        const one = byTopic.get(topicId, partition);
        if (one === undefined) return [];
        const error = partitionError(MillraceError.refusal(one.code, one.message));
        return create(PartitionOffsetSchema, { partition, error });
      }),
    }),
  );
  return [...known, ...unknown];
};

export const committedMessage = ({ leaderEpoch, metadata, offset }: Committed): CommittedOffset =>
  create(CommittedOffsetSchema, {
    offset: BigInt(offset),
    ...(leaderEpoch === undefined ? {} : { leaderEpoch }),
    metadata,
  });

export const assignmentMessage = (
  push: Extract<Push, { readonly kind: "assignment" }>,
  topics: Topics,
): Assignment => {
  const { assigned, memberEpoch, positions, revision } = push;
  const committed = new PartitionMap<Committed>();
  for (const one of positions) {
    if (one.committed !== undefined) committed.set(one.topicId, one.partition, one.committed);
  }
  const partitionMessage = (topicId: TopicId, partition: number): AssignedPartition => {
    const position = committed.get(topicId, partition);
    return create(AssignedPartitionSchema, {
      partition,
      ...(position === undefined ? {} : { position: committedMessage(position) }),
    });
  };
  return create(AssignmentSchema, {
    revision: BigInt(revision),
    memberEpoch,
    topics: assigned.sorted().map(([topicId, partitions]) =>
      create(AssignedTopicSchema, {
        topicId: topicIdBytes(topicId),
        topic: topics.byId(topicId)?.name ?? "",
        partitions: partitions.map((partition) => partitionMessage(topicId, partition)),
      }),
    ),
  });
};
