/** What the log gives back and gives up. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const index = `${src}/faults/index.test.ts`;
const order = `${src}/faults/order.test.ts`;
const retention = `${src}/faults/retention.test.ts`;
const told = `${src}/faults/told.test.ts`;

export const upkeep: readonly Mutant[] = [
  {
    name: "log-deleted-segment-counted-twice",
    breaks: "A segment whose removal has to wait counts once as deleted.",
    file: `${src}/segment/files.ts`,
    replace: [
      [
        "    owner.names.changed();\n    for (const path of segment.paths) {",
        "    owner.names.changed();\n    context.observer.onSegmentDeleted?.(0);\n    for (const path of segment.paths) {",
      ],
      [
        "  for (const { sizeBytes } of segments) context.observer.onSegmentDeleted?.(sizeBytes);\n",
        "",
      ],
    ],
    tests: [`${src}/faults/counted.test.ts`],
  },
  {
    name: "log-cut-not-dirty-again",
    breaks: "A cut that a failed fsync dropped is made again before anything relies on it.",
    file: `${src}/recovery/segment-io.ts`,
    replace: [["const cut = truncated && segment.created", "const cut = false && segment.created"]],
    tests: [`${src}/faults/failed-disk.test.ts`],
  },
  {
    name: "log-cut-outlives-stop",
    breaks: "A truncation that finds no room does not hold up a stop for ever.",
    file: `${src}/partition/partition-files.ts`,
    replace: [["          if (this.#context.committer.impatient) throw this.#cutEnded();\n", ""]],
    tests: [`${src}/faults/disk.test.ts`],
  },
  {
    name: "log-cut-ended-claimed",
    breaks: "A stop that ended a truncation leaves no marker of a clean one.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        "    const error = errors.closing();\n    this.#context.committer.fail(error);",
        "    const error = errors.closing();",
      ],
    ],
    tests: [`${src}/faults/disk.test.ts`],
  },
  {
    name: "log-patience-without-end",
    breaks: "A shortage that does not end is told after ten seconds.",
    file: `${src}/files/patient-disk.ts`,
    replace: [["export const patienceMs = 10_000;", "export const patienceMs = 12_700;"]],
    tests: [`${src}/files/patient-disk.test.ts`],
  },
  {
    name: "log-directory-fsync-without-descriptor",
    breaks: "A directory that could not be opened was not fsynced, and is no failed disk.",
    file: `${src}/files/patient-disk.ts`,
    replace: [["        if (neverOpened(thrown)) throw thrown;\n", ""]],
    tests: [`${src}/files/patient-disk.test.ts`],
  },
  {
    name: "log-dropped-segment-unmarked",
    breaks: "A segment knows that it was taken out of the log before its files go.",
    file: `${src}/segment/files.ts`,
    replace: [["  segment.drop();\n", ""]],
    tests: [`${src}/faults/order.test.ts`],
  },
  {
    name: "log-index-entries-about-to-be-cut",
    breaks: "A load believes no more entries of an index file than the segment has.",
    file: `${src}/segment/index-cache.ts`,
    replace: [
      ["#read(index.path, rowsOnDisk)", "#read(index.path, 1e9)"],
      ["#read(index.timePath, timesOnDisk)", "#read(index.timePath, 1e9)"],
      ["const { rows } = decoded;", "const rows = decoded.rows.slice(0, rowsOnDisk);"],
    ],
    tests: [`${src}/segment/index-cache.test.ts`],
  },
  {
    name: "log-index-rows-of-unknown-times",
    breaks:
      "An index row says how late everything before it is, also what was there before a crash.",
    file: `${src}/segment/segment-index.ts`,
    replace: [["    if (maxMs === undefined) return undefined;\n", ""]],
    tests: [index],
  },
  {
    name: "log-index-rows-never-written",
    breaks: "Index rows that have gathered are written, also after a crash.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        "      if (!segment.index.complete) await indexes.rows(segment, this.config.indexIntervalBytes);\n",
        "",
      ],
    ],
    tests: [index],
  },
  {
    name: "log-half-a-file-left",
    breaks: "Half a file does not make a full disk fuller.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [["    await disk.unlink(temporary).catch(() => {});\n", ""]],
    tests: [`${src}/files/checksummed-file.test.ts`],
  },
  {
    name: "log-full-disk-is-final",
    breaks: "A file that found no room at its fsync is written anew once there is room.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [
      [
        "    throw isFull(cause) ? cause : thrown;",
        "    throw cause === undefined ? cause : thrown;",
      ],
    ],
    tests: [`${src}/files/checksummed-file.test.ts`],
  },
  {
    name: "log-new-name-unsynced",
    breaks: "A replaced file has its name durably.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [["  if (syncParent) await disk.syncDirectory(parentOf(path));\n", ""]],
    tests: [`${src}/files/checksummed-file.test.ts`],
  },
  {
    name: "log-queues-for-ever",
    breaks: "A partition that was deleted takes no memory.",
    file: `${src}/files/work-queue.ts`,
    replace: [["      if (lane.waiting === 0) this.#lanes.delete(key);\n", ""]],
    tests: [`${src}/manager.test.ts`],
  },
  {
    name: "log-two-queues-of-a-key",
    breaks: "Making and deleting a partition of one id happen one after another.",
    file: `${src}/files/work-queue.ts`,
    replace: [["if (lane.waiting === 0) this.#lanes.delete(key);", "this.#lanes.delete(key);"]],
    tests: [`${src}/files/work-queue.test.ts`],
  },
  {
    name: "log-reserve-given-up",
    breaks: "A reserve file that could not be removed is removed later.",
    file: `${src}/files/disk-space.ts`,
    replace: [["      this.#hasFile = !isMissing(thrown);\n", "      isMissing(thrown);\n"]],
    tests: [told],
  },
  {
    name: "log-close-fails-in-silence",
    breaks: "A file that cannot be closed is told.",
    file: `${src}/files/file-cache.ts`,
    replace: [
      [
        '      this.#logger.warn({ path: file.path, err: thrown }, "a segment file cannot be closed");\n',
        "",
      ],
    ],
    tests: [told],
  },
  {
    name: "log-checkpoint-waits-in-silence",
    breaks: "A checkpoint that nobody asked for says why it has to wait.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["        this.#options.context.env.logger.warn({ err: thrown }, waits);\n", ""]],
    tests: [told],
  },
  {
    name: "log-dropped-by-a-failed-disk-is-damage",
    breaks:
      "What a failed fsync dropped is in the journal, and takes no partition offline for good.",
    file: `${src}/partition/partition.ts`,
    replace: [['if (!recorded && kind !== "stopped") this', "if (!recorded) this"]],
    tests: [`${src}/faults/stopped.test.ts`],
  },
  {
    name: "log-dropped-write-stops-all",
    breaks: "An append that waits for older writes survives that retention drops their segment.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [["unlessDropped(segment, this.#written(segment))", "this.#written(segment)"]],
    tests: [order],
  },
  {
    name: "log-dropped-fsync-stops-all",
    breaks: "An append that fsyncs older segments survives that retention drops one of them.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [["unlessDropped(segment, this.#synced(segment))", "this.#synced(segment)"]],
    tests: [order],
  },
  {
    name: "log-every-failure-is-a-drop",
    breaks: "An append whose segment cannot be written fails.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [["    if (!segment.dropped) throw thrown;\n", "    void thrown;\n"]],
    tests: [`${src}/faults/failed-disk.test.ts`],
  },
  {
    name: "log-cut-believed-durable",
    breaks: "A recovery point claims no truncation before its files are cut, and fsynced.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      ["segment.durability.pending || segment.cutting ||", "segment.durability.pending ||"],
    ],
    tests: [`${src}/faults/power-cut.test.ts`],
  },
  {
    name: "log-other-logs-segment-ends-reads",
    breaks: "A segment of another log is damage, and not the end of what can be read.",
    file: `${src}/partition/reader.ts`,
    replace: [["if (read.chunk.length > 0 || endOffset < ackedEndOffset) return", "return"]],
    tests: [`${src}/damage.test.ts`],
  },
  {
    name: "log-times-of-unwritten-forgotten",
    breaks: "A lookup knows the times of batches that a cut left and that are still to be written.",
    file: `${src}/segment/index-cache.ts`,
    replace: [
      [
        "    await this.#writes.reach(segment, Math.min(endPosition, segment.index.unknownBytes));\n",
        "    await this.#writes.reach(segment, 0);\n",
      ],
    ],
    tests: [index],
  },
  {
    name: "log-scan-of-cut-file-never-ends",
    breaks: "A scan of a file that was cut under it ends.",
    file: `${src}/segment/batch-scanner.ts`,
    replace: [["        if (!more || haveBytes", "        if (haveBytes"]],
    tests: [`${src}/segment/batch-scanner.test.ts`],
  },
  {
    name: "log-wait-for-bytes-that-were-cut",
    breaks: "A read that a truncation overtakes does not wait for bytes that were cut.",
    file: `${src}/segment/writer.ts`,
    replace: [["    if (position > segment.sizeBytes) return", "    if (segment.dropped) return"]],
    tests: [order],
  },
  {
    name: "log-growing-log-kept-for-ever",
    breaks: "What was announced goes, also where there is more to go by then.",
    file: `${src}/partition/retention.ts`,
    replace: [["    return announced;\n", "    return log.logStartOffset;\n"]],
    tests: [retention],
  },
  {
    name: "log-no-start-without-reserve-file",
    breaks: "A directory starts where a quota leaves no room for the reserve file.",
    file: `${src}/files/disk-space.ts`,
    replace: [
      [
        "      if (!isPassing(thrown)) throw thrown;",
        '      if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOSPC")) throw thrown;',
      ],
    ],
    tests: [`${src}/faults/disk.test.ts`],
  },
  {
    name: "log-lookup-out-of-range",
    breaks: "A lookup by time whose segment is deleted under it is begun anew.",
    file: `${src}/partition/reader.ts`,
    replace: [
      [
        "      const changed = owner.cuts !== cuts || startMoved;",
        "      const changed = owner.cuts !== cuts;",
      ],
    ],
    tests: [retention],
  },
  {
    name: "log-largest-time-gone",
    breaks: "A log that has records has a largest time, whatever is deleted meanwhile.",
    file: `${src}/partition/reader.ts`,
    replace: [["const isOther = owner.logStartOffset !== logStartOffset ||", "const isOther ="]],
    tests: [retention],
  },
  {
    name: "log-retention-overlooks-damage",
    breaks: "Damage that retention meets takes the partition offline.",
    file: `${src}/partition/reader.ts`,
    replace: [
      [
        'return this.#guard(undefined, "log_end", () => this.#ageTimeOf(segment, nowMs));',
        "return this.#ageTimeOf(segment, nowMs);",
      ],
    ],
    tests: [retention],
  },
  {
    name: "log-index-rows-overlook-damage",
    breaks: "Damage that is met while index rows are written takes the partition offline.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        "        if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) this.#owner.takeOffline(thrown.message);\n",
        "",
      ],
    ],
    tests: [retention],
  },
];
