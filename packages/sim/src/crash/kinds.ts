/**
 * Kinds of events that a workload can be made of, and promises that it insists on. All are on
 * unless they are left out.
 */

export const kinds = {
  /** Control operations are issued without waiting for those before. */
  concurrentControl: "control operations at the same time",
  truncation: "truncations above the high watermark",
  evidence: "what is offline keeps every acknowledged batch in some file",
  tailReads: "reads up to the log end",
  damageStaysLocal: "damage of one partition stops no other",
  truncationBelowHighWatermark: "truncations below the high watermark",
  truncationToEpochStart: "truncations to where a leader epoch began",
  truncationAtEnd: "truncations at the log end",
  olderEpochs: "appends, after a truncation, of an epoch older than what was cut",
  reset: "logs that begin anew",
  deleteRecords: "log start moves",
  retention: "retention that deletes",
  segmentAge: "segments rolled by age",
  compaction: "logs that are compacted",
  deletion: "partitions deleted, and made again under their id",
  killedCreation: "names that were being made when the process was killed",
  killedJournal: "journal rounds that were being written when the process was killed",
  deletionWhileClosing: "clean stops with deletions under way",
  weakAcksAfterFailure: "acknowledgements from the page cache hold after the disk failed",
  configChange: "changes of settings",
  policyChange: "changes of the flush policy",
  producers: "idempotent producers",
  wallJump: "jumps of the wall clock that last",
  wallGlitch: "single wrong reads of the wall clock",
  diskFull: "full disks",
  writeFault: "writes that fail",
  syncFault: "fsyncs that fail with EIO",
  syncFull: "fsyncs that fail with ENOSPC",
  readFault: "reads that fail",
  openFault: "opens that fail",
  nameFault: "names of leader epochs that cannot be used",
  transientFault: "EMFILE, ENFILE, EINTR, EAGAIN and ENOMEM",
  startFault: "faults while the directory is opened",
  startFaultStaysLocal: "a file of one partition that cannot be read at the start stops no other",
  passingFault: "EMFILE and its like take no partition offline",
  closeWhenFull: "clean stops on a full disk",
  readsWhenFull: "reads on a full disk",
  rotAtRest: "bits that rot between two starts",
  rotWhileRunning: "bits that rot under a running process",
  closeUnderLoad: "clean stops with appends under way",
  restartAfterFailedSync: "restarts, without a power cut, after an fsync that failed",
} as const;

export type Kind = keyof typeof kinds;

export const allKinds = Object.keys(kinds) as Kind[];

export type Switches = Readonly<Record<Kind, boolean>>;

/** Every kind but those named. Throws RangeError for a name that is none. */
export const switchesWithout = (names: readonly string[] = []): Switches => {
  const unknown = names.find((name) => !Object.hasOwn(kinds, name));
  if (unknown !== undefined) {
    throw new RangeError(`${unknown} is no kind of event: use ${allKinds.join(", ")}`);
  }
  const entries = allKinds.map((kind) => [kind, !names.includes(kind)]);
  return Object.fromEntries(entries) as Record<Kind, boolean>;
};
