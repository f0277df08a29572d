/**
 * Options, records and results of producers and consumers. Offsets are bigint, times milliseconds.
 */
import type { MillraceError } from "@millrace/errors";
import type { BatchCompression } from "@millrace/record";

/** A record header to send. */
export interface HeaderInput {
  /** 1 to 32,767 bytes of UTF-8. */
  readonly name: string;
  readonly value?: Uint8Array | string | null | undefined;
}

/** A record to send. Strings are sent as UTF-8. Byte arrays are copied before the call returns. */
export interface ProducerRecord {
  readonly topic: string;
  /** Absent: chosen by the key, or for keyless records once per batch. */
  readonly partition?: number | undefined;
  readonly key?: Uint8Array | string | null | undefined;
  /** Null or absent is a null value (a tombstone in a compacted topic). */
  readonly value?: Uint8Array | string | null | undefined;
  readonly headers?: readonly HeaderInput[] | undefined;
  /** Milliseconds since the Unix epoch; absent means now. */
  readonly timestampMs?: number | undefined;
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
  /** Records of the batch that came through `enqueue`. */
  readonly recordCount: number;
}

export interface ProducerOptions {
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
   * of the key as in Kafka, and one random partition per batch for records without a key.
   */
  readonly partitioner?: (record: ProducerRecord, partitionCount: number) => number;
  /** Called for every failed batch with records of `enqueue`. Absent: the next `flush` or `close`
   * throws the first failure. Must not throw. */
  readonly onError?: (error: MillraceError, batch: FailedBatch) => void;
}

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

export interface ConsumerOptions {
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
}

/** A header as read. */
export interface ConsumedHeader {
  readonly name: string;
  readonly value: Uint8Array | null;
}

/** A record as read. Byte arrays are views of the fetched batch: copy what is kept for long. */
export interface ConsumedRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** Milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  /** Null: no key. */
  readonly key: Uint8Array | null;
  /** Null: a null value. */
  readonly value: Uint8Array | null;
  readonly headers: readonly ConsumedHeader[];
  readonly leaderEpoch: number;
}

/** Records of one partition, in offset order. */
export interface ConsumedBatch {
  readonly topic: string;
  readonly partition: number;
  /** At least one. */
  readonly records: readonly ConsumedRecord[];
  /** The position after this batch. */
  readonly nextOffset: bigint;
  /** High watermark when the batch was fetched. */
  readonly highWatermark: bigint;
}

/** An offset in a partition. */
export interface PartitionOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}
