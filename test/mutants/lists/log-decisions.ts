import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const disk = `${src}/faults/disk.test.ts`;
const order = `${src}/faults/order.test.ts`;
const limits = `${src}/faults/limits.test.ts`;
const clock = `${src}/faults/clock.test.ts`;
const log = `${src}/log.test.ts`;
const damage = `${src}/damage.test.ts`;
const formats = `${src}/formats.test.ts`;
const crash = "packages/sim/src/crash/crash.test.ts";

/** Order of changes; reads; epochs; producers. */
export const decisions: readonly Mutant[] = [
  {
    name: "log-discarded-is-waited-for",
    breaks: "Nobody waits for bytes of a segment that was dropped.",
    file: `${src}/segment/writer.ts`,
    replace: [
      ["    if (segment.dropped) return Promise.reject(droppedError(segment.path));\n", ""],
    ],
    tests: [`${src}/segment/writer.test.ts`],
  },
  {
    name: "log-dropped-makes-no-room",
    breaks: "Bytes that are dropped make room for the commit loop.",
    file: `${src}/segment/writer.ts`,
    replace: [["    lane.bytes = 0;\n    this.#room.wake();\n", "    lane.bytes = 0;\n"]],
    tests: [`${src}/segment/writer.test.ts`],
  },
  {
    name: "log-promised-file-released",
    breaks: "A journal file with a place for a round stays until the round is written.",
    file: `${src}/journal/journal.ts`,
    replace: [["      if (file === this.#current && this.#promised) continue;\n", ""]],
    tests: [`${src}/journal/journal.test.ts`],
  },
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
    replace: [["    if (owner.dropped) throw droppedError(owner.path);\n", ""]],
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
      ["    if (this.#truncating) return Promise.resolve(0);\n", ""],
      ["    return this.#changes.run(() => this.#retain());", "    return this.#retain();"],
      [
        'const changing = this.#deletion !== "none" || this.#truncating',
        'const changing = this.#deletion !== "none"',
      ],
    ],
    tests: [order],
  },
  {
    name: "log-truncation-beside-retention",
    breaks: "A truncation waits for retention that is under way.",
    file: `${src}/partition/partition.ts`,
    replace: [
      ["    return this.#changes.run(() => this.#retain());", "    return this.#retain();"],
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
    replace: [["    if (backTo !== undefined) this.#epochs.truncate(backTo);\n", ""]],
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
    tests: [`${src}/faults/power-cut.test.ts`],
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
    tests: [`${src}/faults/deleted-producers.test.ts`],
  },
  {
    name: "log-dedup-keeps-fifteen",
    breaks: "A retry of any of the last 16 batches is a duplicate.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["batchNumbers * (1 - batchesKept)", "batchNumbers * (2 - batchesKept)"]],
    tests: [limits, log, crash],
  },
  {
    name: "log-producers-of-deleted-records-forgotten",
    breaks: "Deleting records makes no producer unknown.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        "    if (await producers.secure(this.#context, this.directory, this.#dropped, firstOffset)) {",
        "    if (producers === undefined) {",
      ],
    ],
    tests: [limits, crash],
  },
  {
    name: "log-producers-unbounded",
    breaks: "A partition remembers a bounded number of producers.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["    this.trim(this.#producersMax);\n", ""]],
    tests: [limits],
  },
  {
    name: "log-producers-first-in-first-out",
    breaks: "The producer that has been idle longest is forgotten first.",
    file: `${src}/partition/producer-table.ts`,
    replace: [
      [
        ".delete(producer.id);\n    this.#producers.set",
        ".has(producer.id);\n    this.#producers.set",
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
    tests: [`${src}/faults/index.test.ts`],
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
        "      if (isPassing(thrown)) throw thrown;\n      // To take",
        "      if (!(thrown instanceof PartitionDamage)) throw thrown;\n      // To take",
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
        "      this.#begin(now);\n      return undefined;\n",
        "      this.#begin(now);\n      return now.wallMs;\n",
      ],
    ],
    tests: [clock],
  },
  {
    name: "log-clock-ahead-at-start",
    breaks: "A start with a clock ahead of the last checkpoint by more than a jump is in doubt.",
    file: `${src}/partition/retention-clock.ts`,
    replace: [["now.wallMs - knownMs <= jumpMs", "now.wallMs - knownMs <= 24 * 3_600_000"]],
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
    replace: [["plan.oldBytes <= log.sizeBytes * usualPart;", "plan.oldBytes <= log.sizeBytes;"]],
    tests: [clock],
  },
  {
    name: "log-largest-time-below-start",
    breaks: "The largest time is one that can be read.",
    file: `${src}/partition/reader.ts`,
    replace: [
      [
        "    if (segment.baseOffset < this.#owner.logStartOffset) {",
        "    if (segment.baseOffset > this.#owner.logStartOffset) {",
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
