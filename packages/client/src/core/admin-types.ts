/** Arguments and results of Admin calls. */
import type { MillraceError } from "@millrace/errors";
import type { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import type { OffsetCommit } from "./group/types.ts";
import type { OffsetQuery } from "./offsets.ts";
import type { Position } from "./types.ts";

/** A topic to create. Absent counts mean the cluster's defaults. */
export interface NewTopic {
  readonly name: string;
  /** How many. */
  readonly partitions?: number;
  readonly replicationFactor?: number;
  readonly configs?: Readonly<Record<string, string>>;
  /** True: check everything, create nothing. */
  readonly validateOnly?: boolean;
}

export interface TopicDeletion {
  readonly name: string;
  /** 16 bytes, as `describeTopics` has them. */
  readonly topicId?: Uint8Array;
}

export interface CreatePartitions {
  readonly name: string;
  /** How many the topic shall have in all. */
  readonly partitions: number;
}

export interface AlterConfigs {
  readonly topic: string;
  readonly set?: Readonly<Record<string, string>>;
  /** Keys that go back to their defaults. */
  readonly remove?: readonly string[];
}

export interface ElectLeader {
  readonly topic: string;
  readonly partition: number;
  /** Lets a replica lead that is not complete: this `leader`, or the first that is there. */
  readonly unclean?: { readonly leader?: number };
}

export interface OffsetLookup {
  readonly topic: string;
  readonly partition: number;
  readonly at: OffsetQuery;
}

export interface DeleteRecords {
  readonly topic: string;
  readonly partition: number;
  /** The first offset to keep. Absent: all records that are there go. */
  readonly beforeOffset?: bigint | number;
}

/** Where a partition goes. */
export interface PartitionMove {
  readonly topic: string;
  readonly partition: number;
  /** The target, in order of preference; "cancel": back to the replicas of before. */
  readonly replicas: readonly number[] | "cancel";
}

export interface PartitionMoves {
  /** At most 1,000. */
  readonly moves: readonly PartitionMove[];
  /** True: check everything, move nothing. */
  readonly validateOnly?: boolean;
}

/** What became of a move: recorded, or refused. */
export interface PartitionMoveResult {
  readonly topic: string;
  readonly partition: number;
  readonly error: MillraceError | undefined;
}

export interface BrokerIntentChange {
  readonly brokerId: number;
  readonly intent: BrokerIntent;
  readonly validateOnly?: boolean;
}

/** What somebody wants to do to a broker. */
export interface MaintenanceWish {
  readonly brokerId: number;
  readonly kind: MaintenanceKind;
  /** Names this process: nobody else uses the same. */
  readonly holder: string;
  readonly reason?: string;
  /** As `describeBrokers` has it. Needed for a restart, which is about one registration. */
  readonly brokerEpoch?: bigint;
  /** To be deleted: for `REPLACE_DISK` and `REMOVE`. */
  readonly directoryId?: Uint8Array;
  /** Without a renewal for so long the lease is over. Default 60,000. */
  readonly ttlMs?: number;
  /** A restart may take partitions down that can never spare a replica. */
  readonly allowUnavailable?: boolean;
  readonly validateOnly?: boolean;
}

/** A lease that somebody holds. */
export interface HeldMaintenance {
  readonly brokerId: number;
  readonly token: bigint;
}

/** A lease to give back: by its token, or by force, whoever holds it. */
export type MaintenanceRelease =
  | HeldMaintenance
  | { readonly brokerId: number; readonly force: true };

/** What a group is doing: whether it has members, and whether partitions are on their way. */
export type GroupStateName = "empty" | "reconciling" | "stable" | "unknown";

export interface GroupListing {
  readonly group: string;
  readonly state: GroupStateName;
  /** How many. */
  readonly members: number;
}

/** Offsets of a group to set, each by itself, or those of a whole topic by a position. */
export type OffsetReset =
  | { readonly group: string; readonly offsets: readonly OffsetCommit[] }
  | {
      readonly group: string;
      readonly topic: string;
      readonly to: Position;
      /** True: the offsets are found, and nothing is set. */
      readonly validateOnly?: boolean;
    };

export interface GroupOffsets {
  readonly group: string;
  readonly offsets: readonly OffsetCommit[];
}

export interface GroupOffsetsQuery {
  readonly group: string;
  /** Absent: all partitions of which an offset is committed. */
  readonly partitions?: readonly { readonly topic: string; readonly partition: number }[];
}

/** An offset that a group has committed. */
export interface CommittedOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly metadata: Uint8Array;
  /** Milliseconds since the Unix epoch. */
  readonly commitTimeMs: number;
}

/** What became of an offset: set, or refused. */
export interface OffsetResult {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly error: MillraceError | undefined;
}

/** What a plan is made by. */
export interface RebalancePlanOptions {
  /** Moves that a broker takes part in at the same time. Default 5. */
  readonly movesPerBroker?: number;
  /** Topics whose partitions stay where they are. */
  readonly excludedTopics?: readonly string[];
  /** True: make the plan, store nothing. */
  readonly validateOnly?: boolean;
}

/** A plan by its id; absent: the one that the call can be about. */
export interface RebalanceQuery {
  readonly rebalanceId?: number;
}
