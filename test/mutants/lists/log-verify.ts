/** The check of a directory says what the next start says. */
import type { Mutant } from "../mutant.ts";

const tools = "packages/log/src/tools";
const faults = "packages/log/src/faults";
const harmless = `${faults}/verify.test.ts`;
const told = `${faults}/verify-told.test.ts`;

export const verified: readonly Mutant[] = [
  {
    name: "log-verify-forgets-cut",
    breaks: "A log that was cut behind its recovery point is not damaged.",
    file: `${tools}/check-partition.ts`,
    replace: [
      [
        "this.#end < logEndOffset)",
        "this.#end < Math.max(logEndOffset, Number(this.#partition.lastPoint?.offset ?? 0)))",
      ],
    ],
    tests: [harmless],
  },
  {
    name: "log-verify-below-log-start",
    breaks: "A log that was cut at its start is not damaged.",
    file: `${tools}/check-partition.ts`,
    replace: [["    this.#end = partition.logStartOffset;", "    this.#end = 0;"]],
    tests: [harmless],
  },
  {
    name: "log-verify-index-of-cut",
    breaks: "Index entries that the next start cuts are not damage.",
    file: `${tools}/dry-disk.ts`,
    replace: [
      [
        "  truncate: async (sizeBytes) => content.truncate(sizeBytes),",
        "  truncate: async () => {},",
      ],
    ],
    tests: [harmless],
  },
  {
    name: "log-verify-index-after-crash",
    breaks: "The index of the segment that recovery begins in need not be whole after a crash.",
    file: `${tools}/verify.ts`,
    replace: [
      ["      this.#dry,\n      this.#compressor,", "      this.#disk,\n      this.#compressor,"],
    ],
    tests: [harmless],
  },
  {
    name: "log-verify-directory-lost",
    breaks: "A partition whose directory or segments are gone is damaged.",
    file: `${tools}/verify.ts`,
    replace: [["      else await this.#tellOffline(partition);\n", ""]],
    tests: [harmless],
  },
  {
    name: "log-verify-middle-segment-lost",
    breaks: "A log that lacks a segment is damaged, also where a start looks at the last one only.",
    file: `${tools}/check-partition.ts`,
    replace: [["baseOffset > this.#partition.logStartOffset", "baseOffset < 0"]],
    tests: [told],
  },
  {
    name: "log-verify-without-journal",
    breaks: "Batches of the journal count, and one that rotted there is damage.",
    file: `${tools}/dry-start.ts`,
    replace: [["parts, found, clean);", "parts, found, true);"]],
    tests: [harmless, told],
  },
  {
    name: "log-verify-snapshot-rot",
    breaks: "A snapshot of producers that rotted is told.",
    file: `${tools}/check-partition.ts`,
    replace: [["    await this.#checkSnapshots();\n", ""]],
    tests: [harmless],
  },
  {
    name: "log-verify-points-copy-rot",
    breaks: "The copy of the recovery points is checked, too.",
    file: `${tools}/verify.ts`,
    replace: [["of [paths.recoveryPoints, paths.recoveryPointsCopy]", "of [paths.recoveryPoints]"]],
    tests: [told],
  },
  {
    name: "log-verify-torn-from-base",
    breaks: "Bytes that the journal has are not told to be cut.",
    file: `${tools}/verify.ts`,
    replace: [["kept.get(base) ?? 0)", "0)"]],
    tests: [harmless],
  },
  {
    name: "log-verify-deleted-gap",
    breaks: "What is missing below the log start was deleted, and is no damage.",
    file: `${tools}/check-partition.ts`,
    replace: [[" && baseOffset > this.#partition.logStartOffset) {", ") {"]],
    tests: [harmless],
  },
  {
    name: "log-verify-came-back",
    breaks: "A deleted segment that came back with junk in it holds no torn bytes.",
    file: `${tools}/verify.ts`,
    replace: [[" || base >= partition.logStartOffset)", " || base >= 0)"]],
    tests: [told],
  },
  {
    name: "log-verify-in-use",
    breaks: "A file that vanishes between two looks says that the directory is in use.",
    file: `${tools}/dry-disk.ts`,
    replace: [["      if (!names.has(name)) this", "      if (names.size < 0) this"]],
    tests: [told],
  },
  {
    name: "log-verify-in-use-throws",
    breaks: "A file that vanishes before it is opened is told, not thrown.",
    file: `${tools}/verify.ts`,
    replace: [["    if (dry.vanished.size === 0) throw thrown;", "    throw thrown;"]],
    tests: [told],
  },
  {
    name: "log-verify-given-up-files",
    breaks: "Files that were given up may go while the directory is looked at.",
    file: `${tools}/dry-disk.ts`,
    replace: [['!path.endsWith(deletedSuffix) && !path.endsWith(".tmp")', 'path !== ""']],
    tests: [told],
  },
  {
    name: "log-verify-writes",
    breaks: "Verify never writes.",
    file: `${tools}/dry-disk.ts`,
    replace: [
      [
        '    this.#set(path, "gone");\n  }\n\n  async makeDirectory',
        "    await this.#disk.unlink(path);\n  }\n\n  async makeDirectory",
      ],
    ],
    tests: [told],
  },
  {
    name: "log-verify-open-files",
    breaks: "Verify holds few descriptors, however many partitions there are.",
    file: `${tools}/dry-start.ts`,
    replace: [["{ ...defaultManagerConfig, openFilesMax }", "defaultManagerConfig"]],
    tests: [told],
  },
  {
    name: "log-verify-first-start",
    breaks: "A directory whose first start a crash ended is sound.",
    file: `${tools}/verify.ts`,
    replace: [
      ["    if (names.every((name) => parsePartitionDirectory(name) === undefined)) return;\n", ""],
    ],
    tests: [told],
  },
  {
    name: "log-verify-newer-format",
    breaks: "A directory that this version cannot open is not sound.",
    file: `${tools}/verify.ts`,
    replace: [
      ["    if (formatVersion <= FORMAT_VERSION) return", "    if (formatVersion > 0) return"],
    ],
    tests: [told],
  },
];
