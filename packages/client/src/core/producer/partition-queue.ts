/** The batches that a producer holds for one partition. */
import type { MillraceError } from "@millrace/errors";
import type { Batch } from "./batch.ts";
import { PartitionSequences } from "./sequences.ts";

/** Where the batches of a partition go: the produce stream of its leader. */
export interface Route {
  readonly endpoint: string;
  /** Why nothing moves, if so. */
  trouble(nowMs: number): MillraceError | undefined;
  /** Why the stream broke last; undefined once it opened. */
  readonly lastError: MillraceError | undefined;
  /** Time at which the oldest unanswered request was sent; undefined when there is none. */
  readonly oldestSentMs: number | undefined;
  /** Gives up the stream. Requests without an answer fail with `error`. */
  reset(error: MillraceError): void;
}

/**
 * What the broker's refusals taught a producer about a topic. Shared by all queues of the topic.
 */
export interface TopicLimits {
  /** Largest batch of several records, in record bytes before compression. Halved when the broker
   * refuses a batch as too large. */
  batchBytesMax: number;
}

/** Batches of one partition, and the order in which they are sent. */
export class PartitionQueue {
  readonly topic: string;
  readonly partition: number;
  readonly limits: TopicLimits;
  /** In order; only the last may be open. */
  readonly batches: Batch[] = [];
  /** Sent and not answered yet, in the order of sending. */
  readonly inFlight: Batch[] = [];
  /** Failed batches to send again. They move to the head of `batches` once nothing is in flight. */
  retries: Batch[] = [];
  /** Rises when batches are sent again, so that the broker lets nothing overtake them. */
  orderEpoch = 1;
  /** A batch failed for good, and a new order epoch lets those go that come after it. */
  needsOrderEpoch = false;
  readonly sequences = new PartitionSequences();
  /** Attempts so far. */
  #sent = 0;
  /** Nothing is sent before this time (monotonic milliseconds). */
  notBeforeMs = 0;
  /** Where the last batch was sent. */
  route: Route | undefined;
  /** What the last batch that was sent required of its server. */
  requiredFeature: string | undefined;
  /** Id of the topic that the last batch was sent to. */
  topicId: Uint8Array | undefined;
  /** Consecutive looks at the metadata that showed no leader. */
  timesLeaderless = 0;
  /** Consecutive looks at the metadata that did not show the partition at all. */
  timesMissing = 0;
  /** True while the dispatcher will look at the queue at the end of the turn. */
  scheduled = false;
  /** Cancels the timer that schedules the queue again. */
  cancelTimer: (() => void) | undefined;
  timerAtMs = Number.POSITIVE_INFINITY;

  constructor(topic: string, partition: number, limits: TopicLimits) {
    this.topic = topic;
    this.partition = partition;
    this.limits = limits;
  }

  /** `host:port` of the broker that got the last batch. */
  get ledBy(): string | undefined {
    return this.route?.endpoint;
  }

  /** The batch that takes records, if there is one. */
  get open(): Batch | undefined {
    const last = this.batches.at(-1);
    return last?.state === "open" ? last : undefined;
  }

  /** The batch was sent. */
  sent(batch: Batch, topicId: Uint8Array): void {
    this.topicId = topicId;
    this.requiredFeature = batch.requiredFeature;
    batch.refused = false;
    batch.sentNumber = this.#sent;
    this.#sent += 1;
    batch.state = "in_flight";
    batch.attempts += 1;
    this.inFlight.push(batch);
  }

  /**
   * The broker refused the batch without side effects, and by the order epoch those that were sent
   * after it, or will. Those before it may be written: their answers can come later.
   */
  refusedFrom({ sentNumber }: Batch): void {
    for (const one of this.inFlight) one.refused ||= one.sentNumber >= sentNumber;
  }

  /** The batch was answered, or its stream is lost. */
  answered(batch: Batch): void {
    const at = this.inFlight.indexOf(batch);
    if (at >= 0) this.inFlight.splice(at, 1);
    if (batch.state === "in_flight") batch.state = "encoded";
  }

  /** Gives all batches other sequences. None of them is in flight, or may have been written. */
  renumber(): void {
    for (const batch of this.batches) {
      if (!batch.maybeWritten) batch.unstamp();
    }
    this.sequences.renew();
  }

  /** Puts failed batches before all others once nothing is in flight. */
  requeueRetries(): void {
    if (this.inFlight.length > 0) return;
    if (this.retries.length === 0 && !this.needsOrderEpoch) return;
    this.needsOrderEpoch = false;
    this.orderEpoch += 1;
    // In the order of their sequences, however they were answered.
    this.batches.unshift(...this.retries.sort((a, b) => a.sentNumber - b.sentNumber));
    this.retries = [];
  }
}
