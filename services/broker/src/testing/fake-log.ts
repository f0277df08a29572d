/** A partition's log that a test moves on: nothing is stored before it says so. */
import type {
  AppendBatch,
  AppendDone,
  LogConfig,
  PartitionLog,
  PartitionState,
} from "@millrace/log";

interface Held {
  readonly lastOffset: number;
  readonly done: AppendDone;
}

/** Takes batches of one record, unless `info.lastOffsetDelta` says otherwise. */
export class FakeLog {
  state: PartitionState = { kind: "online" };
  logStartOffset = 0;
  logEndOffset: number;
  ackedEndOffset: number;
  highWatermark: number;
  leaderEpoch = 0;
  readonly sizeBytes = 0;
  readonly segmentCount = 1;
  /** Leader epochs that were recorded, in order. */
  readonly epochs: number[] = [];
  readonly configs: LogConfig[] = [];
  /** Epochs and sizes of the batches that were appended. */
  readonly appended: { readonly epoch: number; readonly bytes: number }[] = [];
  /** The next append repeats the batch that ends at this offset. */
  duplicateOf: number | undefined;
  /** Calls of `becomeLeader` that wait for the test; undefined: they do not wait. */
  takeovers: PromiseWithResolvers<void>[] | undefined;
  readonly #listeners = new Set<() => void>();
  #held: Held[] = [];

  constructor(endOffset = 0, highWatermark = endOffset) {
    this.logEndOffset = endOffset;
    this.ackedEndOffset = endOffset;
    this.highWatermark = highWatermark;
  }

  asLog(): PartitionLog {
    return this as unknown as PartitionLog;
  }

  onProgress(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get config(): LogConfig | undefined {
    return this.configs.at(-1);
  }

  updateConfig(config: LogConfig): void {
    this.configs.push(config);
  }

  updateHighWatermark(offset: number): void {
    if (offset <= this.highWatermark) return;
    this.highWatermark = offset;
    this.notify();
  }

  async becomeLeader(epoch: number): Promise<void> {
    if (this.takeovers !== undefined) {
      const takeover = Promise.withResolvers<void>();
      this.takeovers.push(takeover);
      await takeover.promise;
    }
    this.epochs.push(epoch);
    this.leaderEpoch = epoch;
  }

  append({ body, info }: AppendBatch, epoch: number, done: AppendDone) {
    this.appended.push({ epoch, bytes: body.length });
    const duplicate = this.duplicateOf !== undefined;
    const baseOffset = this.duplicateOf ?? this.logEndOffset;
    this.duplicateOf = undefined;
    const lastOffset = baseOffset + info.lastOffsetDelta;
    if (!duplicate) this.logEndOffset = lastOffset + 1;
    this.#held.push({ lastOffset, done });
    return { baseOffset, lastOffset, appendTimeMs: 1, duplicate };
  }

  /** The first `count` batches that wait are stored: one round of the journal. */
  commit(count = this.#held.length): void {
    for (const { done, lastOffset } of this.#held.splice(0, count)) {
      this.ackedEndOffset = Math.max(this.ackedEndOffset, lastOffset + 1);
      done(undefined);
    }
    this.notify();
  }

  /** The disk fails everything that waits. */
  failAppends(error: Error): void {
    for (const { done } of this.#held.splice(0)) done(error);
  }

  /** Stored and failed appends are told by the log; here by the test. */
  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  become(state: PartitionState): void {
    this.state = state;
    this.notify();
  }
}
