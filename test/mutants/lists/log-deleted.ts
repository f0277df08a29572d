/** What is deleted takes nothing else with it, in whatever order its names come back. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const cameBack = `${src}/faults/came-back.test.ts`;
const deletedProducers = `${src}/faults/deleted-producers.test.ts`;
const deleted = `${src}/faults/deleted.test.ts`;

export const deletions: readonly Mutant[] = [
  {
    name: "log-deleted-gap-ends-log",
    breaks: "Recovery goes on behind a deleted segment whose older ones are still there.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "    if (batch !== undefined || this.#void) return batch;",
        "    if (batch !== undefined || this.#end >= 0) return batch;",
      ],
    ],
    tests: [deleted],
  },
  {
    name: "log-producers-go-with-segments",
    breaks: "Segments do not go before a snapshot has what they say of producers.",
    file: `${src}/partition/producer-state.ts`,
    replace: [["    if (newest?.offset === offset) return", "    if (newest) return"]],
    tests: [deleted],
  },
  {
    name: "log-stale-sequences-at-cut",
    breaks: "A producer goes on when the snapshot at a truncation cannot be read.",
    file: `${src}/partition/producer-snapshots.ts`,
    replace: [["  await goOnAt(endOffset);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-stale-sequences-at-hole",
    breaks: "A producer goes on behind a hole among deleted segments that came back.",
    file: `${src}/partition/producer-snapshots.ts`,
    replace: [["          await goOnAt(baseOffset);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-stale-sequences-at-rot",
    breaks: "A producer goes on behind a deleted batch that rotted in the journal.",
    file: `${src}/recovery/deleted-batches.ts`,
    replace: [
      [
        "  } else await recovered.forgetSequences();",
        "  } else await recovered.remember(entry.offset, Number.MAX_SAFE_INTEGER);",
      ],
    ],
    tests: [deleted],
  },
  {
    name: "log-epoch-rots-with-records",
    breaks:
      "The epoch of a deleted batch is known where its header is right and its records are not.",
    file: `${src}/recovery/deleted-batches.ts`,
    replace: [["  if (known) epochs.remember", "  if (known && entry.sound) epochs.remember"]],
    tests: [deleted],
  },
  {
    name: "log-stale-sequences-at-start",
    breaks: "A producer goes on when recovery cannot read the snapshot of deleted segments.",
    file: `${src}/recovery/producers.ts`,
    replace: [
      ["    await this.forgetSequences();\n    await this.#lookAhead", "    await this.#lookAhead"],
    ],
    tests: [deleted],
  },
  {
    name: "log-unreadable-snapshot-untold",
    breaks: "A snapshot of producers that cannot be read is told.",
    file: `${src}/partition/producer-snapshots.ts`,
    replace: [
      ["    logger.warn({ path: producersPath(directory, covered) }, unreadableText);\n", ""],
    ],
    tests: [deleted],
  },
  {
    name: "log-deleted-epoch-forgotten",
    breaks: "Recovery knows the epochs of batches that were deleted since.",
    file: `${src}/recovery/deleted-batches.ts`,
    replace: [["  if (known) epochs.remember(header.leaderEpoch, entry.offset);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-snapshot-ahead-ignored",
    breaks: "Recovery from a cut below the log start believes the snapshot of deleted segments.",
    file: `${src}/recovery/producers.ts`,
    replace: [["    if (this.#ahead?.offset === end) this.#begin(this.#ahead);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-producers-before-the-point-forgotten",
    breaks: "Producers from before a recovery point outlive a snapshot that was not written.",
    file: `${src}/recovery/producers.ts`,
    replace: [["      if (!rebuilt.whole) await this.#lookAhead(from);\n", ""]],
    tests: [`${src}/faults/deleted-producers.test.ts`],
  },
  {
    name: "log-producers-not-durable-before-segments-go",
    breaks: "What segments say of producers is durable elsewhere before the segments go.",
    file: `${src}/partition/partition-files.ts`,
    replace: [["    await this.syncNames();\n    await dropSegments", "      await dropSegments"]],
    tests: [deletedProducers],
  },
  {
    name: "log-deleted-batch-written",
    breaks: "A batch of the journal that was deleted is not written over what comes behind it.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["        if (await this.#passDeleted(this.#logStart)) return false;\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-hole-forgets-journal",
    breaks: "The journal knows the producers of deleted segments whose snapshot is lost.",
    file: `${src}/recovery/producers.ts`,
    replace: [["    if (!rebuilt.whole && from < end) {", "    if (!rebuilt.whole && from < 0) {"]],
    tests: [deleted],
  },
  {
    name: "log-hole-without-snapshot",
    breaks: "A truncation behind a hole knows the producers that the journal had there.",
    file: `${src}/recovery/producers.ts`,
    replace: [["    this.#partition.producers.rolled(end);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-hole-believes-part",
    breaks: "Producers go on behind a hole that the journal fills only in part.",
    file: `${src}/recovery/producers.ts`,
    replace: [
      [
        "    if (from < end) await this.#forgetBefore(end);",
        "    if (from < 0) await this.#forgetBefore(end);",
      ],
    ],
    tests: [deleted],
  },
  {
    name: "log-hole-never-closed",
    breaks: "The end of a hole is told before batches behind it are taken.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "    await this.#producers.goOn(this.#end);\n    const batch = await this.#peek();",
        "    const batch = await this.#peek();",
      ],
    ],
    tests: [deleted],
  },
  {
    name: "log-deleted-epoch-zero",
    breaks: "Recovery knows epoch 0 of batches that were deleted since.",
    file: `${src}/partition/leader-epochs.ts`,
    replace: [
      ["    if (!later) this.assign", "    if (!later && leaderEpoch > this.latest) this.assign"],
    ],
    tests: [deleted],
  },
  {
    name: "log-deleted-epoch-after-later",
    breaks: "An epoch of deleted batches does not begin again behind later ones.",
    file: `${src}/partition/leader-epochs.ts`,
    replace: [["    if (!later) this.assign", "    if (this.latest >= 0) this.assign"]],
    tests: [deleted],
  },
  {
    name: "log-deleted-segment-short",
    breaks: "A deleted segment that comes back without its bytes is no damage.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "    if (this.#position > 0 && this.#logStart < this.#end) {",
        "    if (this.#position > 0 && (present !== undefined || this.#logStart < this.#end)) {",
      ],
    ],
    tests: [deleted],
  },
  {
    name: "log-deleted-segment-kept",
    breaks: "A deleted segment that comes back without its bytes goes again.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["    await dropSegments(context, this.#partition, deleted);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-undropped-forgotten",
    breaks: "Segments that could not be removed are removed later.",
    file: `${src}/partition/partition-files.ts`,
    replace: [["    this.#dropped.push(...dropped);\n", "    this.#dropped = [...dropped];\n"]],
    tests: [deleted],
  },
  {
    name: "log-renamed-before-forgotten",
    breaks: "A segment whose renaming failed once is removed whole later.",
    file: `${src}/segment/files.ts`,
    replace: [
      [
        "      await renameIfThere(disk, path, aside);\n",
        "      if ((await disk.fileSize(path)) === undefined) continue;\n      await renameIfThere(disk, path, aside);\n",
      ],
    ],
    tests: [deleted],
  },
  {
    name: "log-dropped-write-to-next-life",
    breaks: "Segments that wait for their removal write nothing to the next life's directory.",
    file: `${src}/partition/partition-files.ts`,
    replace: [["[...this.#dropped, ...this.#owner.segments]", "[...this.#owner.segments]"]],
    tests: [deleted],
  },
  {
    name: "log-unread-producers-forgotten",
    breaks: "Memory knows the producers of segments that go unread.",
    file: `${src}/partition/producer-state.ts`,
    replace: [["      table.replace(this.completed.entries().map(asOf(offset)));\n", ""]],
    tests: [deletedProducers],
  },
  {
    name: "log-unread-producers-of-later",
    breaks: "What memory keeps of deleted segments ends where they do.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["?? 0) >= offset) kept", "?? 0) < 0) kept"]],
    tests: [deletedProducers],
  },
  {
    name: "log-recovery-overtakes-journal",
    breaks: "Recovery that goes on behind a deleted segment does not overtake the journal.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      ["    return this.#end < upTo ? this.#peek() : undefined;", "    return this.#peek();"],
    ],
    tests: [deleted],
  },
  {
    name: "log-snapshot-behind-hole-ignored",
    breaks: "The snapshot of the log start knows what stood in a hole among deleted segments.",
    file: `${src}/recovery/producers.ts`,
    replace: [["    await this.#lookAhead(offset);\n", ""]],
    tests: [deleted],
  },
  {
    name: "log-deleted-segment-believed",
    breaks: "Nothing is written behind a deleted segment that came back without its bytes.",
    file: `${src}/recovery/unsynced.ts`,
    replace: [["end.offset > logStart) return false;", "end.offset >= 0) return false;"]],
    tests: [cameBack],
  },
  {
    name: "log-deleted-segment-with-tail",
    breaks: "What comes behind rot below the log start is not cut off.",
    file: `${src}/recovery/unsynced.ts`,
    replace: [["  return behind.offset <= logStart;", "  return behind.offset >= 0;"]],
    tests: [cameBack],
  },
  {
    name: "log-deleted-segment-cut",
    breaks: "A deleted segment that came back without its bytes is no damage before a cut.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "if (!(thrown instanceof PartitionDamage) || offset > this.#logStart) throw thrown;",
        "if (!(thrown instanceof PartitionDamage) || offset > 0) throw thrown;",
      ],
    ],
    tests: [cameBack],
  },
  {
    name: "log-left-segment-not-secured",
    breaks: "Segments that could not go outlive the journal that had them.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["if (isThere(segment) || isLeft(segment)) await", "if (isThere(segment)) await"]],
    tests: [deletedProducers],
  },
];
