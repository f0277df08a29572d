/** What recovery knows of a partition's leader epochs: by their file, else by point or segments. */
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { epochsOf, hasEpochs, readEpochs } from "../partition/epochs-file.ts";
import type { EpochEntry } from "../partition/leader-epochs.ts";
import type { Partition } from "../partition/partition.ts";
import type { ScannedBatch } from "../segment/batch-scanner.ts";
import { PartitionDamage } from "./types.ts";

/** Shows the batches of the segments up to where recovery begins, until `take` returns false. */
export type Batches = (take: (batch: ScannedBatch) => boolean) => Promise<void>;

export class RecoveredEpochs {
  readonly #context: SegmentContext;
  readonly #partition: Partition;
  /** Of the file, which may be newer than the recovery point: they began behind it. */
  #behind: readonly EpochEntry[] = [];

  constructor(context: SegmentContext, partition: Partition) {
    this.#context = context;
    this.#partition = partition;
  }

  /** Makes the epochs what is known as of `end`. Throws PartitionDamage. */
  async load(point: RecoveryPoint | undefined, end: number, batches: Batches): Promise<void> {
    const { epochs } = this.#partition;
    const known = await readEpochs(this.#context, this.#partition.directory);
    if (known === undefined && point?.leaderEpochs !== undefined) {
      epochs.load(epochsOf(point.leaderEpochs).filter((entry) => entry.startOffset <= end));
      epochs.durability.changed();
      return;
    }
    if (known === undefined) {
      await this.#loadFromBatches(point, end, batches);
      return;
    }
    epochs.load(known.filter((entry) => entry.startOffset <= end));
    this.#behind = known.filter((entry) => entry.startOffset > end);
    // The file of most partitions stays as it is: ten thousand of them need not be written again.
    if (this.#behind.length > 0) epochs.durability.changed();
  }

  async #loadFromBatches(
    point: RecoveryPoint | undefined,
    end: number,
    batches: Batches,
  ): Promise<void> {
    const { directory, epochs } = this.#partition;
    // The file may only be unreadable now. Left as it is, it comes back with epochs that a
    // truncation cut off.
    if (await hasEpochs(this.#context, directory)) epochs.durability.changed();
    await batches(({ header: { leaderEpoch, baseOffset } }) => {
      const last = epochs.entries.at(-1);
      if (last !== undefined && (leaderEpoch < last.leaderEpoch || baseOffset < last.startOffset))
        throw new PartitionDamage(`${directory}: epochs or offsets fall at ${baseOffset}`);
      epochs.assign(leaderEpoch, baseOffset);
      return true;
    });
    // An epoch without records is in no segment.
    const { leaderEpoch = 0, leaderEpochStart = 0n } = point ?? {};
    if (leaderEpoch > epochs.latest && Number(leaderEpochStart) <= end) {
      epochs.assign(leaderEpoch, Math.max(Number(leaderEpochStart), epochs.latestStart ?? 0));
    }
  }

  /** The log was cut at `offset`: epochs that began there or later never were. */
  truncate(offset: number): void {
    this.#partition.epochs.truncateFromEnd(offset);
    this.#behind = this.#behind.filter((entry) => entry.startOffset < offset);
  }

  /** The journal has the beginning of an epoch. The file may know it, and its successors. */
  begin(leaderEpoch: number, offset: number): void {
    const { epochs } = this.#partition;
    if (leaderEpoch <= epochs.latest) return;
    epochs.assign(leaderEpoch, Math.max(epochs.latestStart ?? 0, offset));
  }

  /**
   * Everything up to `offset` is deleted: the file alone knows who led the log there. It was
   * written when the log start had passed the epochs that it does not have any more.
   */
  goOnAt(offset: number): void {
    for (const { leaderEpoch, startOffset } of this.#behind) {
      if (startOffset <= offset) this.#partition.epochs.remember(leaderEpoch, startOffset);
    }
  }
}
