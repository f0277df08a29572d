/** A batch, from its first record to its acknowledgement. */
import { type MillraceError, must } from "@millrace/errors";
import {
  type BatchBuilder,
  crcOf,
  encodeBody,
  type PackedRecords,
  type ProducerStamp,
  parseBody,
} from "@millrace/record";
import type { RecordMetadata } from "../types.ts";

/** A `send` that waits for its record. */
export interface Waiter {
  /** Index of the record in its batch. */
  index: number;
  timestampMs: number;
  readonly resolve: (metadata: RecordMetadata) => void;
  readonly reject: (error: MillraceError) => void;
}

export type BatchState =
  /** Takes records. */
  | "open"
  /** Takes no more records, which are not compressed yet. */
  | "sealed"
  /** Its records are being compressed. */
  | "encoding"
  /** Waits to be sent, for the first time or again. */
  | "encoded"
  /** Sent, and not answered yet. */
  | "in_flight"
  /** Too large for its topic, and being split into smaller batches. */
  | "splitting"
  /** The application knows the outcome, or smaller batches took its place. */
  | "done";

/** Records of one partition that are written together. */
export class Batch {
  /**
   * Order of creation, which is the order of sending. The parts of a batch that was split share its
   * id.
   */
  readonly id: number;
  readonly createdMs: number;
  state: BatchState = "open";
  /**
   * Holds the records, and the memory of an uncompressed `body`. Undefined once they are
   * compressed.
   */
  builder: BatchBuilder | undefined;
  /** Bytes that the batch takes of the producer's buffer. */
  bytes = 0;
  recordCount = 0;
  /** Record bytes before compression; set when the batch is sealed. */
  recordBytes = 0;
  waiters: Waiter[] = [];
  /** Compressed records that have no body yet. */
  packed: PackedRecords | undefined;
  /** Its sequences, from the first attempt on; undefined without idempotence. */
  stamp: ProducerStamp | undefined;
  /** An attempt had no certain outcome. Such a batch never gets other sequences. */
  maybeWritten = false;
  /** The broker has refused this attempt, or will: by the order epoch, after one before it. */
  refused = false;
  /** Place of its last attempt among those of the partition. */
  sentNumber = 0;
  /** Where the log must end; undefined: wherever it does. */
  expectedEndOffset: number | undefined;
  /** Offset that the last record of the key must have, -1 for none; undefined: any. */
  expectedLastOffsetForKey: number | undefined;
  /** A send with a condition before it failed: it must not be sent again. */
  preceding: MillraceError | undefined;
  body: Buffer | undefined;
  bodyCrc = 0;
  attempts = 0;
  lastError: MillraceError | undefined;

  constructor(id: number, createdMs: number, builder: BatchBuilder) {
    this.id = id;
    this.createdMs = createdMs;
    this.builder = builder;
  }

  /** Feature without which a server must not get the batch; undefined: any server may. */
  get requiredFeature(): string | undefined {
    if (this.expectedEndOffset !== undefined) return "conditional-append";
    return this.expectedLastOffsetForKey === undefined ? undefined : "latest-by-key";
  }

  /** Closes an open batch. */
  seal(): void {
    if (this.state !== "open") return;
    this.state = "sealed";
    this.recordBytes = this.builder?.sizeBytes ?? 0;
  }

  /** Makes the body that is sent, with the batch's stamp. */
  assemble(): void {
    const { builder, packed, stamp } = this;
    const body =
      packed === undefined
        ? must(builder, "builder of an uncompressed batch").viewPlain(stamp)
        : encodeBody({ ...packed, producer: stamp }, packed.records);
    this.packed = undefined;
    this.body = body;
    this.bodyCrc = crcOf(body);
  }

  /** Takes the sequences back. Only of a batch that was certainly not written. */
  unstamp(): void {
    if (this.stamp === undefined) return;
    this.stamp = undefined;
    if (this.builder === undefined && this.body !== undefined) this.packed = parseBody(this.body);
    this.body = undefined;
  }

  /** Ends the batch and releases its memory. */
  finish(): void {
    this.state = "done";
    this.builder = undefined;
    this.packed = undefined;
    this.body = undefined;
  }
}
