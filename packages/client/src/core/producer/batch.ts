/** Batches on their way, and the queue of one partition. */
import type { MillraceError } from "@millrace/errors";
import type { BatchBuilder } from "@millrace/record";
import type { RecordMetadata } from "../types.ts";
import type { Sender } from "./sender.ts";

/** A `send` that waits for its record. */
export interface Waiter {
  /** Index of the record in its batch. */
  index: number;
  readonly timestampMs: number;
  readonly resolve: (metadata: RecordMetadata) => void;
  readonly reject: (error: MillraceError) => void;
}

/** Records of one partition that are written together. */
export interface Batch {
  readonly id: number;
  readonly createdMs: number;
  /** Gives the records, and holds the memory of an uncompressed `body`; undefined with a compressed one. */
  builder: BatchBuilder | undefined;
  /** Bytes that it takes of the producer's buffer. */
  bytes: number;
  recordCount: number;
  waiters: Waiter[];
  /** True once it takes no more records. */
  sealed: boolean;
  /** True while its body is being compressed. */
  compressing: boolean;
  body: Buffer | undefined;
  bodyCrc: number;
  attempts: number;
  lastError: MillraceError | undefined;
  /** True once the application was told how it ended. */
  done: boolean;
}

/** What the producer has for one partition. */
export class PartitionQueue {
  readonly topic: string;
  readonly partition: number;
  /** In order; only the last may be unsealed. */
  readonly batches: Batch[] = [];
  /** Sent and unanswered, in order of sending. */
  readonly inFlight: Batch[] = [];
  /** Failed and to be sent again, in order; moves to the head of `batches` once nothing is in flight. */
  retries: Batch[] = [];
  /** Rises when batches are sent again, so that the broker lets nothing overtake them. */
  orderEpoch = 1;
  /** Nothing is sent before this time (monotonic milliseconds). */
  notBeforeMs = 0;
  /** Where its batches went last. */
  sender: Sender | undefined;
  /** True while it stands in the producer's list of queues to look at. */
  listed = false;
  /** Undoes the timer that lists it again. */
  cancelTimer: (() => void) | undefined;
  timerAtMs = Number.POSITIVE_INFINITY;

  constructor(topic: string, partition: number) {
    this.topic = topic;
    this.partition = partition;
  }

  /** The batch that takes records, if there is one. */
  get open(): Batch | undefined {
    const last = this.batches.at(-1);
    return last === undefined || last.sealed ? undefined : last;
  }

  /** An answer came: true when the batch was in flight. */
  answered(batch: Batch): boolean {
    const at = this.inFlight.indexOf(batch);
    if (at >= 0) this.inFlight.splice(at, 1);
    return at >= 0;
  }

  /** Puts failed batches before all others; order of creation is order of sending. */
  requeueRetries(): void {
    if (this.inFlight.length > 0 || this.retries.length === 0) return;
    this.orderEpoch += 1;
    this.batches.unshift(...this.retries.sort((a, b) => a.id - b.id));
    this.retries = [];
  }
}
