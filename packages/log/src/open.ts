/** Opening a data directory: whose it is, recovery of every partition, and then the manager. */
import type { Disk } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { CleanShutdown, RecoveryPoint } from "@millrace/proto/storage";
import type { LogManager, LogManagerOptions, RecoveryReport } from "./api.ts";
import { Cleaner } from "./compaction/cleaner.ts";
import type { LogContext } from "./context.ts";
import { inSteps, inTurns } from "./files/breathe.ts";
import { DelayedTasks } from "./files/delayed-tasks.ts";
import { isFull, storageError } from "./files/disk-errors.ts";
import { DiskSpace } from "./files/disk-space.ts";
import { FileCache } from "./files/file-cache.ts";
import { paths } from "./files/paths.ts";
import { PatientDisk } from "./files/patient-disk.ts";
import { Committer } from "./journal/commit-loop.ts";
import { Journal } from "./journal/journal.ts";
import { scanJournal, secureLastRound } from "./journal/scan.ts";
import { Manager } from "./manager.ts";
import type { Partition } from "./partition/partition.ts";
import { ProducerBudget } from "./partition/producer-budget.ts";
import { RetentionClock } from "./partition/retention-clock.ts";
import { TailCache } from "./partition/tail-cache.ts";
import type { PartitionOwner } from "./partition/types.ts";
import { Checkpointer, CheckpointPolicy, parallelAlone } from "./recovery/checkpoint.ts";
import {
  markerHolds,
  openDirectory,
  removeTree,
  takeCleanMarker,
} from "./recovery/data-directory.ts";
import { PartitionLoader } from "./recovery/loader.ts";
import { type FoundPoints, readRecoveryPoints, replaceByCopy } from "./recovery/recovery-points.ts";
import { IndexCache } from "./segment/index-cache.ts";
import { SegmentWriter } from "./segment/writer.ts";

/** Everything of an open directory but its manager. */
interface Parts {
  readonly context: LogContext;
  readonly space: DiskSpace;
  readonly partitions: Map<string, Partition>;
  /** Points of partitions that were deleted and whose directories are still there. */
  readonly deletions: Map<string, RecoveryPoint>;
  readonly checkpointer: Checkpointer;
  readonly cleaner: Cleaner;
  readonly owner: PartitionOwner;
}

/**
 * Opens a data directory: checks whose it is, recovers every partition, and starts the background
 * work. When it resolves, everything ever acknowledged is there and fsynced, or its partition is
 * offline. Throws DATA_DIRECTORY_UNUSABLE or STORAGE_ERROR; then nothing was changed, but for
 * repairs that opening again repeats.
 */
export const openLogManager = async (options: LogManagerOptions): Promise<LogManager> => {
  const { identity } = options;
  try {
    return await open(options);
  } catch (thrown) {
    if (thrown instanceof MillraceError) throw thrown;
    throw storageError(
      `the data directory of broker ${identity.brokerId} cannot be opened`,
      thrown,
    );
  }
};

const open = async (options: LogManagerOptions): Promise<LogManager> => {
  const { clock } = options.env;
  const disk = new PatientDisk(options.env.disk, clock);
  const env = { ...options.env, disk };
  const patient = { ...options, env };
  const directoryId = await openDirectory(env, options.identity);
  const marker = await takeCleanMarker(disk);
  const found = await readRecoveryPoints(clock, disk);
  const parts = makeParts(patient, directoryId, found?.wallTimeMs);
  const { committer, files } = parts.context;
  disk.attach({
    onShortage: () => files.closeIdle(),
    onSyncFailure: (error) => committer.fail(error),
  });
  try {
    return await openWith(disk, patient, parts, found, marker);
  } catch (thrown) {
    // The next attempt has the room of the reserve.
    if (isFull(thrown)) await parts.space.onFull();
    await files.closeAll();
    throw thrown;
  }
};

const openWith = async (
  disk: Disk,
  patient: LogManagerOptions,
  parts: Parts,
  found: FoundPoints | undefined,
  marker: CleanShutdown | undefined,
): Promise<LogManager> => {
  const { committer } = parts.context;
  if (found !== undefined) await replaceByCopy(disk, found);
  const clean = markerHolds(marker, found);
  if (!clean) await syncNames(disk);
  const { recovery, lastRound, leftovers } = await recover(patient, parts, found, clean);
  if (!recovery.clean || leftovers.length > 0) {
    await parts.checkpointer.run(parallelAlone, lastRound);
  }
  // It stopped nobody: the partitions were not there to be told.
  if (committer.failure !== undefined) throw committer.failure;
  for (const directory of leftovers) {
    const remove = (): Promise<void> => removeTree(disk, directory);
    parts.context.delayed.add(0, "removing a deleted partition", remove);
  }
  return start(patient, parts, recovery, lastRound);
};

/**
 * What a dead process made or renamed is relied on from here on: a power cut must not take it away.
 */
const syncNames = async (disk: Disk): Promise<void> => {
  for (const path of [".", paths.journal, paths.partitions]) await disk.syncDirectory(path);
};

/** A time between two warnings of the same, ms. */
const warningPauseMs = 60_000;

const producerBudget = (
  { config, env, observer = {} }: LogManagerOptions,
  partitions: ReadonlyMap<string, Partition>,
): ProducerBudget => {
  const { clock, logger } = env;
  let warnedMs = Number.NEGATIVE_INFINITY;
  const onForgotten = (producers: number): void => {
    observer.onProducersForgotten?.(producers);
    if (clock.monoMs() - warnedMs < warningPauseMs) return;
    warnedMs = clock.monoMs();
    logger.warn({ producers, producersMax: config.producersMax }, forgottenText);
  };
  const tables = () => [...partitions.values()].map(({ producers }) => producers);
  return new ProducerBudget(config.producersMax, tables, onForgotten);
};

const forgottenText =
  "too many idempotent producers: those idle longest are forgotten, and a retry of theirs may be " +
  "appended again: share producers, or raise --producers-max";

export const makeParts = (
  options: LogManagerOptions,
  directoryId: Uint8Array,
  knownWallMs: number | undefined,
): Parts => {
  const { env, config, identity, observer = {} } = options;
  const { clock, disk, logger } = env;
  const space = new DiskSpace(env, config.diskReserveBytes, observer, (full) => {
    context.diskFull = full;
  });
  const onFull = (): Promise<void> => space.onFull();
  const onFailure = (error: MillraceError): void => committer.fail(error);
  const files = new FileCache(disk, logger, config.openFilesMax);
  const writes = new SegmentWriter({
    ...{ clock, logger, files, onFull, onFailure },
    bytesMax: config.unwrittenBytesMax,
    lingerMs: config.writeLingerMs,
    syncStepBytes: config.syncStepBytes,
  });
  const partitions = new Map<string, Partition>();
  const committer = new Committer({
    clock,
    logger,
    disk,
    files,
    writes,
    observer,
    onCommit: (entries) => policy.committed(entries, committer.journalUsedPart),
    requestCheckpoint: () => policy.soon(),
    onFull,
    onFailure: (error) => {
      observer.onFsyncError?.(error);
      logger.error({ err: error }, "the disk failed: no more writes are taken");
      for (const partition of partitions.values()) partition.stop(error.message);
    },
  });
  const context: LogContext = {
    env,
    config,
    identity,
    directoryId,
    observer,
    files,
    writes,
    committer,
    indexes: new IndexCache(clock, disk, files, writes, config.indexCacheBytesMax),
    tails: new TailCache(config.tailCacheBytesMax, () => observer.onTailSkipped?.()),
    producers: producerBudget(options, partitions),
    delayed: new DelayedTasks(clock, logger),
    retentionClock: new RetentionClock(clock, logger, knownWallMs),
    beginCleaning: options.beginCleaning,
    diskFull: false,
    closing: false,
  };
  const deletions = new Map<string, RecoveryPoint>();
  const checkpointer = new Checkpointer({
    context,
    partitions: () => partitions.values(),
    deletions: () => deletions.values(),
    failure: () => committer.failure,
    onCovered: (round) => committer.covered(round),
    onFull,
    onFailure,
  });
  const policy = new CheckpointPolicy(checkpointer);
  const cleaner = new Cleaner(context, partitions);
  const owner = { context, checkpoint: () => checkpointer.run(), compact: cleaner.compact };
  return { context, space, partitions, deletions, checkpointer, cleaner, owner };
};

/** Fills the map of partitions. */
export const recover = async (
  options: LogManagerOptions,
  { context, deletions, owner, partitions }: Parts,
  found: FoundPoints | undefined,
  clean: boolean,
): Promise<{ recovery: RecoveryReport; lastRound: number; leftovers: readonly string[] }> => {
  const { clock, disk } = context.env;
  const startedMs = clock.monoMs();
  const after = found?.coveredRound;
  const plan = clean ? undefined : await scanJournal(clock, disk, context.directoryId, after);
  if (plan !== undefined) await secureLastRound(disk, plan);
  const points = found?.points ?? new Map<string, RecoveryPoint>();
  const coveredRound = after ?? 0;
  const pointsLost = found === undefined;
  const atStart = { ...context, env: { ...context.env, clock: inTurns(clock) } };
  const known = { points, plan, clean, coveredRound, pointsLost };
  const input = { options, context: atStart, owner, ...known };
  const loader = new PartitionLoader(input);
  for (const [key, partition] of await loader.loadAll()) partitions.set(key, partition);
  await inSteps(clock, context.producers.recount());
  for (const [key, point] of loader.deletions) deletions.set(key, point);
  const { counts } = loader;
  const states = [...partitions.values()].map(({ state }) => state.kind);
  const recovery: RecoveryReport = {
    clean,
    partitions: partitions.size,
    segmentBytesScanned: counts.segmentBytesScanned,
    journalRounds: plan?.rounds ?? 0,
    journalEntriesReplayed: counts.entriesReplayed,
    bytesCut: counts.bytesCut,
    partitionsOffline: states.filter((state) => state === "offline").length,
    indexesRebuilt: counts.indexesRebuilt,
    durationMs: clock.monoMs() - startedMs,
  };
  // A life that began while a round was under way counts from the next one. If a crash tore the
  // round, or it rotted, its number must not be given to what comes now.
  let lastRound = Math.max(plan?.lastRound ?? 0, after ?? 0, loader.firstRoundMax - 1);
  // Nor the number of a round that a point reflects: the file that held the round may be gone.
  for (const { journalRound } of points.values()) {
    lastRound = Math.max(lastRound, Number(journalRound));
  }
  return { recovery, lastRound, leftovers: loader.leftovers };
};

/** Everything up to `lastRound` is reflected in fsynced segments: the journal is free. */
const start = async (
  options: LogManagerOptions,
  parts: Parts,
  recovery: RecoveryReport,
  lastRound: number,
): Promise<LogManager> => {
  const { context, space } = parts;
  const { env, directoryId } = context;
  const { journalFileBytes: fileBytes, journalBytesMax: bytesMax } = options.config;
  const journal = await Journal.open({ env, directoryId, fileBytes, bytesMax }, lastRound);
  try {
    await space.start();
  } catch (thrown) {
    await journal.close();
    throw thrown;
  }
  context.committer.begin(journal, lastRound);
  const manager = new Manager({ ...parts, options, journal, recovery });
  manager.start();
  return manager;
};
