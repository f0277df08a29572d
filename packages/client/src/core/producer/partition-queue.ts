/** What a producer has for one partition. */
import type { MillraceError } from "@millrace/errors";
import type { Batch } from "./batch.ts";

/** Where the batches of a partition go: the produce stream of its leader. */
export interface Route {
  readonly endpoint: string;
  /** Why the stream broke last; undefined once it opened. */
  readonly lastError: MillraceError | undefined;
  /** Gives up the stream; what is unanswered fails with `error`. */
  reset(error: MillraceError): void;
}

/** What a producer has learnt of a topic; all queues of the topic share it. */
export interface TopicLimits {
  /** Record bytes of a batch of several records, before compression. Falls when the broker refuses
   * batches as too large. */
  batchBytesMax: number;
}

/** Batches of one partition, and the order in which they are sent. */
export class PartitionQueue {
  readonly topic: string;
  readonly partition: number;
  readonly limits: TopicLimits;
  /** In order; only the last may be open. */
  readonly batches: Batch[] = [];
  /** Sent and unanswered, in order of sending. */
  readonly inFlight: Batch[] = [];
  /** Failed and to be sent again; moves to the head of `batches` once nothing is in flight. */
  retries: Batch[] = [];
  /** Rises when batches are sent again, so that the broker lets nothing overtake them. */
  orderEpoch = 1;
  /** Nothing is sent before this time (monotonic milliseconds). */
  notBeforeMs = 0;
  /** Where its batches went last. */
  route: Route | undefined;
  /** Looks at the metadata in a row that showed no leader. */
  timesLeaderless = 0;
  /** Of these, in a row, that did not show the partition at all. */
  timesMissing = 0;
  /** True while the dispatcher has it on its list for the end of the turn. */
  scheduled = false;
  /** Undoes the timer that schedules it again. */
  cancelTimer: (() => void) | undefined;
  timerAtMs = Number.POSITIVE_INFINITY;

  constructor(topic: string, partition: number, limits: TopicLimits) {
    this.topic = topic;
    this.partition = partition;
    this.limits = limits;
  }

  /** The batch that takes records, if there is one. */
  get open(): Batch | undefined {
    const last = this.batches.at(-1);
    return last?.state === "open" ? last : undefined;
  }

  /** The batch was sent. */
  sent(batch: Batch): void {
    batch.state = "in_flight";
    batch.attempts += 1;
    this.inFlight.push(batch);
  }

  /** The batch was answered, or its stream is lost. */
  answered(batch: Batch): void {
    const at = this.inFlight.indexOf(batch);
    if (at >= 0) this.inFlight.splice(at, 1);
    if (batch.state === "in_flight") batch.state = "encoded";
  }

  /** Puts failed batches before all others once nothing is in flight. */
  requeueRetries(): void {
    if (this.inFlight.length > 0 || this.retries.length === 0) return;
    this.orderEpoch += 1;
    // The sort is stable: parts of one batch, which share its id, stay in the order of their failures.
    this.batches.unshift(...this.retries.sort((a, b) => a.id - b.id));
    this.retries = [];
  }
}
