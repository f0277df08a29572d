/** Options and results of consumers in a group. */
import type { MillraceError } from "@millrace/errors";
import type { ConsumerOptions, ConsumerState, Deserializer, TopicPartition } from "../types.ts";

type Partitions = readonly TopicPartition[];

export interface GroupConsumerOptions<K = Uint8Array, V = Uint8Array>
  extends Pick<
    ConsumerOptions<K, V>,
    | "bufferBytesMax"
    | "onOutOfRange"
    | "isolation"
    | "inflatedBytesMax"
    | "keyDeserializer"
    | "valueDeserializer"
  > {
  /** Name of the group: 1 to 249 bytes. */
  readonly group: string;
  /** Topics to read; one that does not exist is read once it does. */
  readonly topics?: readonly string[];
  /** Topics whose whole name matches this regular expression (RE2), also those made later. */
  readonly topicPattern?: string;
  /** Where partitions begin of which the group has committed nothing. Default "latest". */
  readonly from?: "earliest" | "latest";
  /** True: what the loop has moved past is committed from time to time, when partitions go, and on
   * `close`. Default true. */
  readonly autoCommit?: boolean;
  /** Time between automatic commits, milliseconds, 100 to 3,600,000. Default 5,000. */
  readonly autoCommitIntervalMs?: number;
  /** Told of new partitions before they are read; awaited. `seek` may be called in it. */
  readonly onAssigned?: (partitions: Partitions) => unknown;
  /** Told of partitions that go to others, once the loop has done with them, and before their
   * offsets are committed; awaited. */
  readonly onRevoked?: (partitions: Partitions) => unknown;
  /** Told of partitions that others may have already: the group has expelled the member. */
  readonly onLost?: (partitions: Partitions) => unknown;
  /** Static membership: a process that comes back under the same name within the session timeout
   * gets its partitions back, and no other member notices. At most 249 bytes. */
  readonly instanceId?: string;
  /** Where this process is; the assignor prefers partitions that are led there. */
  readonly rackId?: string;
  /** Absent: no opinion. The group takes the one that most members ask for. */
  readonly assignor?: "uniform" | "range";
  /** Silence after which the group expels the member, milliseconds. Absent: the server's choice. */
  readonly sessionTimeoutMs?: number;
  /** Longest time for giving partitions back, milliseconds. Absent: the server's choice. */
  readonly rebalanceTimeoutMs?: number;
  /** A loop that asks for nothing for this long leaves the group, milliseconds. Default 300,000. */
  readonly maxProcessingMs?: number;
  /** For `process`: records of a partition at once, 1 to 1,000. Default 1. */
  readonly concurrency?: { readonly perPartition: number };
  /** Told why nothing moves, when it goes on, and of a loop that is stuck. Must not throw. */
  readonly onState?: (state: GroupConsumerState) => void;
}

/** Keys and values that are not bytes need a deserializer. */
export type GroupConsumerOptionsFor<K, V> = GroupConsumerOptions<K, V> &
  ([Uint8Array] extends [K] ? unknown : { readonly keyDeserializer: Deserializer<K> }) &
  ([Uint8Array] extends [V] ? unknown : { readonly valueDeserializer: Deserializer<V> });

/** The loop has asked for nothing for two thirds of `maxProcessingMs`. */
export interface ProcessingSlow {
  readonly type: "processing_slow";
  /** How long it works on the same record or batch. */
  readonly processingMs: number;
  /** It leaves the group then. */
  readonly leavesInMs: number;
}

/** The loop has asked for nothing for `maxProcessingMs`. It joins again when it does. */
export interface GroupLeft {
  readonly type: "group_left";
  readonly error: MillraceError;
}

/** What a consumer in a group tells its `onState`. */
export type GroupConsumerState = ConsumerState | ProcessingSlow | GroupLeft;

/** An offset to commit: the first one that was not processed. */
export interface OffsetCommit extends TopicPartition {
  readonly offset: bigint | number;
  /** Kept with it, at most 4,096 bytes; a string as UTF-8. */
  readonly metadata?: string | Uint8Array;
}

/** How far a partition is behind. */
export interface PartitionLag extends TopicPartition {
  /** Records that the application has not moved past, as far as the consumer has heard. */
  readonly lag: bigint;
}
