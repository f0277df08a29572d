import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const disk = `${src}/faults/disk.test.ts`;
const order = `${src}/faults/order.test.ts`;
const memory = `${src}/faults/memory.test.ts`;
const limits = `${src}/faults/limits.test.ts`;
const clock = `${src}/faults/clock.test.ts`;
const log = `${src}/log.test.ts`;
const damage = `${src}/damage.test.ts`;
const formats = `${src}/formats.test.ts`;
const crash = "packages/sim/src/crash/crash.test.ts";

/** Order and durability of writes. */
const durability: readonly Mutant[] = [
  {
    name: "log-fsync-counts-before-write",
    breaks: "An fsync that began before a write landed does not cover it.",
    file: `${src}/segment/segment.ts`,
    replace: [
      [
        "    this.#writtenBytes = Math.max(this.#writtenBytes, endPosition);\n    this.durability.changed();",
        "    this.#writtenBytes = Math.max(this.#writtenBytes, endPosition);",
      ],
      [
        "    this.#firstAppendMs ??= appendTimeMs;",
        "    this.durability.changed();\n    this.#firstAppendMs ??= appendTimeMs;",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-checkpoint-ignores-queued-writes",
    breaks: "A checkpoint covers batches that are still queued for their segment.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      ["segment.durability.pending || context.writes.has(segment);", "segment.durability.pending;"],
    ],
    tests: [disk, memory, crash],
  },
  {
    name: "log-cover-after-failure",
    breaks: "Nothing is claimed to be durable once the disk has failed.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "    const failure = this.#options.failure();\n    if (failure !== undefined) throw failure;\n    if (!bugs",
        "    if (!bugs",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-sync-failure-passes",
    breaks: "An fsync that failed for want of room has not happened.",
    file: `${src}/files/patient-disk.ts`,
    replace: [
      [
        "    const error = syncFailed(this.path, causeOf(thrown));",
        "    const error = causeOf(thrown) as MillraceError;",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-sync-failure-told-late",
    breaks: "A failed fsync stops the directory at once, not when its checkpoint is over.",
    file: `${src}/files/patient-disk.ts`,
    replace: [['if (!this.path.endsWith(".tmp")) this', "if (false) this"]],
    tests: [disk, crash],
  },
  {
    name: "log-dirty-flag-cleared-first",
    breaks: "I/O that fails leaves everything pending that it should have made durable.",
    file: `${src}/files/durability.ts`,
    replace: [
      [
        "    const { version } = this;\n    await io();\n    this.durableUpTo(version);",
        "    const { version } = this;\n    this.durableUpTo(version);\n    await io();",
      ],
    ],
    tests: [disk, crash],
  },
  {
    name: "log-sync-covers-later-changes",
    breaks: "What changes during an fsync is not covered by it.",
    file: `${src}/files/durability.ts`,
    replace: [
      [
        "    await io();\n    this.durableUpTo(version);",
        "    await io();\n    this.durableUpTo(Math.max(version, this.version));",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-epochs-captured-is-written",
    breaks: "Leader epochs that a checkpoint captured and did not write are not forgotten.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "  const complete = epochs === undefined || epochs.entries.length === entries.length;",
        "  const complete = epochs === undefined || epochs.entries.length === entries.length;\n  if (epochs !== undefined) durability.durableUpTo(epochs.version);",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-workers-left-running",
    breaks: "The next checkpoint does not run beside workers of one that failed.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        '    const outcomes = await Promise.allSettled(Array.from({ length: parallel }, worker));\n    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;',
        "    await Promise.all(Array.from({ length: parallel }, worker));",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-transient-is-final",
    breaks: "A shortage of descriptors or memory says nothing about the disk.",
    file: `${src}/files/disk-errors.ts`,
    replace: [
      [
        'const transient: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "EINTR", "EAGAIN", "ENOMEM"]);',
        "const transient: ReadonlySet<string> = new Set();",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-side-file-unsynced",
    breaks: "A side file is fsynced before it takes its name.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [
      [
        "    await file.write([content], 0);\n    await file.sync();",
        "    await file.write([content], 0);",
      ],
    ],
    tests: [memory, crash],
  },
  {
    name: "log-truncate-names-unsynced",
    breaks: "Segments that a truncation removed are gone durably before a recovery point says so.",
    file: `${src}/segment/files.ts`,
    replace: [
      [
        "    await letGo(context, gone);\n    owner.names.changed();\n    for (const path of gone.paths) await unlinkIfThere(disk, path);",
        "    await letGo(context, gone);\n    for (const path of gone.paths) await unlinkIfThere(disk, path);",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-index-cut-unsynced",
    breaks:
      "Index entries of another history are gone durably before a recovery point moves past them.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "if (index.cutPending || (sealed && index.finished)) await",
        "if (sealed && index.finished) await",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-restart-trusts-page-cache",
    breaks: "After a failed fsync and a restart the bytes are written again.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["      await this.#rewriteKept();\n", ""]],
    tests: [disk],
  },
  {
    name: "log-last-round-not-secured",
    breaks: "Recovery does not act on a journal round that a power cut can take back.",
    file: `${src}/open.ts`,
    replace: [["  if (plan !== undefined) await secureLastRound(disk, plan);\n", ""]],
    tests: [crash],
  },
  {
    name: "log-names-found-not-secured",
    breaks: "Names that a dead process made are durable before they are relied on.",
    file: `${src}/open.ts`,
    replace: [["  if (!clean) await syncNames(disk);\n", ""]],
    tests: [crash],
  },
  {
    name: "log-weak-written-after-failure",
    breaks: "A batch that a failure dropped is not acknowledged from the page cache.",
    file: `${src}/segment/writer.ts`,
    replace: [
      [
        "    if (this.#failure !== undefined) return Promise.reject(this.#failure);\n    const lane = this.#lanes.get(segment);",
        "    const lane = this.#lanes.get(segment);",
      ],
    ],
    tests: [`${src}/segment/writer.test.ts`, crash],
  },
  {
    name: "log-stuck-read-waits",
    breaks: "A read of bytes that wait for room ends.",
    file: `${src}/segment/writer.ts`,
    replace: [
      ["    for (const { reject } of lane.waiters.splice(0)) reject(stuckError(segment));\n", ""],
    ],
    tests: [`${src}/segment/writer.test.ts`, disk],
  },
];

/** What the next start must know. */
const remembered: readonly Mutant[] = [
  {
    name: "log-damage-forgotten",
    breaks: "Damage that was met while running outlives the process.",
    file: `${src}/partition/partition.ts`,
    replace: [["    if (!recorded) this.offlineRecord.note(reason);\n", ""]],
    tests: [memory],
  },
  {
    name: "log-offline-reason-dropped",
    breaks: "Damage is known to the next start even if the partition's directory cannot keep it.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["  noted.offlineReason = offlineReason;\n", ""]],
    tests: [memory],
  },
  {
    name: "log-round-forgotten-without-partitions",
    breaks: "The covered round is in the recovery points although there is no partition.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [["      coveredRound: BigInt(coveredRound),\n", ""]],
    tests: [memory],
  },
  {
    name: "log-lives-mixed",
    breaks: "A partition made again under its id does not inherit the journal of its earlier life.",
    file: `${src}/recovery/begin.ts`,
    replace: [["entries.filter(({ round }) => round >= life.firstRound);", "entries;"]],
    tests: [memory],
  },
  {
    name: "log-point-of-another-life",
    breaks: "A recovery point of an earlier life is not believed.",
    file: `${src}/recovery/begin.ts`,
    replace: [
      [
        "(point?.incarnation === life.incarnation ? point : undefined);",
        "(life === undefined ? undefined : point);",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-delete-not-journalled",
    breaks: "A deletion is durable before it is answered.",
    file: `${src}/partition/partition.ts`,
    replace: [
      ['this.#journalled.record({ kind: "deleted" }).then(', "this.#journalled.marker().then("],
    ],
    tests: [log, crash],
  },
  {
    name: "log-deletion-not-retried",
    breaks: "A deletion that the disk refused does not come back.",
    file: `${src}/manager.ts`,
    replace: [["      this.#deletions.set(key, deletionOf(topicId, partition, gone.life));\n", ""]],
    tests: [memory],
  },
  {
    name: "log-lost-directory-made-anew",
    breaks: "A lost partition directory is told, not made anew.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "      if (!vouchesForRecords(place)) continue;",
        "      if (vouchesForRecords(place)) continue;",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-restored-backup-cut",
    breaks: "A partition without a recovery point begins where its segments do.",
    file: `${src}/recovery/begin.ts`,
    replace: [
      [
        "  const bases = segments.slice(0, 1).map(({ baseOffset }) => baseOffset);",
        "  const bases: number[] = [];",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-marker-always-trusted",
    breaks: "A clean marker vouches only for the recovery points written right before it.",
    file: `${src}/recovery/data-directory.ts`,
    replace: [
      [
        "marker !== undefined && points?.coveredRound === Number(marker.nextJournalRound) - 1;",
        "marker !== undefined && points !== undefined;",
      ],
    ],
    tests: [log, order, crash],
  },
  {
    name: "log-restart-without-high-watermark",
    breaks: "The high watermark of the recovery point is known after a restart.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "        Number(point?.highWatermark ?? 0n),\n        this.#truncations",
        "        0,\n        this.#truncations",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-high-watermark-back",
    breaks: "A high watermark of before a truncation does not come back.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "        this.#truncations.backTo ?? Number.MAX_SAFE_INTEGER,",
        "        Number.MAX_SAFE_INTEGER,",
      ],
    ],
    tests: [order],
  },
  {
    name: "log-policy-change-one-segment",
    breaks: "The journal has no batch without those before it, also across a roll.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [
      [
        "    for (const segment of [...target.segments]) {",
        "    for (const segment of target.segments.slice(-1)) {",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-promise-dropped-early",
    breaks: "Behind a truncation batches are journalled until a recovery point covers it.",
    file: `${src}/partition/flush-promises.ts`,
    replace: [
      [
        "  weakened(endOffset: number): void {\n    this.#journalAnyway = true;",
        "  weakened(endOffset: number): void {\n    this.#journalAnyway = false;",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-deleted-records-take-the-rest",
    breaks: "Recovery begins behind the segments that a log start let go.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "const dropped = first !== undefined && first > from && first <= this.#logStart;",
        "const dropped = false as boolean;",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-acked-segment-dropped",
    breaks: "A recovery point names a segment that stays.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      ["if (this.#position > 0 && this.#logStart < this.#end) {", "if (this.#position > 0) {"],
    ],
    tests: [memory, crash],
  },
  {
    name: "log-closing-takes-appends",
    breaks: "What is acknowledged while a clean marker is written is not lost.",
    file: `${src}/manager.ts`,
    replace: [["    this.#context.closing = true;\n", ""]],
    tests: [order, crash],
  },
  {
    name: "log-predecessor-without-end",
    breaks: "A segment before one that is only in memory ends where that begins.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["    this.#segments[this.#index - 1]?.endsAt(at);\n", ""]],
    tests: [crash],
  },
];

/** Order of changes; reads; epochs; producers. */
const decisions: readonly Mutant[] = [
  {
    name: "log-read-across-truncation",
    breaks: "A read that a truncation straddled is begun anew.",
    file: `${src}/partition/partition.ts`,
    replace: [["    this.#cuts += 1;\n", ""]],
    tests: [order],
  },
  {
    name: "log-files-by-name",
    breaks: "A handle of a removed file does not come back with its name.",
    file: `${src}/files/file-cache.ts`,
    replace: [["    if (this.#gone.has(owner)) throw droppedError(owner.path);\n", ""]],
    tests: [order],
  },
  {
    name: "log-reader-fails-writer",
    breaks: "A reader that asked for a file too early does not fail the writer that makes it.",
    file: `${src}/files/file-cache.ts`,
    replace: [["        if (make && known === entry && isMissing(thrown)) continue;\n", ""]],
    tests: [order],
  },
  {
    name: "log-retention-beside-truncation",
    breaks: "Retention does not roll while a truncation is under way.",
    file: `${src}/partition/partition.ts`,
    replace: [
      ["    return this.#changes.run(() => this.#retain());", "    return this.#retain();"],
      ["this.#deleted || this.#truncating || context.closing", "this.#deleted || context.closing"],
    ],
    tests: [order],
  },
  {
    name: "log-epoch-kept-at-end",
    breaks:
      "An epoch that was led and never replicated is forgotten by a truncation to the log end.",
    file: `${src}/partition/partition.ts`,
    replace: [
      [
        "    if (offset >= this.#logEndOffset && !atEnd) return;",
        "    if (offset >= this.#logEndOffset) return;",
      ],
    ],
    tests: [order],
  },
  {
    name: "log-cut-below-start",
    breaks: "A log that is cut below its start begins again there.",
    file: `${src}/partition/partition.ts`,
    replace: [
      [
        "    const end = Math.max(cut.offset, this.#logStartOffset);",
        "    const end = cut.offset;",
      ],
    ],
    tests: [order],
  },
  {
    name: "log-truncations-lte",
    breaks: "A truncation voids the entries at its offset, too.",
    file: `${src}/recovery/begin.ts`,
    replace: [
      [
        '  !("offset" in entry) || entry.offset < offset;',
        '  !("offset" in entry) || entry.offset <= offset;',
      ],
    ],
    tests: [order, log, crash],
  },
  {
    name: "log-epochs-back-after-truncation",
    breaks: "Epochs that a truncation cut off are not known again after a restart.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      ["    if (backTo !== undefined) this.#partition.epochs.truncateFromEnd(backTo);\n", ""],
    ],
    tests: [order, crash],
  },
  {
    name: "log-torn-kept",
    breaks: "A torn last round of the journal does not count.",
    file: `${src}/journal/scan.ts`,
    replace: [
      [
        "located.at(-1)?.sound.includes(false) === true ? located.pop() : undefined",
        "located.at(-1)?.sound.includes(true) === false ? located.pop() : undefined",
      ],
    ],
    tests: [damage, crash],
  },
  {
    name: "log-read-unacknowledged",
    breaks: "Bytes of the last segment count only up to where they were acknowledged.",
    file: `${src}/partition/reader.ts`,
    replace: [["    if (segment === ackedSegment) return ackedPosition;\n", ""]],
    tests: [crash],
  },
  {
    name: "log-high-watermark-unbounded",
    breaks: "The high watermark is at most the log end.",
    file: `${src}/partition/partition.ts`,
    replace: [["Math.min(value, this.#logEndOffset);\n    if (end <=", "value;\n    if (end <="]],
    tests: [log, crash],
  },
  {
    name: "log-no-fencing",
    breaks: "An append of an older leader epoch is refused.",
    file: `${src}/partition/partition.ts`,
    replace: [
      [
        "    if (leaderEpoch < this.epochs.latest) throw this.#fenced(leaderEpoch);\n    checkAppendLimits",
        "    checkAppendLimits",
      ],
    ],
    tests: [log, crash],
  },
  {
    name: "log-start-at-once",
    breaks: "The log start moves once the journal has it, not before.",
    file: `${src}/partition/partition.ts`,
    replace: [
      [
        "    this.#logStartBeingMoved = offset;\n    await",
        "    this.#logStartBeingMoved = offset;\n    this.#applyLogStart(offset);\n    await",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-cut-keeps-snapshots",
    breaks: "Snapshots of producers behind a cut are another history's.",
    file: `${src}/partition/producer-state.ts`,
    replace: [["    await dropSnapshotsAbove(context.env.disk, directory, offset);\n", ""]],
    tests: [crash],
  },
  {
    name: "log-dedup-keeps-four",
    breaks: "A retry of any of the last five batches is a duplicate.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["known.batches.slice(1 - batchesKept)", "known.batches.slice(2 - batchesKept)"]],
    tests: [limits, log, crash],
  },
  {
    name: "log-producers-of-deleted-records-forgotten",
    breaks: "Deleting records makes no producer unknown.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        "      if (await producers.writeRolls(this.#context, this.directory, firstOffset)) {",
        "      if (false as boolean) {\n        await producers.writeRolls(this.#context, this.directory, firstOffset);",
      ],
    ],
    tests: [limits, crash],
  },
  {
    name: "log-producers-unbounded",
    breaks: "A partition remembers a bounded number of producers.",
    file: `${src}/partition/producer-table.ts`,
    replace: [
      [
        "    if (this.#producers.size <= this.#producersMax) return;",
        "    if (this.#producersMax > 0) return;",
      ],
    ],
    tests: [limits],
  },
  {
    name: "log-producers-first-in-first-out",
    breaks: "The producer that has been idle longest is forgotten first.",
    file: `${src}/partition/producer-table.ts`,
    replace: [
      [
        "    this.#producers.delete(id);\n    this.#producers.set(id, producer);\n    this.durability.changed();",
        "    this.#producers.set(id, producer);\n    this.durability.changed();",
      ],
    ],
    tests: [limits],
  },
  {
    name: "log-wide-batch-rolls-late",
    breaks: "A segment's offsets fit its index entries.",
    file: `${src}/segment/segment.ts`,
    replace: [
      [
        "      lastOffset + 1 - this.baseOffset <= relativeOffsetMax\n    );",
        "      lastOffset - this.baseOffset <= relativeOffsetMax\n    );",
      ],
    ],
    tests: [limits],
  },
  {
    name: "log-no-limit-of-offsets",
    breaks: "A batch with more offsets than a segment can number is refused before any effect.",
    file: `${src}/partition/append-limits.ts`,
    replace: [
      [
        "  if (!(offsets >= 1 && offsets <= relativeOffsetMax)) {",
        "  if (offsets > relativeOffsetMax * 4096) {",
      ],
    ],
    tests: [limits],
  },
  {
    name: "log-rows-until-checkpoint",
    breaks: "Index rows do not gather in memory between checkpoints.",
    file: `${src}/partition/partition.ts`,
    replace: [
      [
        "if (segment.index.fresh.length >= freshRowsMax) this",
        "if (segment.index.fresh.length < 0) this",
      ],
    ],
    tests: [limits],
  },
  {
    name: "log-index-in-one-turn",
    breaks: "The index of a full segment is decoded in short turns.",
    file: `${src}/segment/index-format.ts`,
    replace: [["const entriesPerStep = 4096;", "const entriesPerStep = 2 ** 30;"]],
    tests: [limits],
  },
  {
    name: "log-index-cut-lte",
    breaks: "An index row at the cut is void.",
    file: `${src}/segment/segment-index.ts`,
    replace: [
      [
        "persisted.filter((row) => row.position < cut.position)",
        "persisted.filter((row) => row.position <= cut.position)",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-sparse-index-taken",
    breaks: "An index interval is bounded whatever the configuration says.",
    file: `${src}/partition/types.ts`,
    replace: [
      ["  indexIntervalBytes: Math.min(config.indexIntervalBytes, indexIntervalBytesMax),\n", ""],
    ],
    tests: [limits],
  },
  {
    name: "log-callback-stops-directory",
    breaks: "A callback that throws is not a failure of the disk.",
    file: `${src}/partition/journalled-changes.ts`,
    replace: [
      [
        "    } catch (thrown) {\n      this.#onThrown(thrown);",
        "    } catch (thrown) {\n      if (this.#context.diskFull === false) throw thrown;\n      this.#onThrown(thrown);",
      ],
    ],
    tests: [limits],
  },
  {
    name: "log-retention-stops-at-trouble",
    breaks: "Retention goes on behind a partition that it cannot look after.",
    file: `${src}/manager.ts`,
    replace: [
      [
        '        this.#context.env.logger.error({ partition: name, err: thrown }, "retention failed");',
        '        this.#context.env.logger.error({ partition: name, err: thrown }, "retention failed");\n        throw thrown;',
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-one-unreadable-file-ends-start",
    breaks: "One partition's unreadable file is its own trouble.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "      if (isPassing(thrown)) throw thrown;\n      const damaged",
        "      if (!(thrown instanceof PartitionDamage)) throw thrown;\n      const damaged",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-clock-believed-at-once",
    breaks: "One wrong reading of the clock deletes nothing.",
    file: `${src}/partition/retention-clock.ts`,
    replace: [
      [
        "    if (doubt === undefined || !agrees) {\n      this.#begin(now);\n      return undefined;\n    }",
        "    if (doubt === undefined || !agrees) {\n      this.#begin(now);\n      return now.wallMs;\n    }",
      ],
    ],
    tests: [clock],
  },
  {
    name: "log-clock-ahead-at-start",
    breaks: "A start with a clock far ahead of the last checkpoint is in doubt.",
    file: `${src}/partition/retention-clock.ts`,
    replace: [
      ["now.wallMs - knownMs <= aheadAtStartMs", "now.wallMs - knownMs <= aheadAtStartMs * 1000"],
    ],
    tests: [clock],
  },
  {
    name: "log-absent-time-is-1970",
    breaks: "A record without a timestamp is as old as its append.",
    file: `${src}/partition/reader.ts`,
    replace: [
      [
        "    if (largestMs > 0 && largestMs <= nowMs + futureMsMax) return largestMs;",
        "    if (largestMs <= nowMs + futureMsMax) return largestMs;",
      ],
    ],
    tests: [clock],
  },
  {
    name: "log-future-time-pins",
    breaks: "A timestamp in the future does not keep a segment for ever.",
    file: `${src}/partition/reader.ts`,
    replace: [
      [
        "    if (largestMs > 0 && largestMs <= nowMs + futureMsMax) return largestMs;",
        "    if (largestMs > 0) return largestMs;",
      ],
    ],
    tests: [clock],
  },
  {
    name: "log-purge-without-a-word",
    breaks: "An unusual amount is announced before it is deleted.",
    file: `${src}/partition/retention.ts`,
    replace: [
      [
        "    if (plan.oldBytes <= sizeBytes * usualPart) return false;",
        "    if (plan.oldBytes <= sizeBytes) return false;",
      ],
    ],
    tests: [clock],
  },
  {
    name: "log-largest-time-below-start",
    breaks: "The largest time is one that can be read.",
    file: `${src}/partition/reader.ts`,
    replace: [
      [
        "    const beginsInside = segment.baseOffset < logStartOffset;",
        "    const beginsInside = segment.baseOffset > logStartOffset;",
      ],
    ],
    tests: [clock],
  },
  {
    name: "log-journal-crc-unchecked",
    breaks: "A journal round whose header or table is damaged does not count.",
    file: `${src}/journal/format.ts`,
    replace: [["  if (head.readUInt32LE(48) !== crcOfHead(head)) return undefined;\n", ""]],
    tests: [formats, damage, crash],
  },
  {
    name: "log-journal-of-another-directory",
    breaks: "A journal round of another directory does not count.",
    file: `${src}/journal/format.ts`,
    replace: [
      ["  if (Buffer.compare(head.subarray(8, 24), directoryId) !== 0) return undefined;\n", ""],
    ],
    tests: [formats],
  },
  {
    name: "log-retention-past-high-watermark",
    breaks: "Retention deletes nothing above the high watermark.",
    file: `${src}/partition/retention.ts`,
    replace: [
      [
        "    if (endOffset > log.highWatermark || segment.sizeBytes === 0) break;",
        "    if (segment.sizeBytes === 0) break;",
      ],
    ],
    tests: [log, crash],
  },
];

export const logMutants: readonly Mutant[] = [...durability, ...remembered, ...decisions];
