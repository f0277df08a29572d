/**
 * The appends of one leader epoch that wait for their acknowledgement, in append order.
 *
 * They hold no batch: the log has that, and the answer is what is left. Each counts in the window
 * of its produce stream, or as one unary call, until it is answered, so those bound how many there
 * are: followers that are slow make producers slow. `millrace_log_high_watermark_lag_messages`
 * counts their records.
 */
import { Acks } from "@millrace/proto/common";
import { Ring } from "../ring.ts";

/** An append that the log has accepted, and that nobody has answered. */
export interface WaitingAppend {
  /** All or leader. */
  readonly acks: Acks;
  /** Offset of the last record. */
  readonly lastOffset: number;
  /** Why the log failed it. */
  failure: Error | undefined;
  /** Answers it. Called once; `error` is undefined once it has what its acks ask for. */
  settle(error: Error | undefined): void;
}

export class Acknowledgements {
  /** Acks all: answered at the high watermark. */
  readonly #replicated = new Ring<WaitingAppend>();
  /** Acks leader: answered once this replica has it. */
  readonly #local = new Ring<WaitingAppend>();
  #highWatermark = 0;

  get size(): number {
    return this.#replicated.size + this.#local.size;
  }

  /** Call it in the synchronous section of the append. */
  add(append: WaitingAppend): void {
    if (append.acks === Acks.ALL) this.#replicated.push(append);
    else this.#local.push(append);
  }

  /** The log's callback for an append: this replica has it, or never will. */
  stored(append: WaitingAppend, error: Error | undefined): void {
    if (append.acks === Acks.ALL) {
      if (error === undefined) return;
      append.failure = error;
      this.passed(this.#highWatermark);
    } else if (this.#local.peek() === append) {
      // Not the oldest: `failAll` has answered it.
      this.#local.shift();
      append.settle(error);
    }
  }

  /** The high watermark is here: answers those below it, and those that failed in between. */
  passed(highWatermark: number): void {
    this.#highWatermark = highWatermark;
    for (;;) {
      const append = this.#replicated.peek();
      if (append === undefined) return;
      if (append.failure === undefined && append.lastOffset >= highWatermark) return;
      this.#replicated.shift();
      append.settle(append.failure);
    }
  }

  /** The leadership is over: answers all of them. */
  failAll(error: Error): void {
    for (const ring of [this.#local, this.#replicated]) {
      for (let append = ring.shift(); append !== undefined; append = ring.shift()) {
        append.settle(append.failure ?? error);
      }
    }
  }
}
