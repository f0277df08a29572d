/** One append on its way: the log may have it, the client has no answer yet. */
import type { Clock } from "@millrace/env";
import { MillraceError, must } from "@millrace/errors";
import type { Appended, PartitionLog } from "@millrace/log";
import { Acks, Guarantee } from "@millrace/proto/common";
import type { RecordKeys } from "@millrace/record";
import type { BrokerMetrics } from "../metrics.ts";
import type { Append } from "../partitions/leader.ts";
import type { PartitionMeter } from "../topic-meters.ts";

/** The result of an acknowledged append. */
export interface AppendOutcome {
  readonly baseOffset: number;
  readonly appendTimeMs: number;
  readonly logStartOffset: number;
  readonly guarantee: Guarantee;
  readonly duplicate: boolean;
}

export type AppendResult = AppendOutcome | { readonly error: MillraceError };

/** Called once per append; per partition and acks, in append order. */
export type AppendCallback = (result: AppendResult) => void;

/** Order of the requests of one stream; see ProduceRequest.order_epoch. */
export interface AppendOrder {
  /** Throws PRECEDING_REQUEST_FAILED. */
  check(): void;
  /** The request failed: later ones of its partition must not be appended. */
  failed(): void;
}

const guaranteeOf = (log: PartitionLog, acks: Acks): Guarantee => {
  if (acks === Acks.NONE) return Guarantee.RECEIVED;
  const synced = log.config.flushPolicy === "commit";
  if (acks === Acks.LEADER) return synced ? Guarantee.FSYNCED_LEADER : Guarantee.WRITTEN_LEADER;
  return synced ? Guarantee.FSYNCED_QUORUM : Guarantee.WRITTEN_QUORUM;
};

/** What a request asks of its append. */
export interface AppendConditions {
  /** Checked at the moment of the append: an earlier failure on the stream may forbid it. */
  readonly order?: AppendOrder | undefined;
  /** Where the log must end at that moment; see ProduceRequest.expected_end_offset. */
  readonly expectedEndOffset?: number | undefined;
  /** Last record of the key at that moment; see ProduceRequest.expected_last_offset_for_key. */
  readonly expectedLastOffsetForKey?: number | undefined;
}

/** One object per append, and no closures: this is the hottest path of the broker. */
export class PendingAppend implements Append {
  readonly acks: Acks;
  readonly order: AppendOrder | undefined;
  readonly expectedEndOffset: number | undefined;
  readonly expectedLastOffsetForKey: number | undefined;
  keys: RecordKeys | undefined;
  readonly #clock: Clock;
  readonly #metrics: BrokerMetrics;
  readonly #done: AppendCallback;
  readonly #startedMs: number;
  /** Of its partition, once that is known. */
  meter: PartitionMeter | undefined;
  #log: PartitionLog | undefined;
  #appended: Appended | undefined;
  lastOffset = -1;
  failure: Error | undefined;

  constructor(
    context: { readonly clock: Clock; readonly metrics: BrokerMetrics },
    { order, expectedEndOffset, expectedLastOffsetForKey }: AppendConditions,
    acks: Acks,
    done: AppendCallback,
  ) {
    this.acks = acks;
    this.order = order;
    this.expectedEndOffset = expectedEndOffset;
    this.expectedLastOffsetForKey = expectedLastOffsetForKey;
    this.keys = undefined;
    this.#clock = context.clock;
    this.#metrics = context.metrics;
    this.#done = done;
    this.#startedMs = context.clock.monoMs();
  }

  /** The log has taken it, and had it not before. */
  get isNew(): boolean {
    return this.#appended?.duplicate === false;
  }

  accepted(log: PartitionLog, appended: Appended): void {
    this.#log = log;
    this.#appended = appended;
    this.lastOffset = appended.lastOffset;
  }

  refused(): void {
    this.order?.failed();
  }

  /** It was refused, or failed before it reached the log: answered in a later turn. */
  refuse(thrown: unknown): void {
    const error = MillraceError.from(thrown);
    this.order?.failed();
    this.#clock.defer(() => this.settle(error));
  }

  settle(failure: Error | undefined): void {
    const error = failure === undefined ? undefined : MillraceError.from(failure);
    // Also of one that the log had: its retry must not come behind later requests.
    if (error !== undefined) this.order?.failed();
    if (error !== undefined) this.meter?.onError();
    this.#metrics.onProduce(this.#clock.monoMs() - this.#startedMs, error);
    this.#done(error === undefined ? this.#outcome() : { error });
  }

  #outcome(): AppendOutcome {
    const log = must(this.#log, "log of an accepted append");
    const { baseOffset, appendTimeMs, duplicate } = must(this.#appended, "accepted append");
    const { logStartOffset } = log;
    const guarantee = guaranteeOf(log, this.acks);
    return { baseOffset, appendTimeMs, logStartOffset, guarantee, duplicate };
  }
}
