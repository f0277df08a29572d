/**
 * Seeded bugs. Each one, switched on, breaks a guarantee that the crash suite must then report;
 * that is how the suite proves that it can fail. Nothing but tests may touch this.
 */
export const bugs = {
  /** Acknowledges a round before its journal write is fsynced. */
  ackBeforeFsync: false,
  /** Frees journal space before the segments behind it are fsynced. */
  journalReleasedBeforeSegmentSync: false,
  /** Takes segments for fsynced that are not written yet. */
  checkpointBeforeSegmentWrites: false,
  /** Leaves truncations out of the journal. */
  truncationNotJournalled: false,
  /** Never fsyncs a partition's directory. */
  noDirectoryFsync: false,
  /** Takes damage in the middle of the journal for a torn tail, and cuts there. */
  cutAtMiddleCrc: false,
  /** Keeps index entries past the end that recovery found. */
  indexNotRebuilt: false,
  /** Lets the high watermark run to the log end offset. */
  wrongHighWatermark: false,
};

export type BugName = keyof typeof bugs;
