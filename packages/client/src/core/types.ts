/**
 * Options, records and results of producers and consumers. Offsets are bigint, times milliseconds.
 */
import type { MillraceError } from "@millrace/errors";
import type { BatchCompression } from "@millrace/record";

/** What can be sent without a serializer; a string is sent as UTF-8. */
export type Sendable = string | Uint8Array;

/** Makes what is sent of a key or value. Gets no null: that is sent as it is. */
export type Serializer<T> = (data: T, topic: string) => Sendable | null;

/** Makes a key or value of what was read. Gets no null: that is handed out as it is. */
export type Deserializer<T> = (bytes: Uint8Array, record: ConsumedRecord) => T;

/** A record header to send. */
export interface HeaderInput {
  /** 1 to 32,767 bytes of UTF-8. */
  readonly name: string;
  readonly value?: Sendable | null | undefined;
}

/** Headers to send, by name. A header that occurs several times has a list. */
export type HeadersInput = Readonly<
  Record<string, Sendable | null | undefined | readonly (Sendable | null | undefined)[]>
>;

/** A record to send. Byte arrays are copied before the call returns. */
export interface ProducerRecord<K = Sendable, V = Sendable> {
  readonly topic: string;
  /** Absent: chosen by the key, or for keyless records once per batch. */
  readonly partition?: number | undefined;
  readonly key?: K | null | undefined;
  /** Null or absent is a null value (a tombstone in a compacted topic). */
  readonly value?: V | null | undefined;
  /** By name, or a list, which keeps the order of headers with different names. */
  readonly headers?: HeadersInput | readonly HeaderInput[] | undefined;
  /** Milliseconds since the Unix epoch; absent means now. */
  readonly timestampMs?: number | undefined;
  /**
   * For `send`, with a `partition` and acks "all": the record is written at this offset, which is
   * where the log ends, or not at all. Otherwise `send` rejects with `EndOffsetMismatchError`. The
   * record gets a batch of its own. Needs servers of feature level 3; others are
   * UNSUPPORTED_OPERATION.
   */
  readonly expectedEndOffset?: bigint | number | undefined;
  /**
   * For `send` to a compacted topic, with acks "all": the record is written if the last one of its
   * key is at this offset, or the key has none (-1), or not at all. Otherwise `send` rejects with
   * `LastOffsetMismatchError`. The record gets a batch of its own. Needs servers of feature level
   * 4; others are UNSUPPORTED_OPERATION.
   */
  readonly expectedLastOffsetForKey?: bigint | number | undefined;
}

/** What an acknowledgement promises; `millrace.common.v1.Guarantee`. */
export type RecordGuarantee =
  | "fsynced_quorum"
  | "fsynced_leader"
  | "written_quorum"
  | "written_leader"
  | "received";

/** An acknowledged record. */
export interface RecordMetadata {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** The record's own timestamp, milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  readonly guarantee: RecordGuarantee;
}

/** Records that could not be written. */
export interface FailedBatch {
  readonly topic: string;
  /** Undefined when the records had no partition yet. */
  readonly partition: number | undefined;
  /** Records of the batch that came through `write`. */
  readonly recordCount: number;
}

export interface ProducerOptions<K = Sendable, V = Sendable> {
  /** When a batch counts as written. Default "all". */
  readonly acks?: "all" | "leader" | "none";
  /** How long a batch waits for more records, milliseconds, 0 to 60,000. Absent: a batch is sent at
   * the end of the event-loop turn when its broker is idle, otherwise within 5 ms. */
  readonly lingerMs?: number;
  /**
   * Record bytes after which a batch is sent, before compression. A larger record gets a batch of
   * its own. Falls by itself for topics whose `max.message.bytes` is lower. Default 128 KiB.
   */
  readonly batchBytesMax?: number;
  /** Bytes of records that are not yet acknowledged. Default 32 MiB. */
  readonly bufferBytesMax?: number;
  /** Default "none". */
  readonly compression?: BatchCompression;
  /** Level of the compression; absent means the codec's default. */
  readonly compressionLevel?: number;
  /** Longest time to the acknowledgement, retries included, milliseconds. Default 120,000. */
  readonly deliveryTimeoutMs?: number;
  /** Longest wait for an answer before the stream is given up, milliseconds. Default 9,000, so that
   * a leader that hangs is left within ten seconds. */
  readonly requestTimeoutMs?: number;
  /**
   * Batches of one partition in flight, 1 to 64. Any value keeps the order: the broker lets no
   * batch overtake one that failed (`ProduceRequest.order_epoch`). With idempotence, at most what
   * the server recognises when it is sent again (`ProduceOpened.producer_batches`). Default 16.
   */
  readonly inFlightPerPartitionMax?: number;
  /**
   * True: a batch that is sent again is not written twice (KIP-98). Needs acks "all"; with other
   * acks, `true` is INVALID_REQUEST. Needs servers of feature level 2: with older ones records fail
   * with UNSUPPORTED_OPERATION. Default true with acks "all", otherwise false (KIP-679).
   */
  readonly idempotence?: boolean;
  /**
   * Chooses the partition, 0 to `partitionCount` - 1, of a record that names none. Absent: murmur2
   * of the key as in Kafka, and one random partition per batch for records without a key. Gets the
   * record as the serializers made it.
   */
  readonly partitioner?: (record: ProducerRecord, partitionCount: number) => number;
  /** Called for every failed batch with records of `write`. Absent: the next `flush` or `close`
   * throws the first failure. Must not throw. */
  readonly onError?: (error: MillraceError, batch: FailedBatch) => void;
  /** Told why nothing moves, and when it goes on. Must not throw. */
  readonly onState?: (state: ProducerState) => void;
  /** Absent: keys are strings or bytes. */
  readonly keySerializer?: Serializer<K>;
  /** Absent: values are strings or bytes. */
  readonly valueSerializer?: Serializer<V>;
}

/** Keys and values that cannot be sent as they are need a serializer. */
export type ProducerOptionsFor<K, V> = ProducerOptions<K, V> &
  ([K] extends [Sendable] ? unknown : { readonly keySerializer: Serializer<K> }) &
  ([V] extends [Sendable] ? unknown : { readonly valueSerializer: Serializer<V> });

/** A place in a partition. `tail` is a number of records before the end. */
export type Position =
  | "earliest"
  | "latest"
  | { readonly offset: bigint | number }
  | { readonly timestampMs: number }
  | { readonly tail: number };

/** A partition to read, or a whole topic. */
export interface Assignment {
  readonly topic: string;
  /** Absent: all partitions. Without `untilEnd`, partitions that are added later are read too, from
   * their beginning; where servers have no WatchMetadata, within `metadataMaxAgeMs`. */
  readonly partition?: number;
  /** Default "latest". */
  readonly from?: Position;
}

export interface ConsumerOptions<K = Uint8Array, V = Uint8Array> {
  /** Reads this topic, all of its partitions, which are found when the first iteration begins.
   * Absent: `assign` says what to read. */
  readonly topic?: string;
  /** Where to begin in `topic`. Default "latest". */
  readonly from?: Position;
  /**
   * Bytes fetched and not yet taken by the application, over all partitions; one batch per
   * partition may exceed it. Default 32 MiB.
   */
  readonly bufferBytesMax?: number;
  /** What to do when the position is before the log's start or past its end, or belongs to a topic
   * that was deleted and created again since. Default "error": OFFSET_OUT_OF_RANGE. */
  readonly onOutOfRange?: "error" | "earliest" | "latest";
  /** True: iteration ends at the high watermarks as of `assign`. Default false. */
  readonly untilEnd?: boolean;
  /** Default "read_uncommitted". */
  readonly isolation?: "read_uncommitted" | "read_committed";
  /** Largest batch after decompression, bytes. Default 64 MiB. */
  readonly inflatedBytesMax?: number;
  /** Told why nothing moves, and when it goes on. Must not throw. */
  readonly onState?: (state: ConsumerState) => void;
  /** Absent: keys are bytes. */
  readonly keyDeserializer?: Deserializer<K>;
  /** Absent: values are bytes. */
  readonly valueDeserializer?: Deserializer<V>;
}

/** Keys and values that are not bytes need a deserializer. */
export type ConsumerOptionsFor<K, V> = ConsumerOptions<K, V> &
  ([Uint8Array] extends [K] ? unknown : { readonly keyDeserializer: Deserializer<K> }) &
  ([Uint8Array] extends [V] ? unknown : { readonly valueDeserializer: Deserializer<V> });

/** A header as read. */
export interface ConsumedHeader {
  readonly name: string;
  readonly value: Uint8Array | null;
}

/** A record as read. Byte arrays are views of the fetched batch: copy what is kept for long. */
export interface ConsumedRecord<K = Uint8Array, V = Uint8Array> {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** Milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  /** Null: no key. */
  readonly key: K | null;
  /** Null: a null value. */
  readonly value: V | null;
  readonly headers: readonly ConsumedHeader[];
  readonly leaderEpoch: number;
  /** The bytes of the value as UTF-8, whatever the deserializer; null for a null value. */
  text(): string | null;
  /** The bytes of the value as JSON; null for a null value. Throws INVALID_RECORD. */
  json(): unknown;
  /** The bytes of the key as UTF-8; null without a key. */
  keyText(): string | null;
  /** The last header of this name as UTF-8; null for a null value, undefined without one. */
  header(name: string): string | null | undefined;
}

/** Records of one partition, in offset order. */
export interface ConsumedBatch<K = Uint8Array, V = Uint8Array> {
  readonly topic: string;
  readonly partition: number;
  /** At least one. */
  readonly records: readonly ConsumedRecord<K, V>[];
  /** The position after this batch. */
  readonly nextOffset: bigint;
  /** High watermark when the batch was fetched. */
  readonly highWatermark: bigint;
}

/** A stream to a server broke, or could not be opened. Told once, until `Resumed`. */
export interface ConnectionLost {
  readonly type: "connection_lost";
  /** `host:port`. */
  readonly server: string;
  readonly error: MillraceError;
}

/** Partitions are held up. Told after a second, and again after every further one. */
export interface Waiting {
  readonly type: "waiting";
  /** Milliseconds since the Unix epoch. */
  readonly sinceMs: number;
  readonly waitedMs: number;
  /** Those that are held up; without a number while a topic is looked for. */
  readonly partitions: readonly { readonly topic: string; readonly partition?: number }[];
  /** Why. Of several reasons, that of the first partition. */
  readonly error: MillraceError;
}

/** Nothing is held up any more. */
export interface Resumed {
  readonly type: "resumed";
  readonly waitedMs: number;
}

/** Another broker leads a partition. */
export interface LeaderMoved {
  readonly type: "leader_moved";
  readonly topic: string;
  readonly partition: number;
  /** `host:port` of the broker that led before, and of the one that leads now. */
  readonly from: string;
  readonly to: string;
  readonly leaderEpoch: number;
}

/** Everything that is there was handed out, and for 1.5 s nothing came. */
export interface WaitingForRecords {
  readonly type: "waiting_for_records";
}

/** What a producer tells its `onState`. */
export type ProducerState = ConnectionLost | Waiting | Resumed | LeaderMoved;

/** What a consumer tells its `onState`. */
export type ConsumerState = ProducerState | WaitingForRecords;

/** An offset in a partition. */
export interface PartitionOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/** A partition of a topic. */
export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** A partition, and where to go in it. */
export interface Seek extends TopicPartition {
  readonly to: Position;
}
