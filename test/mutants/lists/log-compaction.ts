/** Mutants of compaction. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const room = `${src}/compaction`;
const logs = `${room}/logs.test.ts`;
const model = `${room}/model.test.ts`;
const replicas = `${room}/replicas.test.ts`;
const crash = `${room}/crash.test.ts`;
const plan = `${room}/plan.test.ts`;
const formats = `${room}/formats.test.ts`;
const service = "services/broker/src/log-service.test.ts";

export const compaction: readonly Mutant[] = [
  {
    name: "compaction-latest-goes",
    breaks: "The latest record of every key stays.",
    file: `${room}/rules.ts`,
    replace: [["offset < map.get(hash)", "offset <= map.get(hash)"]],
    tests: [logs, model],
  },
  {
    name: "compaction-tombstones-go-at-once",
    breaks: "A tombstone stays until its time is over.",
    file: `${room}/rules.ts`,
    replace: [["record.hasValue || !tombstonesGo", "record.hasValue"]],
    tests: [logs, model],
  },
  {
    name: "compaction-tombstones-stay",
    breaks: "A tombstone goes once its time is over.",
    file: `${room}/rules.ts`,
    replace: [["record.hasValue || !tombstonesGo", "true"]],
    tests: [logs],
  },
  {
    name: "compaction-keyless-stay",
    breaks: "Records without a key go.",
    file: `${room}/rules.ts`,
    replace: [["if (record.keyStart < 0) return false;", "if (record.keyStart < 0) return true;"]],
    tests: [logs, model],
  },
  {
    name: "compaction-known-before-it-was-noted",
    breaks: "Of records that were clean before, the keys are looked up.",
    file: `${room}/rules.ts`,
    replace: [["offset >= fromOffset ? superseded", "offset >= 0 ? superseded"]],
    tests: [logs, model],
  },
  {
    name: "compaction-whole-batch-before-it-was-noted",
    breaks: "Of batches that were clean before, the keys are looked up.",
    file: `${room}/rules.ts`,
    replace: [["baseOffset < fromOffset || !isFull", "!isFull"]],
    tests: [logs, model],
  },
  {
    name: "compaction-whole-batch-of-tombstones",
    breaks: "A tombstone goes once its time is over, also where its batch loses nothing else.",
    file: `${room}/rules.ts`,
    replace: [['going === 0 && !tombstonesGo ? "all"', 'going === 0 ? "all"']],
    tests: [`${room}/rules.test.ts`],
  },
  {
    name: "compaction-neighbours-go",
    breaks: "What goes is noted for each record.",
    file: `${room}/superseded.ts`,
    replace: [["(chunk[word] ?? 0) | (1 << (bit & 31))", "(chunk[word] ?? 0) | (3 << (bit & 31))"]],
    tests: [`${room}/superseded.test.ts`],
  },
  {
    name: "compaction-notes-without-a-bound",
    breaks: "What goes is noted in a bounded memory.",
    file: `${room}/superseded.ts`,
    replace: [[" || this.#chunks.size >= this.#chunksMax", ""]],
    tests: [`${room}/superseded.test.ts`],
  },
  {
    name: "compaction-notes-begin-late",
    breaks: "Nothing is concluded from notes that lack the first records.",
    file: `${room}/superseded.ts`,
    replace: [
      [
        "    const chunk = this.#chunkOf(offset);\n    if (chunk === undefined) return undefined;",
        "    const chunk = this.#chunkOf(offset);\n    if (chunk === undefined) return false;",
      ],
    ],
    tests: [`${room}/superseded.test.ts`],
  },
  {
    name: "log-reads-into-what-is-shown",
    breaks: "A read ahead leaves alone what is looked at.",
    file: `${src}/segment/read-ahead.ts`,
    replace: [["this.#spare = this.#shown;", "this.#spare = buffer;"]],
    tests: [`${src}/segment/read-ahead.test.ts`],
  },
  {
    name: "log-reads-ahead-of-another-place",
    breaks: "What was read ahead is used where it belongs.",
    file: `${src}/segment/read-ahead.ts`,
    replace: [["pending?.position === position && kept", "kept"]],
    tests: [`${src}/segment/read-ahead.test.ts`],
  },
  {
    name: "log-reads-ahead-for-ever",
    breaks: "A file is not closed while it is read.",
    file: `${src}/segment/read-ahead.ts`,
    replace: [["    await this.#pending?.read;\n    this.#pending", "    this.#pending"]],
    tests: [`${src}/segment/read-ahead.test.ts`],
  },
  {
    name: "compaction-hash-of-a-part",
    breaks: "Keys that differ in their last bytes are two.",
    file: `${room}/key-hash.ts`,
    replace: [["wordAt(bytes, at + 4, Math.max(0, rest - 4))", "0"]],
    tests: [`${room}/key-hash.test.ts`],
  },
  {
    name: "compaction-map-loses-keys-that-grow",
    breaks: "The map knows its keys after it has grown.",
    file: `${room}/offset-map.ts`,
    replace: [["      large.offsets[to] = offset;\n", "      large.offsets[to] = offset + 1;\n"]],
    tests: [`${room}/offset-map.test.ts`],
  },
  {
    name: "compaction-tombstones-never-seen",
    breaks: "The time of a tombstone begins with the first cleaning that saw it.",
    file: `${room}/clean-log.ts`,
    replace: [["cleanedMs > 0 && nowMs", "nowMs"]],
    tests: [logs],
  },
  {
    name: "compaction-part-counts-as-cleaned",
    breaks: "The tombstones of a segment that was cleaned in part were not all seen.",
    file: `${src}/partition/cleaned-log.ts`,
    replace: [["known > 0 || endOffset > upTo ? known", "known > 0 ? known"]],
    tests: [formats],
  },
  {
    name: "compaction-believes-other-segments",
    breaks: "A segment that is not as long as it was is not taken for cleaned.",
    file: `${src}/partition/cleaned-log.ts`,
    replace: [
      [
        "segment === segments.at(-1) || Number(entry?.sizeBytes) !== sizeBytes",
        "segment === segments.at(-1)",
      ],
    ],
    tests: [formats],
  },
  {
    name: "compaction-survives-a-truncation",
    breaks: "A log that was cut into what was cleaned is not clean.",
    file: `${src}/partition/partition.ts`,
    replace: [["    this.cleaned.cutTo(cut.offset);\n", ""]],
    tests: [replicas],
  },
  {
    name: "compaction-survives-a-reset",
    breaks: "A log that begins anew was never cleaned.",
    file: `${src}/partition/partition.ts`,
    replace: [["    this.cleaned.forget();\n", ""]],
    tests: [replicas],
  },
  {
    name: "compaction-believed-after-a-truncation",
    breaks: "A start believes no cleaning behind which a truncation went back.",
    file: `${src}/recovery/cleaned.ts`,
    replace: [["&& !isCutBelow(entries, Math.max(end, upTo))", ""]],
    tests: [replicas],
  },
  {
    name: "compaction-index-of-the-old",
    breaks: "A cleaned segment is never with the index of the one it was made from.",
    file: `${room}/swap.ts`,
    replace: [["  for (const path of old.index.paths) await unlinkIfThere(disk, path);\n", ""]],
    tests: [crash],
  },
  {
    name: "compaction-index-gone-without-an-fsync",
    breaks: "The old index is gone durably before the cleaned segment has its name.",
    file: `${room}/swap.ts`,
    replace: [
      [
        "  partition.names.changed();\n  await partition.files.syncNames();\n  // Kept",
        "  // Kept",
      ],
    ],
    tests: [crash],
  },
  {
    name: "compaction-fails-readers",
    breaks: "A read whose segment was cleaned under it is begun anew.",
    file: `${src}/partition/reader.ts`,
    replace: [
      ["owner.swaps !== swaps && cleaned < swapsMax", "owner.swaps !== swaps && cleaned < 0"],
    ],
    tests: [logs],
  },
  {
    name: "compaction-unsynced-file",
    breaks: "A cleaned file is fsynced before it takes the name.",
    file: `${room}/clean-log.ts`,
    replace: [["    await output.sync();\n", ""]],
    tests: [crash],
  },
  {
    name: "compaction-of-the-recovery-points-segment",
    breaks: "The segment that the recovery point lies in is left alone.",
    file: `${room}/plan.ts`,
    replace: [["baseOffset < Number(lastPoint.segmentBaseOffset) && ", ""]],
    tests: [plan],
  },
  {
    name: "compaction-above-the-known-high-watermark",
    breaks: "What the next start does not know to be readable is left alone.",
    file: `${room}/plan.ts`,
    replace: [["Math.min(highWatermark, Number(lastPoint.highWatermark))", "highWatermark"]],
    tests: [plan, logs],
  },
  {
    name: "compaction-of-what-nobody-can-read",
    breaks: "What is not readable is left alone.",
    file: `${room}/plan.ts`,
    replace: [["Math.min(highWatermark, Number(lastPoint.highWatermark))", "Infinity"]],
    tests: [plan, logs],
  },
  {
    name: "compaction-ratio-of-clean-bytes",
    breaks: "A log is due by the part of it that is dirty.",
    file: `${room}/plan.ts`,
    replace: [["dirtyBytes / (cleanBytes + dirtyBytes)", "dirtyBytes / Math.max(cleanBytes, 1)"]],
    tests: [plan],
  },
  {
    name: "compaction-forgets-producers",
    breaks: "A replica that copies a cleaned log knows the producers that are still known.",
    file: `${room}/clean-segment.ts`,
    replace: [
      [
        "info.producerId >= 0 && producersAt.has(place.baseOffset) ? info",
        "info.producerId < -1 ? info",
      ],
    ],
    tests: [replicas],
  },
  {
    name: "compaction-without-a-snapshot",
    breaks: "A truncation knows producers as they were before a cleaning.",
    file: `${room}/clean-log.ts`,
    replace: [["    await this.#keepProducers(segments.at(-1)?.endOffset ?? endOffset);\n", ""]],
    tests: [replicas],
  },
  {
    name: "compaction-sequences-by-count",
    breaks: "The sequences of a cleaned batch are those that it had.",
    file: `${src}/partition/producer-table.ts`,
    replace: [
      ["info.baseSequence + info.lastOffsetDelta)", "info.baseSequence + info.recordCount - 1)"],
    ],
    tests: [replicas],
  },
  {
    name: "compaction-across-epochs",
    breaks: "Batches of two leader epochs leave two behind.",
    file: `${room}/cleaned-file.ts`,
    replace: [["gap?.leaderEpoch === place.leaderEpoch &&", "gap !== undefined &&"]],
    tests: [logs],
  },
  {
    name: "compaction-offsets-by-place",
    breaks: "A record that left its offset to its place says it once others are gone.",
    file: `${room}/kept-records.ts`,
    replace: [["  if (!isDeltaWritten) {", "  if (start < 0) {"]],
    tests: [logs],
  },
  {
    name: "compaction-goes-on-over-damage",
    breaks: "Damage that a cleaning meets takes the log offline.",
    file: `${room}/clean-log.ts`,
    replace: [
      ["if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) this", "if (thrown === undefined) this"],
    ],
    tests: [logs],
  },
  {
    name: "compaction-fails-over-a-deletion",
    breaks: "A log whose segments were deleted while they were cleaned is cleaned again.",
    file: `${room}/clean-log.ts`,
    replace: [
      ["this.#isVoid || this.#partition.logStartOffset !== this.#logStart", "this.#isVoid"],
    ],
    tests: [logs],
  },
  {
    name: "compaction-lag-of-open-segments",
    breaks: "A segment is closed in time for its records to be compacted.",
    file: `${src}/partition/types.ts`,
    replace: [["Math.min(config.segmentMs, config.maxCompactionLagMs)", "config.segmentMs"]],
    tests: [logs],
  },
  {
    name: "log-large-index-in-one-call",
    breaks: "The index of a large segment can be written.",
    file: `${src}/segment/segment-index.ts`,
    replace: [
      [
        "for (const row of written.rows) this.#rows?.push(row);",
        "this.#rows?.push(...written.rows);",
      ],
    ],
    tests: [`${src}/segment/segment-index.test.ts`],
  },
  {
    name: "compaction-index-added-to",
    breaks: "The index of a cleaned segment is written whole: a start believes it.",
    file: `${src}/segment/segment-index.ts`,
    replace: [
      ["    this.#filesVersion += 2;\n    this.#replaces = true;", "    this.#filesVersion += 2;"],
    ],
    tests: [crash],
  },
  {
    name: "compaction-unthrottled",
    breaks: "Compaction takes no more of the disk than it may.",
    file: `${room}/throttle.ts`,
    replace: [["> aheadMsMax ? this.#wait()", "> 1e15 ? this.#wait()"]],
    tests: [`${room}/throttle.test.ts`],
  },
  {
    name: "compaction-lost-with-the-points",
    breaks: "Without recovery points a cleaned log is not taken for one that lacks batches.",
    file: `${src}/recovery/loader.ts`,
    replace: [["await pointOfCleaning(disk, directory, { ...id, life })", "undefined"]],
    tests: [logs],
  },
  {
    name: "compaction-follower-stands-still",
    breaks: "A follower that ends inside of what became one batch goes on.",
    file: `${src}/partition/replicated.ts`,
    replace: [["lastOffset < offset) return undefined", "lastOffset >= offset) return undefined"]],
    tests: [replicas],
  },
  {
    name: "compaction-follower-cuts-records",
    breaks: "A follower cuts no batch with records in it.",
    file: `${src}/partition/replicated.ts`,
    replace: [["recordCount > 0 || producerId >= 0 ||", "producerId >= 0 ||"]],
    tests: [replicas],
  },
  {
    name: "compacted-records-deleted",
    breaks: "Records of a topic that is compacted alone are not deleted by their offset.",
    file: "services/broker/src/log-service.ts",
    replace: [["compactionEnabled && !retentionEnabled", "compactionEnabled && retentionEnabled"]],
    tests: [service],
  },
  {
    name: "compacted-and-not-deleted",
    breaks: "cleanup.policy=compact,delete deletes, too.",
    file: "services/broker/src/partitions/log-config.ts",
    replace: [['has(config, "delete")', 'config["cleanup.policy"] === "delete"']],
    tests: [service],
  },
  {
    name: "compaction-thread-goes-on",
    breaks: "A thread ends with the cleaning that it is for.",
    file: `${src}/node/cleaning-thread.ts`,
    replace: [["if (this.#isVoid()) Atomics", "if (this.#gone) Atomics"]],
    tests: [`${src}/node/cleaning-thread.test.ts`],
  },
  {
    name: "compaction-thread-hangs",
    breaks: "A thread that dies fails what waits for it.",
    file: `${src}/node/cleaning-thread.ts`,
    replace: [["      this.#waiting?.reject(this.#gone);\n", ""]],
    tests: [`${src}/node/cleaning-thread.test.ts`],
  },
  {
    name: "compaction-thread-loses-errors",
    breaks: "What the disk fails with in a thread has its code.",
    file: `${src}/node/failures.ts`,
    replace: [['code === "" ? {} : { code }', "{}"]],
    tests: [`${src}/node/cleaning-thread.test.ts`],
  },
  {
    name: "compaction-thread-hides-damage",
    breaks: "Damage that a thread meets takes the log offline.",
    file: `${src}/node/failures.ts`,
    replace: [["thrown instanceof MillraceError)", "thrown instanceof MillraceError && !message)"]],
    tests: [`${src}/node/cleaning-thread.test.ts`],
  },
  {
    name: "compaction-thread-without-rows",
    breaks: "A segment that a thread cleaned has its index.",
    file: `${src}/node/messages.ts`,
    replace: [["at < numbers.length; at += numbersPerRow", "at < 0; at += numbersPerRow"]],
    tests: [`${src}/node/cleaning-thread.test.ts`],
  },
  {
    name: "compaction-on-the-event-loop",
    breaks: "A large log is cleaned in a thread.",
    file: `${room}/clean-log.ts`,
    replace: [
      [
        "beginCleaning !== undefined && bytes >= apartBytesMin",
        "beginCleaning !== undefined && bytes < 0",
      ],
    ],
    tests: [`${src}/node/cleaning-thread.test.ts`],
  },
];
