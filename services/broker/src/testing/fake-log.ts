/** A partition's log that a test moves on: nothing is stored before it says so. */
import { silentLogger } from "@millrace/env";
import type { MillraceError } from "@millrace/errors";
import type {
  AppendBatch,
  AppendDone,
  LogConfig,
  PartitionLog,
  PartitionState,
  RecoveryReport,
} from "@millrace/log";
import type { TopicId } from "@millrace/record";
import { EpochFloors } from "../partitions/epoch-floors.ts";
import { topicOf } from "./fake-view.ts";

interface Held {
  readonly lastOffset: number;
  readonly done: AppendDone;
}

type Cut = { readonly offset: number } & PromiseWithResolvers<void>;

type PartitionName = Pick<PartitionLog, "topicId" | "topic" | "partition">;

const firstOfT: PartitionName = { topicId: topicOf("t", []).id, topic: "t", partition: 0 };

/** Of a data directory that was closed cleanly. */
export const noFloors = new EpochFloors(silentLogger, {
  recovery: { clean: true } as RecoveryReport,
  partitions: () => [],
});

/** Takes batches of one record, unless `info.lastOffsetDelta` says otherwise. */
export class FakeLog {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
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
  /** Of the batches that were appended: whether this broker gave them their timestamps. */
  readonly ownTimes: boolean[] = [];
  /** The next append repeats the batch that ends at this offset. */
  duplicateOf: number | undefined;
  /** Calls of `becomeLeader` that wait for the test; undefined: they do not wait. */
  takeovers: PromiseWithResolvers<void>[] | undefined;
  /** Leader epoch of the last batch. */
  lastEpoch = 0;
  /** Calls of `truncateTo`, and of `advanceLogStart`, which wait for the test. */
  readonly cuts: Cut[] = [];
  readonly starts: Cut[] = [];
  /** What the next `appendReplicated` fails with. */
  refusal: MillraceError | undefined;
  readonly #listeners = new Set<() => void>();
  #held: Held[] = [];

  /** Default: of partition 0 of `topicOf("t", …)`. */
  constructor(endOffset = 0, highWatermark = endOffset, of: PartitionName = firstOfT) {
    this.topicId = of.topicId;
    this.topic = of.topic;
    this.partition = of.partition;
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

  append(batch: AppendBatch, epoch: number, done: AppendDone) {
    const { body, info, ownTime = false } = batch;
    // As the real one: it refuses what only a batch that it has may pass.
    if (this.duplicateOf === undefined) void batch.bodyCrc;
    this.ownTimes.push(ownTime);
    this.appended.push({ epoch, bytes: body.length });
    const duplicate = this.duplicateOf !== undefined;
    const baseOffset = this.duplicateOf ?? this.logEndOffset;
    this.duplicateOf = undefined;
    const lastOffset = baseOffset + info.lastOffsetDelta;
    if (!duplicate) this.logEndOffset = lastOffset + 1;
    this.#held.push({ lastOffset, done });
    return { baseOffset, lastOffset, appendTimeMs: 1, duplicate };
  }

  epochOfOffset(): number {
    return this.lastEpoch;
  }

  endOffsetForEpoch(leaderEpoch: number) {
    return { leaderEpoch, endOffset: this.logEndOffset };
  }

  /** A chunk is a batch of one record. */
  appendReplicated(chunk: Uint8Array, epoch: number, done: AppendDone): void {
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal !== undefined) throw refusal;
    this.appended.push({ epoch, bytes: chunk.length });
    this.#held.push({ lastOffset: this.logEndOffset, done });
    this.logEndOffset += 1;
  }

  async truncateTo(offset: number): Promise<void> {
    const cut = { offset, ...Promise.withResolvers<void>() };
    this.cuts.push(cut);
    await cut.promise;
    this.logEndOffset = Math.min(this.logEndOffset, offset);
    this.ackedEndOffset = this.logEndOffset;
    this.leaderEpoch = Math.min(this.leaderEpoch, this.lastEpoch);
  }

  async advanceLogStart(offset: number): Promise<void> {
    const start = { offset, ...Promise.withResolvers<void>() };
    this.starts.push(start);
    await start.promise;
    this.logStartOffset = offset;
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
