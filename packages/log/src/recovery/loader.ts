/** Loading every partition of a data directory, after a clean stop or any other. */
import { clone } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  type PartitionMeta,
  type RecoveryPoint,
  RecoveryPointSchema,
} from "@millrace/proto/storage";
import type { TopicId } from "@millrace/record";
import type { LogManagerOptions } from "../api.ts";
import type { LogContext } from "../context.ts";
import { isPassing, isProgrammingError, storageError } from "../files/disk-errors.ts";
import { keepOffline, readOfflineReason } from "../files/offline-file.ts";
import { parsePartitionDirectory, partitionDirectory, paths } from "../files/paths.ts";
import { type JournalPlan, type PlannedEntry, parsePlanKey, planKey } from "../journal/scan.ts";
import { Partition } from "../partition/partition.ts";
import type { Life, PartitionOwner } from "../partition/types.ts";
import { deletedSuffix } from "../segment/files.ts";
import { loadClean } from "./after-clean-stop.ts";
import { PartitionRecovery } from "./after-crash.ts";
import { dropOldLog, type Known, sinceReset } from "./began-anew.ts";
import { damageAfter, entriesAfter, entriesOfLife, finalLogStart, pointOfLife } from "./begin.ts";
import { loadCleaned, pointOfCleaning } from "./cleaned.ts";
import {
  adoptPartition,
  isForeign,
  readPartitionMeta,
  removeLeftovers,
  removePartition,
} from "./data-directory.ts";
import { deletionOf, lossOf } from "./recovery-points.ts";
import { salvage } from "./salvage.ts";
import { syncSegments } from "./segment-io.ts";
import { JournalUnreadable, missing, PartitionDamage, type RecoveryCounts } from "./types.ts";

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
  readonly points: ReadonlyMap<string, RecoveryPoint>;
  readonly plan: JournalPlan | undefined;
  readonly clean: boolean;
  /** Last journal round that the recovery points reflect as a whole. */
  readonly coveredRound: number;
  /** Neither the recovery points nor their copy can be believed. */
  readonly pointsLost: boolean;
}

/** A partition's directory, and what recovery points and journal know of its present life. */
interface Place extends Known {
  readonly directory: string;
  readonly topic: string;
}

/**
 * The life of a directory whose meta file cannot be read, or that is lost: everything is about it.
 */
const unknownLife: Life = { incarnation: 0n, firstRound: 0 };

/** Partitions worked on at once. */
const parallel = 32;

export class PartitionLoader {
  readonly #input: LoaderInput;
  readonly counts = emptyCounts();
  /**
   * Directories of deleted partitions. They say that nothing is lost, so they go only once the
   * recovery points do not name those partitions any more.
   */
  readonly leftovers: string[] = [];
  /** First journal round of the newest life: no round before it may be written any more. */
  firstRoundMax = 0;
  /** Deletions that are still to be finished. */
  readonly deletions = new Map<string, RecoveryPoint>();

  /** Directories that came from elsewhere: the journal, whole or not, is not about them. */
  readonly #adopted = new Set<string>();

  constructor(input: LoaderInput) {
    this.#input = input;
  }

  /** All partitions; those that are damaged are offline. Rejects when the disk fails as a whole. */
  async loadAll(): Promise<Map<string, Partition>> {
    const { disk } = this.#input.context.env;
    const partitions = new Map<string, Partition>();
    const names = await disk.list(paths.partitions);
    const asides = asidesOf(names);
    const queue = [...names].sort().reverse();
    const worker = async (): Promise<void> => {
      for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
        const loaded = await this.#loadNamed(name, asides.get(name) ?? []);
        if (loaded === undefined) continue;
        partitions.set(planKey(loaded.topicId, loaded.partition), loaded);
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: parallel }, worker));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    for (const lost of await this.#lost(new Set(names), asides)) {
      partitions.set(planKey(lost.topicId, lost.partition), lost);
    }
    return partitions;
  }

  /** `asides`: directories of its deleted lives that are still there. */
  async #loadNamed(name: string, asides: readonly string[]): Promise<Partition | undefined> {
    const { context, plan, points } = this.#input;
    const { disk } = context.env;
    const directory = `${paths.partitions}/${name}`;
    if (name.endsWith(deletedSuffix)) {
      this.leftovers.push(directory);
      return undefined;
    }
    const id = parsePartitionDirectory(name);
    if (id === undefined) return undefined;
    const key = planKey(id.topicId, id.partition);
    const point = points.get(key);
    const entries = plan?.entries.get(key) ?? [];
    let meta: PartitionMeta | string;
    try {
      meta = await readPartitionMeta(disk, directory, id.topicId, id.partition, context.identity);
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      const place = placeOfUnknownLife(id, directory, point, entries);
      return this.#unreadable(place, `its meta file cannot be read: ${textOf(thrown)}`);
    }
    if (typeof meta === "string") {
      const place = placeOfUnknownLife(id, directory, point, entries);
      const halfMade = meta.endsWith("missing") && (await this.#isHalfMade(directory));
      if (halfMade && !(await this.#isLoss(placeOfLost(id, directory, point, entries), asides))) {
        await this.#finishDeletion(place);
        return undefined;
      }
      return this.#offline(place, meta);
    }
    meta = await this.#own(directory, meta);
    const life = { incarnation: meta.incarnation, firstRound: Number(meta.firstRound) };
    this.firstRoundMax = Math.max(this.firstRoundMax, life.firstRound);
    const lost = this.#input.pointsLost;
    const known = lost
      ? await pointOfCleaning(disk, directory, { ...id, life })
      : pointOfLife(point, life);
    const place: Place = sinceReset({
      ...id,
      directory,
      topic: meta.topic,
      life,
      point: known,
      entries: entriesAfter(entriesOfLife(entries, life), known),
      beganAnew: false,
    });
    if (isDeleted(place)) {
      await this.#finishDeletion(place);
      return undefined;
    }
    return this.#load(place);
  }

  /** One that was made elsewhere, a replica's or a backup's, is made ours. */
  async #own(directory: string, meta: PartitionMeta): Promise<PartitionMeta> {
    const { context, coveredRound, plan } = this.#input;
    const { directoryId, env } = context;
    if (!isForeign(meta, directoryId)) return meta;
    const text = "a partition's directory comes from elsewhere: the journal says nothing of it";
    env.logger.warn({ directory }, text);
    const firstRound = Math.max(plan?.lastRound ?? 0, coveredRound) + 1;
    this.#adopted.add(directory);
    return adoptPartition(env, directoryId, directory, meta, firstRound);
  }

  /**
   * Removes the directory of a deleted partition. Where that fails, the recovery points remember
   * the deletion until it has succeeded.
   */
  async #finishDeletion({ topicId, partition, life, directory }: Place): Promise<void> {
    const { disk, logger } = this.#input.context.env;
    try {
      await removePartition(disk, directory, life.incarnation);
    } catch (thrown) {
      logger.error({ directory, err: thrown }, "a deleted partition cannot be removed yet");
      this.deletions.set(planKey(topicId, partition), deletionOf(topicId, partition, life));
    }
  }

  /** A directory whose making a crash ended. Nothing can have been appended to it. */
  async #isHalfMade(directory: string): Promise<boolean> {
    const names = await this.#input.context.env.disk.list(directory);
    return names.every((name) => name === "meta" || name.endsWith(".tmp"));
  }

  async #load(place: Place): Promise<Partition> {
    const { context } = this.#input;
    const { disk } = context.env;
    const { directory, point } = place;
    const undropped = await this.#dropOldLog(place);
    const names = await this.#namesIn(directory);
    if (typeof names === "string") {
      // A reset that is not finished must not be forgotten over that.
      return undropped === undefined
        ? this.#unreadable(place, names)
        : this.#offline(place, undropped);
    }
    const reason = (await this.#offlineReason(place, names)) ?? undropped;
    if (reason !== undefined) return this.#offline(place, reason);
    const partition = this.#make(place);
    keepPoint(partition, point);
    if (place.beganAnew) partition.epochs.durability.changed();
    try {
      await removeLeftovers(disk, directory, names);
      await this.#recover(partition, place, names);
      await loadCleaned(disk, partition, place, names);
      const first = partition.segments[0]?.baseOffset ?? 0;
      if (first > partition.logStartOffset)
        throw missing(partition.logStartOffset, first, "no file");
      // A crash may have brought back what retention had removed.
      await partition.dropBelowLogStart();
      return partition;
    } catch (thrown) {
      // No room, or no descriptors, says nothing about the partition: the start is tried again.
      if (isPassing(thrown)) throw thrown;
      // To take the partition offline for good would free what the journal has of it.
      if (thrown instanceof JournalUnreadable) {
        throw storageError("the commit journal cannot be read", thrown.cause);
      }
      const damaged =
        thrown instanceof PartitionDamage || hasCode(thrown, ErrorCode.PARTITION_OFFLINE);
      if (damaged) return this.#offline(place, textOf(thrown));
      // A failed fsync says nothing about the partition either, and the directory does not open.
      if (context.committer.failure !== undefined) throw thrown;
      if (isProgrammingError(thrown)) {
        context.env.logger.error({ directory, err: thrown }, "a mistake in recovery");
      }
      return this.#unreadable(place, `it cannot be recovered: ${textOf(thrown)}`);
    }
  }

  /** The names in a directory, or why they cannot be read. */
  async #namesIn(directory: string): Promise<ReadonlySet<string> | string> {
    try {
      return new Set(await this.#input.context.env.disk.list(directory));
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      return `its directory cannot be read: ${textOf(thrown)}`;
    }
  }

  /** Finishes a reset that the journal has. Returns why it cannot. */
  async #dropOldLog(place: Place): Promise<string | undefined> {
    // What is damaged says nothing for sure.
    if (!place.beganAnew || this.#damageOf(place) !== undefined) return undefined;
    const { context, pointsLost } = this.#input;
    try {
      await dropOldLog(context.env.disk, place.directory, place, pointsLost);
      return undefined;
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      return thrown instanceof PartitionDamage
        ? thrown.message
        : `it cannot begin anew: ${textOf(thrown)}`;
    }
  }

  /**
   * The disk did not give what is there. Where the journal has nothing of the partition and has
   * lost nothing, nothing is lost when it moves on: the next start tries again.
   */
  async #unreadable(place: Place, reason: string): Promise<Partition> {
    const { entries, point } = place;
    const damaged = this.#damageOf(place) !== undefined;
    if (damaged || entries.length > 0) return this.#offline(place, reason);
    const partition = this.#make(place);
    keepPoint(partition, place.point);
    // The files of the old log are gone, and may come back until the directory is fsynced.
    if (place.beganAnew) partition.names.changed();
    partition.takeOffline(`${reason}: check the disk, then restart`, true);
    // What an earlier start met is not forgotten over that.
    partition.offlineRecord.keepInPoints(point?.offlineReason ?? "");
    return partition;
  }

  /** Why an earlier start or the last process took the partition offline. */
  async #offlineReason(
    { directory, point }: Place,
    names: ReadonlySet<string>,
  ): Promise<string | undefined> {
    const { disk } = this.#input.context.env;
    try {
      const reason = await readOfflineReason(disk, directory, names);
      if (reason !== undefined) return reason;
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      return `its offline file cannot be read: ${textOf(thrown)}`;
    }
    const reason = point?.offlineReason ?? "";
    return reason === "" ? undefined : reason;
  }

  async #recover(partition: Partition, place: Place, names: ReadonlySet<string>): Promise<void> {
    const { point, entries } = place;
    const { context, clean } = this.#input;
    const { clock } = context.env;
    if (clean && point !== undefined && (await loadClean(context, partition, point, names))) {
      await partition.producers.completeRestored(clock);
      return;
    }
    const { counts } = this;
    const damagedUpTo = this.#damageOf(place);
    const { pointsLost } = this.#input;
    const known = { point, pointsLost, entries, damagedUpTo };
    const input = { context, partition, names, ...known, counts };
    await new PartitionRecovery(input).run();
    await partition.producers.completeRestored(clock);
    await syncSegments(context, partition.segments);
  }

  /** The damaged rounds that may be about the partition. */
  #damageOf({ directory, life, point }: Place): number | undefined {
    if (this.#adopted.has(directory)) return undefined;
    return damageAfter(this.#input.plan?.damagedUpTo, life, point);
  }

  #make({ topicId, topic, partition, life }: Place): Partition {
    const { options, owner } = this.#input;
    const config = options.configFor(topicId, topic, partition);
    return new Partition(owner, topicId, topic, partition, config, life);
  }

  /**
   * Offline for good: also after the next start, when the journal will have moved on. Its batches
   * are kept first; if that fails, the directory does not open.
   */
  async #offline(place: Place, reason: string): Promise<Partition> {
    const { disk, logger } = this.#input.context.env;
    const { directory, entries, point } = place;
    await salvage(disk, directory, entries);
    const partition = this.#make(place);
    keepPoint(partition, point && withLogStart(point, entries));
    const recorded = await keepOffline(disk, directory, reason).then(
      () => true,
      (thrown: unknown) => {
        logger.error({ directory, err: thrown }, "the offline file cannot be written");
        // The recovery points keep a reason for a known life only, and its entries are freed.
        if (place.life === unknownLife && entries.length > 0) throw thrown;
        return false;
      },
    );
    partition.takeOffline(reason, recorded);
    return partition;
  }

  /**
   * Partitions whose directory is gone although points or journal vouch for records in it. Making
   * them anew, empty, would un-say what was acknowledged.
   */
  async #lost(
    names: ReadonlySet<string>,
    asides: ReadonlyMap<string, readonly string[]>,
  ): Promise<Partition[]> {
    const { plan, points } = this.#input;
    const keys = new Set([...points.keys(), ...(plan?.entries.keys() ?? [])]);
    const lost: Partition[] = [];
    for (const key of keys) {
      const id = parsePlanKey(key);
      const directory = partitionDirectory(id.topicId, id.partition);
      const name = directory.slice(paths.partitions.length + 1);
      if (names.has(name)) continue;
      const place = placeOfLost(id, directory, points.get(key), plan?.entries.get(key) ?? []);
      const isLoss = await this.#isLoss(place, asides.get(name) ?? []);
      if (isLoss) lost.push(await this.#missing(place));
    }
    return lost;
  }

  /** Whether points or journal vouch for records of a life that was not deleted. */
  async #isLoss(place: Place, asides: readonly string[]): Promise<boolean> {
    return vouchesForRecords(place) && !(await this.#wasDeleted(place, asides));
  }

  /**
   * Whether one of the directories that were renamed aside is that of the life which points and
   * journal vouch for: the disk failed before the journal had its deletion.
   */
  async #wasDeleted(place: Place, asides: readonly string[]): Promise<boolean> {
    const { context, coveredRound, plan } = this.#input;
    const { topicId, partition, point } = place;
    const { disk } = context.env;
    const known = plan?.entries.get(planKey(topicId, partition)) ?? [];
    const ended = known.findLast(({ kind }) => kind === "deleted")?.round ?? 0;
    const after = Math.max(coveredRound, ended);
    for (const aside of asides) {
      const directory = `${paths.partitions}/${aside}`;
      const reading = readPartitionMeta(disk, directory, topicId, partition, context.identity);
      const meta = await reading.catch((thrown: unknown) => {
        if (isPassing(thrown)) throw thrown;
        return textOf(thrown);
      });
      // It says nothing then.
      if (typeof meta === "string") continue;
      const { incarnation, firstRound } = meta;
      // A partition that has no point was made after the points were written, and after the last
      // deletion.
      const same =
        point === undefined ? Number(firstRound) > after : incarnation === point.incarnation;
      if (same) return true;
    }
    return false;
  }

  /**
   * Offline while the directory is missing. The recovery point vouches for what is below it. Where
   * the journal knows more, or has lost some of it, a directory that is put back may lack that: the
   * batches are kept first, or the data directory does not open, and the recovery points keep the
   * reason for the partition to stay offline.
   */
  async #missing(place: Place): Promise<Partition> {
    const { context, plan } = this.#input;
    const { directory, entries, point } = place;
    const damaged = this.#damageOf(place) !== undefined;
    const more = damaged || entries.length > 0;
    await salvage(context.env.disk, directory, entries);
    const partition = this.#make(place);
    const round = plan?.lastRound ?? 0;
    keepPoint(partition, point ?? lossOf(place.topicId, place.partition, round));
    partition.takeOffline(reasonOfLoss(place, more), !more && (point?.offlineReason ?? "") === "");
    context.env.logger.error({ directory }, "the directory of a partition is missing");
    return partition;
  }
}

/** By the name of a partition's directory: those of its deleted lives that are still there. */
const asidesOf = (names: readonly string[]): ReadonlyMap<string, readonly string[]> =>
  Map.groupBy(
    names.filter((name) => name.endsWith(deletedSuffix)),
    (name) => name.slice(0, name.indexOf(".")),
  );

/** The recovery points go on to say this of the partition. */
const keepPoint = (partition: Partition, point: RecoveryPoint | undefined): void => {
  if (point !== undefined) partition.checkpointed(point, partition.promises.version);
};

/** The log start outlives the journal that moved it. */
const withLogStart = (point: RecoveryPoint, entries: readonly PlannedEntry[]): RecoveryPoint => {
  const moved = clone(RecoveryPointSchema, point);
  moved.logStartOffset = BigInt(finalLogStart(entries, Number(point.logStartOffset)));
  return moved;
};

const textOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

const isDeleted = ({ point, entries }: Place): boolean =>
  point?.deleted === true || entries.some(({ kind }) => kind === "deleted");

/**
 * A directory whose meta file says nothing may be that of a deleted partition, or of the next one
 * of its id: the deletion stays on record for the day the file can be read, and what the journal
 * has from before it is no part of the next one.
 */
const placeOfUnknownLife = (
  id: { readonly topicId: TopicId; readonly partition: number },
  directory: string,
  point: RecoveryPoint | undefined,
  entries: readonly PlannedEntry[],
): Place => {
  const last = entries.findLastIndex(({ kind }) => kind === "deleted");
  const place = { ...id, directory, topic: id.topicId, life: unknownLife, beganAnew: false };
  const deletion = entries[last];
  if (deletion === undefined) return { ...place, point, entries };
  return {
    ...place,
    point: deletionOf(id.topicId, id.partition, unknownLife, deletion.round),
    entries: entries.slice(last + 1),
  };
};

/** A directory that is gone: the last deletion on record ended everything before it. */
const placeOfLost = (
  id: { readonly topicId: TopicId; readonly partition: number },
  directory: string,
  known: RecoveryPoint | undefined,
  all: readonly PlannedEntry[],
): Place => {
  const place = placeOfUnknownLife(id, directory, known, all);
  const point = place.point?.deleted === true ? undefined : place.point;
  return { ...place, point, entries: entriesAfter(place.entries, known) };
};

/** `more`: the journal had something of the partition that its point does not vouch for. */
const reasonOfLoss = ({ directory, point }: Place, more: boolean): string => {
  const lost = `its directory ${directory} is missing, and held records`;
  const known = point?.offlineReason ?? "";
  if (known.startsWith(lost)) return known;
  const kept = "; what only the journal had of it is in salvaged-<round>.segment";
  const before = known === "" ? "" : `; before that: ${known}`;
  return `${lost}${more ? kept : ""}${before}: restore it, or delete the topic`;
};

/**
 * There were records after the last deletion, or there is a reason to be offline. Also where all of
 * them are below the log start: their offsets must not be given again.
 */
const vouchesForRecords = ({ point, entries }: Place): boolean => {
  if (entries.some(({ kind }) => kind === "batch" || kind === "reset")) return true;
  if (point === undefined || point.deleted) return false;
  return point.offset > 0n || point.offlineReason !== "";
};
