/** What recovery must neither forget nor believe. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const epochs = `${src}/faults/epochs.test.ts`;
const lives = `${src}/faults/lives.test.ts`;
const missing = `${src}/faults/missing.test.ts`;
const evidence = `${src}/faults/evidence.test.ts`;

export const recovery: readonly Mutant[] = [
  {
    name: "log-missing-forgotten",
    breaks: "A partition whose directory is missing stays known when only the journal knew it.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        'partition.takeOffline(reasonOfLoss(place, more), !more && (point?.offlineReason ?? "") === "");',
        "partition.takeOffline(reasonOfLoss(place, more), true);",
      ],
    ],
    tests: [missing],
  },
  {
    name: "log-missing-forgotten-later",
    breaks: "It stays known at the second start after the one that missed it, too.",
    file: `${src}/recovery/loader.ts`,
    replace: [['point.offset > 0n || point.offlineReason !== ""', "point.offset > 0n"]],
    tests: [missing],
  },
  {
    name: "log-missing-freed",
    breaks: "The journal's batches of a partition whose directory is missing are kept.",
    file: `${src}/recovery/loader.ts`,
    replace: [["    await salvage(context.env.disk, directory, entries);\n", ""]],
    tests: [missing],
  },
  {
    name: "log-missing-comes-back-whole",
    breaks: "A directory that is put back is offline if it may lack what only the journal had.",
    file: `${src}/recovery/begin.ts`,
    replace: [['const lost = incarnation === 0n && offlineReason !== "";', "const lost = false;"]],
    tests: [missing],
  },
  {
    name: "log-missing-ends-next-life",
    breaks: "A partition that is made anew is not offline because its last life was missing.",
    file: `${src}/recovery/begin.ts`,
    replace: [
      ["return (deleted || lost) && journalRound", "return lost || (deleted && journalRound"],
      ["<= Number(journalRound);\n};", "<= Number(journalRound));\n};"],
    ],
    tests: [missing],
  },
  {
    name: "log-unknown-life-unnoted",
    breaks: "Entries of a partition that cannot be read are kept until its state is on the disk.",
    file: `${src}/recovery/loader.ts`,
    replace: [["if (place.life === unknownLife && entries.length > 0) throw thrown;\n", ""]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-damage-before-life",
    breaks: "Damaged rounds of the journal take no partition offline that was made after them.",
    file: `${src}/recovery/begin.ts`,
    replace: [["damagedUpTo > covered ? damagedUpTo", "covered >= -1 ? damagedUpTo"]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-damage-of-first-round-of-life",
    breaks: "Damage in the first round of a partition's life takes it offline.",
    file: `${src}/recovery/begin.ts`,
    replace: [["Math.max(life.firstRound - 1,", "Math.max(life.firstRound,"]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-earlier-deletion-ends-unknown",
    breaks: "The deletion of an earlier life does not end one whose meta file cannot be read.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "return this.#unreadable(place, `its meta file cannot",
        "if (place.point?.deleted === true) return undefined;\n      return this.#unreadable(place, `its meta file cannot",
      ],
    ],
    tests: [lives],
  },
  {
    name: "log-earlier-deletion-ends-damaged",
    breaks: "The deletion of an earlier life does not end one whose meta file is damaged.",
    file: `${src}/recovery/loader.ts`,
    replace: [["if (halfMade && !(", "if (place.point?.deleted || !("]],
    tests: [lives],
  },
  {
    name: "log-deletion-of-unknown-life-forgotten",
    breaks: "The deletion of a partition whose life is not known stays on record.",
    file: `${src}/recovery/loader.ts`,
    replace: [["if (point !== undefined) partition", "if (point?.deleted === false) partition"]],
    tests: [lives],
  },
  {
    name: "log-deletion-ends-later-life",
    breaks: "A deletion ends the lives that began before it, and no later one.",
    file: `${src}/recovery/begin.ts`,
    replace: [["firstRound <= Number(journalRound)", "firstRound >= 0"]],
    tests: [lives],
  },
  {
    name: "log-weak-before-written",
    breaks: "What the journal does not hold counts once the files have all before it.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [
      ["        if (target.promises.takeUnwritten()) this.#unwritten(target, written);\n", ""],
    ],
    tests: [`${src}/faults/memory.test.ts`],
  },
  {
    name: "log-round-given-twice",
    breaks: "No round before a partition's life is given again.",
    file: `${src}/open.ts`,
    replace: [["after ?? 0, loader.firstRoundMax - 1);", "after ?? 0);"]],
    tests: [lives],
  },
  {
    name: "log-impossible-point-believed",
    breaks: "A recovery point that no log ever had is not believed.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [
      ["point.segmentBaseOffset <= point.offset", "point.segmentBaseOffset + point.offset >= 0n"],
    ],
    tests: [`${src}/damage.test.ts`],
  },
  {
    name: "log-unreadable-points-written-anew",
    breaks: "Recovery points that cannot be read end a start, and are not written anew.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [["  if (unreadable !== undefined) throw unreadable;\n", ""]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-deletion-without-round",
    breaks: "A partition that is deleted while its life is not known does not come back.",
    file: `${src}/manager.ts`,
    replace: [["committer.nextRound - 1;", "committer.nextRound * 0;"]],
    tests: [lives],
  },
  {
    name: "log-lost-rounds-forgotten",
    breaks: "What the journal lost of a partition that cannot be read is remembered.",
    file: `${src}/recovery/loader.ts`,
    replace: [["if (damaged || entries.length > 0) return", "if (entries.length > 0) return"]],
    tests: [lives],
  },
  {
    name: "log-unrecorded-deletion-succeeds",
    breaks: "A deletion that nothing on the disk keeps is not answered as done.",
    file: `${src}/manager.ts`,
    replace: [
      [
        "      if (!recorded) throw storageError(",
        "      if (recorded === undefined) throw storageError(",
      ],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-lives-share-a-name",
    breaks: "Each life of a partition is renamed aside under a name of its own.",
    file: `${src}/recovery/data-directory.ts`,
    replace: [["const life = incarnation.toString(16)", "const life = 0n.toString(16)"]],
    tests: [`${src}/faults/missing.test.ts`],
  },
  {
    name: "log-missing-excused-by-earlier-life",
    breaks: "What is left of an earlier life says nothing about a missing partition.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      ["      if (same) return true;", "      if (same || meta.partition >= 0) return true;"],
    ],
    tests: [`${src}/faults/missing.test.ts`],
  },
  {
    name: "log-renamed-directory-no-record",
    breaks: "A renamed directory is the record of a deletion that the journal could not keep.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "point === undefined ? Number(firstRound) > after : ",
        "point === undefined ? coveredRound < 0 : ",
      ],
    ],
    tests: [`${src}/faults/missing.test.ts`],
  },
  {
    name: "log-renamed-directory-excuses-next",
    breaks: "A renamed directory from before the recovery points is no record of later deletions.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "point === undefined ? Number(firstRound) > after : ",
        "point === undefined ? firstRound >= 0n : ",
      ],
    ],
    tests: [`${src}/faults/missing.test.ts`],
  },
  {
    name: "log-missing-deletion-succeeds",
    breaks: "A deletion of a missing partition that the journal does not keep is no success.",
    file: `${src}/manager.ts`,
    replace: [["      if (!recorded) await disk.list(aside);\n", ""]],
    tests: [missing],
  },
  {
    name: "log-failed-deletion-forgotten",
    breaks: "A deletion that failed can be asked for again, and fails again.",
    file: `${src}/manager.ts`,
    replace: [
      ["        this.#partitions.set(key, gone);\n        throw thrown;", "        throw thrown;"],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-damage-noted-in-next-life",
    breaks: "A deletion waits for the note of its life's damage.",
    file: `${src}/manager.ts`,
    replace: [["      await gone.offlineRecord.unrecorded();\n", ""]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-unreadable-epochs-come-back",
    breaks: "Epochs that a truncation cut off while their file could not be read stay cut off.",
    file: `${src}/recovery/epochs.ts`,
    replace: [["directory)) epochs.durability.changed();", "directory)) void epochs;"]],
    tests: [epochs],
  },
  {
    name: "log-epochs-written-beside-open-meta",
    breaks: "Recovery writes nothing beside a meta file whose name may not be durable.",
    file: `${src}/recovery/epochs.ts`,
    replace: [["    if (await hasEpochs(this.#context, directory)) epochs", "    epochs"]],
    tests: [epochs],
  },
  {
    name: "log-deleted-epochs-forgotten",
    breaks: "A log that begins again at its start knows who led it there.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["    this.#epochs.goOnAt(offset);\n", ""]],
    tests: [epochs],
  },
  {
    name: "log-deleted-epochs-behind-gap-forgotten",
    breaks: "A log that goes on behind deleted segments knows who led it there.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      ["    this.#epochs.goOnAt(offset);\n", ""],
      [
        "    await this.#goOnAt(this.#logStart);\n",
        "    await this.#goOnAt(this.#logStart);\n    this.#epochs.goOnAt(this.#logStart);\n",
      ],
    ],
    tests: [epochs],
  },
  {
    name: "log-epoch-of-cut-batch-forgotten",
    breaks: "The epoch of a batch that a truncation takes from below the log start stays known.",
    file: `${src}/partition/journalled-changes.ts`,
    replace: [["if (offset <= kept && leaderEpoch > 0)", "if (offset > kept && leaderEpoch < 0)"]],
    tests: [epochs],
  },
  {
    name: "log-opens-over-failed-fsync",
    breaks: "A directory whose fsync failed while it opened after a clean stop does not open.",
    file: `${src}/open.ts`,
    replace: [["  if (committer.failure !== undefined) throw committer.failure;\n", ""]],
    tests: [`${src}/faults/failed-disk.test.ts`],
  },
  {
    name: "log-deleted-epochs-back-after-truncation",
    breaks: "A cut at the log start takes the epochs that began there, also those of the file.",
    file: `${src}/recovery/epochs.ts`,
    replace: [["entry.startOffset < offset);\n", "entry.startOffset <= offset);\n"]],
    tests: [epochs],
  },
  {
    name: "log-clean-epoch-forgotten",
    breaks: "An empty log whose epochs cannot be read after a clean stop knows who led it.",
    file: `${src}/recovery/after-clean-stop.ts`,
    replace: [[" && (endOffset > 0 || (point.leaderEpoch ?? 0) > 0))", " && endOffset > 0)"]],
    tests: [epochs],
  },
  {
    name: "log-offline-name-not-durable",
    breaks: "A segment of an offline partition keeps its name when its journal space goes.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "    await partition.files.syncNames();\n",
        '    if (partition.state.kind !== "offline") await partition.files.syncNames();\n',
      ],
    ],
    tests: [evidence],
  },
  {
    name: "log-offline-reason-forgotten",
    breaks: "The reason in the recovery points outlives a start that cannot read the partition.",
    file: `${src}/recovery/loader.ts`,
    replace: [['    partition.offlineRecord.keepInPoints(point?.offlineReason ?? "");\n', ""]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-recovered-synced-too-late",
    breaks: "What recovery wrote is fsynced while the journal still has it.",
    file: `${src}/recovery/loader.ts`,
    replace: [["    await syncSegments(context, partition.segments);\n", ""]],
    tests: [evidence],
  },
  {
    name: "log-evidence-cut",
    breaks: "Recovery cuts no segment that may hold a batch which the journal has lost.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["      if (!entry.sound) throw lostBatch(entry.offset);\n      if", "      if"]],
    tests: [evidence],
  },
  {
    name: "log-fsynced-cut",
    breaks: "Recovery cuts no segment that alone has what was acknowledged.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      ["      if (entry.offset > end && entry.offset > this.#logStart) {", "      if (end < 0) {"],
    ],
    tests: [evidence],
  },
  {
    name: "log-lost-index-added-to",
    breaks: "A lost index is replaced as a whole: a crash leaves the old one or the new one.",
    file: `${src}/segment/segment-index.ts`,
    replace: [["    this.#replaces ||= lost;\n", ""]],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-lost-index-rows-first",
    breaks: "The times of a lost index are replaced before its rows.",
    file: `${src}/segment/files.ts`,
    replace: [
      [
        "      await replaceFile(disk, index.timePath, times);",
        "      const late = index.timePath;",
      ],
      [
        "      await replaceFile(disk, index.path, rows, false);",
        "      await replaceFile(disk, index.path, rows);\n      await replaceFile(disk, late, times);",
      ],
    ],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-failed-write-overlooked",
    breaks: "A round that fsyncs all segments sees one whose write has failed meanwhile.",
    file: `${src}/journal/commit-loop.ts`,
    // Either check alone sees it.
    replace: [
      ["segment.writtenBytes >= segment.sizeBytes;", "!this.#options.writes.has(segment);"],
      [
        "      if (this.#failure !== undefined) throw this.#failure;\n      this.#completeWeak",
        "      this.#completeWeak",
      ],
    ],
    tests: [`${src}/faults/failed-disk.test.ts`],
  },
  {
    name: "log-reason-taken-for-point",
    breaks: "A reason that is kept without a recovery point is no recovery point.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      ["lastPoint === undefined || isReasonAlone(lastPoint)", "lastPoint === undefined"],
      [
        "  if (logStart > noted.logStartOffset) noted.logStartOffset = logStart;\n",
        "  logStart;\n",
      ],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-offline-start-forgotten",
    breaks: "A partition that went offline while running and was repaired keeps its log start.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "  if (logStart > noted.logStartOffset) noted.logStartOffset = logStart;\n",
        "  logStart;\n",
      ],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-unrecovered-start-forgotten",
    breaks: "A partition that could not be recovered and was repaired keeps its log start.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "    keepPoint(partition, point && withLogStart(point, entries));\n",
        "    keepPoint(partition, point);\n",
      ],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-offline-cut-forgotten",
    breaks: "A partition that was truncated before it went offline can be repaired.",
    file: `${src}/partition/partition.ts`,
    replace: [
      ["    this.#lastPoint = pointCutTo(this.#lastPoint, segment.baseOffset, cut);\n", ""],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-point-of-the-uncut-log",
    breaks: "A checkpoint that a truncation overtook leaves no point of the log before it.",
    file: `${src}/partition/partition.ts`,
    replace: [
      [
        "    if (version === this.promises.version) this.#lastPoint = point;\n",
        "    this.#lastPoint = point;\n",
      ],
    ],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-missing-emptied-made-anew",
    breaks: "A missing partition all of whose records were deleted does not begin at 0 again.",
    file: `${src}/recovery/loader.ts`,
    replace: [["point.offset > 0n ||", "point.offset > point.logStartOffset ||"]],
    tests: [missing],
  },
  {
    name: "log-mixed-segments-cut",
    breaks: "What only later segments have outlives rot before it.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "    if (await this.#goesOn(offset, end)) return true;\n    await this.#cutHere();",
        "    await this.#cutHere();",
      ],
    ],
    tests: [evidence],
  },
  {
    name: "log-gap-of-the-journal-is-a-loss",
    breaks: "The journal puts back what rotted between what the segments still have.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["        if (await this.#goesOn(offset, end)) return true;\n", ""]],
    tests: [evidence],
  },
  {
    name: "log-older-points-are-not-kept",
    breaks: "Who believed the copy of the recovery points is followed by nobody who does not.",
    file: `${src}/open.ts`,
    replace: [["  if (found !== undefined) await replaceByCopy(disk, found);\n", ""]],
    tests: [`${src}/faults/points.test.ts`],
  },
  {
    name: "log-journal-begins-at-the-point",
    breaks: "After a truncation the journal has what lies behind the cut.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["      from: Math.min(from, backTo ?? from),\n", "      from,\n"]],
    tests: [`${src}/faults/deleted-producers.test.ts`],
  },
];
