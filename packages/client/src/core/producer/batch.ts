/** A batch on its way from the first record to the acknowledgement. */
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
  /** Sent and not answered. */
  | "in_flight"
  /** Too large for its topic: being taken apart into smaller batches. */
  | "splitting"
  /** The application was told how it ended, or smaller batches took its place. */
  | "done";

/** Records of one partition that are written together. */
export class Batch {
  /** Order of creation, which is the order of sending. The parts of a batch that was split share its id. */
  readonly id: number;
  readonly createdMs: number;
  state: BatchState = "open";
  /** Holds the records, and the memory of an uncompressed `body`. Undefined with a compressed one. */
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

  /** From now on the batch takes no records. */
  seal(): void {
    if (this.state !== "open") return;
    this.state = "sealed";
    this.recordBytes = this.builder?.sizeBytes ?? 0;
  }

  /** The batch has its body. */
  encoded(body: Buffer, bodyCrc: number): void {
    this.body = body;
    this.bodyCrc = bodyCrc;
    this.state = "encoded";
  }

  /** Ends the batch and lets go of its memory. */
  finish(): void {
    this.state = "done";
    this.builder = undefined;
    this.body = undefined;
  }
}
