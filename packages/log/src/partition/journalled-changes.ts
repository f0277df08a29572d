/** Hands the changes of one partition to the commit loop. */
import type { TopicId } from "@millrace/record";
import type { AppendDone } from "../api.ts";
import { bugs } from "../bugs.ts";
import type { LogContext } from "../context.ts";
import type { CommitTarget } from "../journal/commit-loop.ts";
import type { JournalChange } from "../journal/format.ts";
import type { SegmentWrite } from "../segment/writer.ts";

/** What the commit loop must know of a partition. */
export interface ChangeTarget extends CommitTarget {
  readonly topicId: TopicId;
  readonly partition: number;
}

export class JournalledChanges {
  readonly #context: LogContext;
  readonly #target: ChangeTarget;
  readonly #onThrown: (thrown: unknown) => void;

  /** `onThrown`: a callback threw. A mistake of the caller's is not a failure of the disk. */
  constructor(context: LogContext, target: ChangeTarget, onThrown: (thrown: unknown) => void) {
    this.#context = context;
    this.#target = target;
    this.#onThrown = onThrown;
  }

  /**
   * A batch: bytes for its segment and, if `headerCrc` is given, for the journal. `apply` runs once
   * it counts, right before `done`.
   */
  batch(
    write: SegmentWrite,
    offset: number,
    headerCrc: number | undefined,
    apply: () => void,
    done: AppendDone,
  ): void {
    const { topicId, partition } = this.#target;
    const { chunks: payload, bytes: payloadBytes, held } = write;
    const journalled = headerCrc === undefined ? undefined : held;
    // The segment's writer lets go once, the journal once.
    held?.hold();
    journalled?.hold();
    this.#context.committer.add({
      target: this.#target,
      write,
      ...(headerCrc === undefined
        ? {}
        : {
            entry: { kind: "batch", offset, headerCrc, topicId, partition, payload, payloadBytes },
          }),
      complete: () => {
        journalled?.release();
        apply();
        this.#finish(done, undefined);
      },
      fail: (error) => this.#finish(done, error),
    });
  }

  /** `done` runs once everything that was queued before counts. */
  markerFor(done: AppendDone): void {
    this.#context.committer.add({
      target: this.#target,
      complete: () => this.#finish(done, undefined),
      fail: (error) => this.#finish(done, error),
    });
  }

  /** Resolves once everything that was queued before counts. */
  marker(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.markerFor((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /**
   * Journals a change that is no batch. `apply` runs once the journal has it, before anything else
   * of the partition counts.
   */
  record(change: JournalChange, apply: () => void = () => {}): Promise<void> {
    const { topicId, partition } = this.#target;
    const entry = { ...change, topicId, partition, payload: [], payloadBytes: 0 };
    const unjournalled = change.kind === "truncate" && bugs.truncationNotJournalled;
    return new Promise((resolve, reject) => {
      this.#context.committer.add({
        target: this.#target,
        ...(unjournalled ? {} : { entry }),
        complete: () => {
          apply();
          resolve();
        },
        fail: reject,
      });
    });
  }

  /**
   * A truncation to the batch at `offset`. `kept`, the last offset below the log start, may lie in
   * that batch: its epoch led the log up to there and stays known. It is journalled in the same
   * round, because replay takes it back with the batch.
   */
  async truncation(
    offset: number,
    kept: number,
    leaderEpoch: number,
    apply: () => void,
  ): Promise<void> {
    const changes = [this.record({ kind: "truncate", offset }, apply)];
    if (offset <= kept && leaderEpoch > 0)
      changes.push(this.record({ kind: "epochStart", offset: kept, leaderEpoch }));
    await Promise.all(changes);
  }

  #finish(done: AppendDone, error: Error | undefined): void {
    try {
      done(error);
    } catch (thrown) {
      this.#onThrown(thrown);
    }
  }
}
