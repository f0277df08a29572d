/** Committed offsets of one group. */
import { ErrorCode } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import { PartitionMap } from "./partition-map.ts";
import type {
  Changes,
  Committed,
  GroupLimits,
  Now,
  OffsetToCommit,
  RefusedOffset,
  StateRecord,
  Topics,
} from "./types.ts";

type OffsetRecord = Extract<StateRecord, { readonly kind: "offset" }>;

/** Who may commit what. */
export interface CommitRules {
  readonly topics: Topics;
  check(offset: OffsetToCommit): { code: ErrorCode; message: string } | undefined;
}

export class Offsets {
  readonly #group: string;
  readonly #limits: GroupLimits;
  readonly #committed = new PartitionMap<Committed>();

  constructor(group: string, limits: GroupLimits) {
    this.#group = group;
    this.#limits = limits;
  }

  get size(): number {
    return this.#committed.size;
  }

  get(topicId: TopicId, partition: number): Committed | undefined {
    return this.#committed.get(topicId, partition);
  }

  [Symbol.iterator](): Iterator<readonly [TopicId, number, Committed]> {
    return this.#committed[Symbol.iterator]();
  }

  /** Commits each offset by itself, in order. Returns what was refused. */
  commit(
    offsets: readonly OffsetToCommit[],
    rules: CommitRules,
    now: Now,
    changes: Changes,
  ): RefusedOffset[] {
    const all: RefusedOffset[] = [];
    for (const one of offsets) {
      const { topicId, partition, offset, leaderEpoch, metadata } = one;
      const refusal = this.#unknown(one, rules.topics) ?? this.#large(one) ?? rules.check(one);
      if (refusal !== undefined) {
        all.push({ topicId, partition, ...refusal });
        continue;
      }
      const value = { offset, leaderEpoch, metadata, commitTimeMs: now.wallMs };
      this.#set(topicId, partition, value, changes);
    }
    return all;
  }

  #unknown({ topicId, partition }: OffsetToCommit, topics: Topics) {
    const topic = topics.byId(topicId);
    if (topic !== undefined && partition < topic.partitionCount) return undefined;
    const message = "the topic has no such partition, or was deleted";
    return { code: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message };
  }

  #large({ metadata }: OffsetToCommit) {
    const { offsetMetadataBytesMax: max } = this.#limits;
    if (metadata.length <= max) return undefined;
    const message = `metadata of ${metadata.length} bytes: an offset takes at most ${max}`;
    return { code: ErrorCode.OFFSET_METADATA_TOO_LARGE, message };
  }

  /** Forgets offsets committed before `beforeMs`, of topics that `isRead` does not know. */
  expire(beforeMs: number, isRead: (topicId: TopicId) => boolean, changes: Changes): void {
    for (const [topicId, partition, { commitTimeMs }] of this.#committed) {
      if (commitTimeMs < beforeMs && !isRead(topicId))
        this.#set(topicId, partition, undefined, changes);
    }
  }

  /** Forgets the offsets of a topic that was deleted. */
  deleteTopic(topicId: TopicId, changes: Changes): void {
    for (const [of, partition] of this.#committed) {
      if (of === topicId) this.#set(topicId, partition, undefined, changes);
    }
  }

  deleteAll(changes: Changes): void {
    for (const [topicId, partition] of this.#committed)
      this.#set(topicId, partition, undefined, changes);
  }

  replay({ topicId, partition, value }: OffsetRecord): void {
    if (value === undefined) this.#committed.delete(topicId, partition);
    else this.#committed.set(topicId, partition, value);
  }

  #set(topicId: TopicId, partition: number, value: Committed | undefined, changes: Changes): void {
    const record: OffsetRecord = { kind: "offset", group: this.#group, topicId, partition, value };
    this.replay(record);
    changes.records.push(record);
  }
}
