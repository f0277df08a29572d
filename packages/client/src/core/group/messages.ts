/** Partitions and offsets as the messages of groups have them: by topic. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MillraceError } from "@millrace/errors";
import type {
  TopicOffsets,
  TopicOffsetsSchema,
  TopicPartitionsSchema,
} from "@millrace/proto/group";
import { fromWire } from "../failures.ts";
import type { TopicPartition } from "../types.ts";

export type PartitionsInput = MessageInitShape<typeof TopicPartitionsSchema>;
export type OffsetsInput = MessageInitShape<typeof TopicOffsetsSchema>;

/** A partition of a topic that may have its id. */
export interface NamedPartition extends TopicPartition {
  readonly topicId?: Uint8Array;
}

/** An offset to be committed. */
export interface OffsetInput extends NamedPartition {
  readonly offset: bigint;
  readonly metadata?: Uint8Array;
}

const byTopic = <T extends NamedPartition>(all: readonly T[]): [T, T[]][] => {
  const found = new Map<string, [T, T[]]>();
  for (const one of all) {
    const name = one.topicId === undefined ? one.topic : Buffer.from(one.topicId).toString("hex");
    const entry = found.get(name);
    if (entry === undefined) found.set(name, [one, [one]]);
    else entry[1].push(one);
  }
  return [...found.values()];
};

export const partitionsInput = (all: readonly NamedPartition[]): PartitionsInput[] =>
  byTopic(all).map(([{ topic, topicId }, some]) => ({
    ...(topicId === undefined ? {} : { topicId }),
    topic,
    partitions: some.map(({ partition }) => partition),
  }));

export const offsetsInput = (all: readonly OffsetInput[]): OffsetsInput[] =>
  byTopic(all).map(([{ topic, topicId }, some]) => ({
    ...(topicId === undefined ? {} : { topicId }),
    topic,
    partitions: some.map(({ partition, offset, metadata }) => ({
      partition,
      committed: { offset, ...(metadata === undefined ? {} : { metadata }) },
    })),
  }));

const keyOf = (topic: string | undefined, partition: number | undefined): string =>
  `${partition}/${topic}`;

/**
 * Commits that are sent again, in their order: each has what the last of them says of a partition.
 * Any of them may have been applied before, and nothing may go back.
 */
export const lastWins = (commits: readonly (readonly OffsetsInput[])[]): OffsetsInput[][] => {
  const last = new Map(
    commits
      .flat()
      .flatMap(({ partitions = [], topic }) =>
        partitions.map((one) => [keyOf(topic, one.partition), one] as const),
      ),
  );
  return commits.map((commit) =>
    commit.map(({ partitions = [], topic = "", topicId = new Uint8Array(0) }) => ({
      ...{ topic, topicId },
      partitions: partitions.map((one) => last.get(keyOf(topic, one.partition)) ?? one),
    })),
  );
};

/** A partition whose offset was refused, and why. */
export interface RefusedPartition extends TopicPartition {
  readonly error: MillraceError;
}

export const refusedOf = (refused: readonly TopicOffsets[]): RefusedPartition[] =>
  refused.flatMap(({ topic, partitions }) =>
    partitions.flatMap(({ partition, error }) =>
      error === undefined ? [] : [{ topic, partition, error: fromWire(error) }],
    ),
  );
