/** A batch, from its first record to its acknowledgement. */
import type { MillraceError } from "@millrace/errors";
import type { BatchBuilder } from "@millrace/record";
import type { RecordMetadata } from "../types.ts";

/** A `send` that waits for its record. */
export interface Waiter {
  /** Index of the record in its batch. */
  index: number;
  readonly timestampMs: number;
  readonly resolve: (metadata: RecordMetadata) => void;
  readonly reject: (error: MillraceError) => void;
}

export type BatchState =
  /** Takes records. */
  | "open"
  /** Takes no more records, and has no body yet. */
  | "sealed"
  /** Its body is being compressed. */
  | "encoding"
  /** Has a body and waits to be sent, for the first time or again. */
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
   * Holds the records, and the memory of an uncompressed `body`. Undefined with a compressed one.
   */
  builder: BatchBuilder | undefined;
  /** Bytes that the batch takes of the producer's buffer. */
  bytes = 0;
  recordCount = 0;
  /** Record bytes before compression; set when the batch is sealed. */
  recordBytes = 0;
  waiters: Waiter[] = [];
  body: Buffer | undefined;
  bodyCrc = 0;
  attempts = 0;
  lastError: MillraceError | undefined;

  constructor(id: number, createdMs: number, builder: BatchBuilder) {
    this.id = id;
    this.createdMs = createdMs;
    this.builder = builder;
  }

  /** Closes an open batch. */
  seal(): void {
    if (this.state !== "open") return;
    this.state = "sealed";
    this.recordBytes = this.builder?.sizeBytes ?? 0;
  }

  /** Sets the body: the batch can be sent. */
  encoded(body: Buffer, bodyCrc: number): void {
    this.body = body;
    this.bodyCrc = bodyCrc;
    this.state = "encoded";
  }

  /** Ends the batch and releases its memory. */
  finish(): void {
    this.state = "done";
    this.builder = undefined;
    this.body = undefined;
  }
}
