/** What a group is told, and what it answers. */
import type { ErrorCode } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import type { PartitionSet } from "./partition-map.ts";

export type MemberId = string;

/** One stream of a member; another one has another number, also under another coordinator. */
export type Session = number;

/** Topics by their names. */
export interface NamePattern {
  readonly text: string;
  /** Those whose whole name matches. */
  matching(topics: Iterable<Topic>): ReadonlySet<TopicId>;
}

/** A topic as the metadata has it. */
export interface Topic {
  readonly topicId: TopicId;
  readonly name: string;
  readonly partitionCount: number;
}

/** The topics of the cluster, as of one revision of the metadata. */
export interface Topics {
  byName(name: string): Topic | undefined;
  byId(topicId: TopicId): Topic | undefined;
  all(): Iterable<Topic>;
}

/** What a member asks for. */
export interface Subscription {
  /** Name of a static member (KIP-345). */
  readonly instanceId: string | undefined;
  readonly rackId: string | undefined;
  readonly clientId: string;
  /** Address that its stream comes from. */
  readonly clientHost: string;
  readonly topics: readonly string[];
  readonly pattern: NamePattern | undefined;
  readonly assignor: AssignorName | undefined;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
}

export type AssignorName = "uniform" | "range";

/** A committed offset. */
export interface Committed {
  /** First offset that was not processed. */
  readonly offset: number;
  /** Leader epoch in the last batch that was processed. */
  readonly leaderEpoch: number | undefined;
  readonly metadata: Uint8Array;
  /** Milliseconds since the Unix epoch. */
  readonly commitTimeMs: number;
}

/** A partition, and what it is to be committed at. */
export interface OffsetToCommit {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number | undefined;
  readonly metadata: Uint8Array;
}

/** One partition that was refused, and why. */
export interface RefusedOffset {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly code: ErrorCode;
  readonly message: string;
}

/** What the log of the shard remembers. `undefined` deletes. */
export type StateRecord =
  | { readonly kind: "group"; readonly group: string; readonly value: GroupValue | undefined }
  | {
      readonly kind: "member";
      readonly group: string;
      readonly memberId: MemberId;
      readonly value: Subscription | undefined;
    }
  | {
      readonly kind: "assignment";
      readonly group: string;
      readonly memberId: MemberId;
      readonly value: AssignmentValue | undefined;
    }
  | {
      readonly kind: "offset";
      readonly group: string;
      readonly topicId: TopicId;
      readonly partition: number;
      readonly value: Committed | undefined;
    };

export interface GroupValue {
  readonly groupEpoch: number;
  /** When the last member left, milliseconds since the Unix epoch; 0 with members. */
  readonly emptySinceMs: number;
}

export interface AssignmentValue {
  readonly memberEpoch: number;
  readonly assigned: PartitionSet;
  /** Taken from the member, which has not given it back. */
  readonly revoking: PartitionSet;
  /** Its position was reset, and the member has not said that it went on there. */
  readonly resetting: PartitionSet;
}

/** What a member is to be told, once the records that came with it are committed. */
export type Push =
  | {
      readonly kind: "assignment";
      readonly memberId: MemberId;
      readonly session: Session;
      readonly revision: number;
      readonly memberEpoch: number;
      readonly assigned: PartitionSet;
      /** Where to go on: of each partition that the member does not own yet, or whose was reset. */
      readonly positions: readonly Position[];
    }
  | {
      readonly kind: "end";
      readonly memberId: MemberId;
      readonly session: Session;
      readonly code: ErrorCode;
      readonly message: string;
    };

export interface Position {
  readonly topicId: TopicId;
  readonly partition: number;
  /** Absent: nothing is committed. */
  readonly committed: Committed | undefined;
}

/** What one or more commands changed: to be appended as a whole, and told in order after it. */
export class Changes {
  readonly records: StateRecord[] = [];
  readonly pushes: Push[] = [];
  /** Members that were expelled, for metrics. */
  expelled = 0;
}

/** Wall clock and monotonic clock, milliseconds: what is remembered, and what is waited for. */
export interface Now {
  readonly wallMs: number;
  readonly monoMs: number;
}

/** Limits of a group, and how long it waits. */
export interface GroupLimits {
  readonly membersMax: number;
  readonly offsetMetadataBytesMax: number;
  /** Offsets are kept so long after the last commit, or after the group became empty. */
  readonly offsetsRetentionMs: number;
}
