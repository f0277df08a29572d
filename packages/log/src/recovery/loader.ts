/** Loading every partition of a data directory, after a clean stop or any other. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { TopicId } from "@millrace/record";
import type { LogManagerOptions } from "../api.ts";
import type { LogContext } from "../context.ts";
import { parsePartitionDirectory, paths } from "../files/paths.ts";
import { entryKinds } from "../journal/format.ts";
import { type JournalPlan, type PlannedEntry, planKey } from "../journal/scan.ts";
import { Partition, type PartitionOwner } from "../partition/partition.ts";
import { deletedSuffix } from "../segment/files.ts";
import { loadClean } from "./after-clean-stop.ts";
import { PartitionDamage, PartitionRecovery, type RecoveryCounts } from "./after-crash.ts";
import { readPartitionMeta, removeLeftovers, removeTree } from "./data-directory.ts";
import { keepOffline, readOfflineReason, salvage } from "./salvage.ts";

export const emptyCounts = (): RecoveryCounts => ({
  segmentBytesScanned: 0,
  entriesReplayed: 0,
  bytesCut: 0,
  indexesRebuilt: 0,
});

export interface LoaderInput {
  readonly options: LogManagerOptions;
  readonly context: LogContext;
  readonly owner: PartitionOwner;
  readonly points: ReadonlyMap<string, RecoveryPoint> | undefined;
  readonly plan: JournalPlan | undefined;
  readonly clean: boolean;
}

/** Partitions worked on at once. */
const parallel = 32;

export class PartitionLoader {
  readonly #input: LoaderInput;
  readonly counts = emptyCounts();

  constructor(input: LoaderInput) {
    this.#input = input;
  }

  /** All partitions; those that are damaged are offline. Rejects when the disk fails. */
  async loadAll(): Promise<Map<string, Partition>> {
    const { disk } = this.#input.context.env;
    const partitions = new Map<string, Partition>();
    const queue = (await disk.list(paths.partitions)).sort().reverse();
    const worker = async (): Promise<void> => {
      for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
        const loaded = await this.#loadNamed(name);
        if (loaded === undefined) continue;
        partitions.set(planKey(loaded.topicId, loaded.partition), loaded);
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    return partitions;
  }

  async #loadNamed(name: string): Promise<Partition | undefined> {
    const { disk } = this.#input.context.env;
    const directory = `${paths.partitions}/${name}`;
    if (name.endsWith(deletedSuffix)) {
      await removeTree(disk, directory);
      return undefined;
    }
    const place = parsePartitionDirectory(name);
    if (place === undefined) return undefined;
    const key = planKey(place.topicId, place.partition);
    const entries = this.#input.plan?.entries.get(key) ?? [];
    if (entries.some((entry) => entry.kind === entryKinds.deleted)) {
      await removeTree(disk, directory);
      return undefined;
    }
    return this.#load(directory, place.topicId, place.partition, entries);
  }

  async #load(
    directory: string,
    topicId: TopicId,
    index: number,
    entries: readonly PlannedEntry[],
  ): Promise<Partition | undefined> {
    const { context, options, owner, points } = this.#input;
    const { disk } = context.env;
    const meta = await readPartitionMeta(disk, directory, topicId, index, context.identity);
    if (typeof meta === "string" && entries.length === 0) {
      const names = await disk.list(directory);
      const halfMade = names.every((name) => name === "meta" || name.endsWith(".tmp"));
      if (halfMade && meta.endsWith("missing")) {
        await removeTree(disk, directory);
        return undefined;
      }
    }
    const topic = typeof meta === "string" ? topicId : meta.topic;
    const config = options.configFor(topicId, topic, index);
    const partition = new Partition(owner, topicId, topic, index, config);
    const point = points?.get(planKey(topicId, index));
    partition.lastPoint = point;
    const reason = await readOfflineReason(disk, directory);
    if (reason !== undefined || typeof meta === "string") {
      // Once the meta file is right again, nobody knows any more what the journal had.
      if (entries.length > 0) await this.#giveUp(partition, reason ?? String(meta), entries);
      else partition.takeOffline(reason ?? String(meta));
      return partition;
    }
    await removeLeftovers(disk, directory);
    await this.#recover(partition, point, entries);
    // A crash may have brought back what retention had removed.
    if (partition.state.kind === "online") await partition.dropBelowLogStart();
    return partition;
  }

  async #recover(
    partition: Partition,
    point: RecoveryPoint | undefined,
    entries: readonly PlannedEntry[],
  ): Promise<void> {
    const { context, plan, clean } = this.#input;
    try {
      if (clean && point !== undefined && (await loadClean(context, partition, point))) return;
      const damagedUpTo = plan?.damagedUpTo;
      const { counts } = this;
      const pointsKnown = this.#input.points !== undefined;
      const input = { context, partition, point, entries, damagedUpTo, pointsKnown, counts };
      await new PartitionRecovery(input).run();
    } catch (thrown) {
      const damaged =
        thrown instanceof PartitionDamage || hasCode(thrown, ErrorCode.PARTITION_OFFLINE);
      if (!damaged) throw thrown;
      await this.#giveUp(partition, thrown.message, entries);
    }
  }

  /** Offline for good: also after the next start, when the journal will have gone on. */
  async #giveUp(
    partition: Partition,
    reason: string,
    entries: readonly PlannedEntry[],
  ): Promise<void> {
    const { disk } = this.#input.context.env;
    await salvage(disk, partition.directory, entries);
    await keepOffline(disk, partition.directory, reason);
    partition.takeOffline(reason);
  }
}
