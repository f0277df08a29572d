/** A log that begins anew: nothing of the old one counts, and no crash leaves a mixture. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const partition = `${src}/partition/partition.ts`;
const files = `${src}/partition/partition-files.ts`;
const beganAnew = `${src}/recovery/began-anew.ts`;
const reset = `${src}/partition/reset.test.ts`;
const faults = `${src}/faults/reset.test.ts`;

export const resets: readonly Mutant[] = [
  {
    name: "log-reset-not-journalled",
    breaks: "A log that began anew is the new one after a crash.",
    file: `${src}/partition/journalled-changes.ts`,
    replace: [
      [
        'change.kind === "truncate" && bugs.truncationNotJournalled;',
        'change.kind === "reset" || (change.kind === "truncate" && bugs.truncationNotJournalled);',
      ],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-as-a-log-start",
    breaks: "A reset in the journal is told from a log start that moves.",
    file: `${src}/journal/format.ts`,
    replace: [["deleted: 5, reset: 6 }", "deleted: 5, reset: 3 }"]],
    tests: [`${src}/formats.test.ts`],
  },
  {
    name: "log-reset-of-what-is-damaged",
    breaks: "A log that is damaged keeps its files, also where that is met while a reset waits.",
    file: partition,
    replace: [
      [
        '    if (this.#state.kind !== "online") throw errors.noWrites(this.name, this.#state);\n    let removing',
        "    let removing",
      ],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-anywhere",
    breaks: "What is no offset is refused before anything is done.",
    file: partition,
    replace: [["    checkStart(this.name, startOffset);\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-beside-appends",
    breaks: "Nothing is appended while a log begins anew.",
    file: partition,
    replace: [
      [
        "    await this.#withoutAppends(() => this.#reset(startOffset));",
        "    await this.#changes.run(() => this.#reset(startOffset));",
      ],
    ],
    tests: [reset],
  },
  {
    name: "log-reset-keeps-log-start",
    breaks: "A log start behind a reset may lie below that of the old log.",
    file: partition,
    replace: [["    this.#logStartBeingMoved = start;\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-keeps-high-watermark",
    breaks: "The high watermark of a log that began anew is its start.",
    file: partition,
    replace: [
      [
        "    this.#endAt(start, start);",
        "    this.#endAt(start, Math.min(this.#highWatermark, start));",
      ],
    ],
    tests: [reset],
  },
  {
    name: "log-reset-read-straddles",
    breaks: "A read that a reset or a truncation straddles is void.",
    file: partition,
    replace: [["    this.#cuts += 1;\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-point-of-the-old-log",
    breaks: "A partition that goes offline behind its reset is not that of the old recovery point.",
    file: partition,
    replace: [
      [
        "    this.#lastPoint = pointAnewAt(this, start, this.#lastPoint?.journalRound ?? 0n);\n",
        "",
      ],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-point-of-before-counts",
    breaks:
      "A checkpoint that saw the old log says nothing of the new one, whatever the flush policy.",
    file: partition,
    replace: [["    this.promises.truncated(start, true);\n", ""]],
    tests: [faults],
  },
  {
    name: "log-reset-keeps-epochs",
    breaks: "A log that began anew knows no epoch.",
    file: `${src}/partition/leader-epochs.ts`,
    replace: [["    this.#entries = [];\n    this.#logStartOffset", "    this.#logStartOffset"]],
    tests: [reset],
  },
  {
    name: "log-reset-epochs-unwritten",
    breaks: "Epochs of the old log that a checkpoint still wrote are written over.",
    file: `${src}/partition/leader-epochs.ts`,
    replace: [
      [
        "    this.#logStartOffset = startOffset;\n    this.durability.changed();\n",
        "    this.#logStartOffset = startOffset;\n",
      ],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-epochs-unwritten-after-a-crash",
    breaks: "A log whose reset a start has finished has its file of epochs again.",
    file: `${src}/recovery/loader.ts`,
    replace: [["    if (place.beganAnew) partition.epochs.durability.changed();\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-keeps-producers",
    breaks: "A log that began anew knows no producer.",
    file: `${src}/partition/producer-state.ts`,
    replace: [["    for (const table of [this.latest, this.completed]) table.replace([]);\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-keeps-rolls",
    breaks: "No snapshot of the old log's producers is written behind a reset.",
    file: `${src}/partition/producer-state.ts`,
    replace: [["    this.#keep([]);\n    this.#snapshotOffset = undefined;\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-keeps-announcement",
    breaks: "What was announced of the old log lets nothing of the new one go.",
    file: partition,
    replace: [["    this.#announcements.beginAnew();\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-keeps-files",
    breaks: "The files of the old log are gone once a reset resolves.",
    file: files,
    replace: [["      await removeOldLog(this.#context.env.disk, directory);\n", ""]],
    tests: [reset],
  },
  {
    name: "log-reset-writes-on",
    breaks: "A batch of the old log that is still to be written comes to no file of the new one.",
    file: files,
    replace: [
      [
        "      for (const segment of [...this.#dropped, ...dropped]) await letGo(this.#context, segment);\n",
        "",
      ],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-keeps-names",
    breaks: "Segments, indexes, epochs and producers of the old log are removed, and nothing else.",
    file: `${src}/partition/old-log.ts`,
    replace: [['  name === "leader-epochs" ||\n', ""]],
    tests: [reset],
  },
  {
    name: "log-reset-not-finished",
    breaks: "A start finishes a reset that the journal has.",
    file: beganAnew,
    replace: [["  await removeOldLog(disk, directory);\n", ""]],
    tests: [faults],
  },
  {
    name: "log-reset-point-of-before-recovers",
    breaks: "Recovery believes no recovery point of the log before a reset.",
    file: beganAnew,
    replace: [
      ["  return { ...known, point, entries:", "  return { ...known, entries:"],
      ["  const point = pointAnewAt(known, reset.offset, BigInt(reset.round));\n", ""],
      ['import { pointAnewAt } from "../partition/point-anew.ts";\n', ""],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-takes-the-first",
    breaks: "The last reset in the journal is the one that counts.",
    file: beganAnew,
    replace: [["entries.findLastIndex(", "entries.findIndex("]],
    tests: [faults],
  },
  {
    name: "log-reset-drops-the-only-copy",
    breaks: "Recovery drops no file that may hold a batch which the journal has lost.",
    file: beganAnew,
    replace: [["!entry.sound) throw lostBatch(entry.offset);", "!entry.sound) break;"]],
    tests: [faults],
  },
  {
    name: "log-reset-of-lost-points",
    breaks: "Without recovery points no reset is taken for newer than the files.",
    file: beganAnew,
    replace: [["  if (pointsLost) {", "  if (!pointsLost) {"]],
    tests: [faults],
  },
  {
    name: "log-reset-forgotten-when-not-listed",
    breaks: "A reset that is not finished outlives a directory that cannot be listed.",
    file: `${src}/recovery/loader.ts`,
    replace: [["      return undropped === undefined\n", "      return names !== undefined\n"]],
    tests: [`${src}/faults/reset.test.ts`],
  },
  {
    name: "log-old-names-come-back",
    breaks: "Names of an old log that was dropped do not come back, though recovery failed.",
    file: `${src}/recovery/loader.ts`,
    replace: [["    if (place.beganAnew) partition.names.changed();\n", ""]],
    tests: [`${src}/faults/reset.test.ts`],
  },
  {
    name: "log-reset-half-done-is-served",
    breaks: "A reset that a start cannot finish takes the partition offline.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "(await this.#offlineReason(place, names)) ?? undropped;",
        "await this.#offlineReason(place, names);",
      ],
    ],
    tests: [faults],
  },
  {
    name: "log-reset-lost-directory",
    breaks: "A lost directory whose log began anew is told, not made anew.",
    file: `${src}/recovery/loader.ts`,
    replace: [[' || kind === "reset")) return true;', ")) return true;"]],
    tests: [faults],
  },
  {
    name: "log-reset-verify-counts-the-old",
    breaks: "The check of a directory compares no file of the old log with one of the new.",
    file: `${src}/tools/verify.ts`,
    replace: [["this.#dry.keeps(path) ? (kept.get(base) ?? 0) : 0;", "kept.get(base) ?? 0;"]],
    tests: [faults],
  },
];
