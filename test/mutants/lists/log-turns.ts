/** Work on a log holds the event loop for some milliseconds at most. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const turns = `${src}/faults/turns.test.ts`;
const budget = `${src}/partition/producer-budget.test.ts`;

/** Sets the constant of a pause so high that there is none. */
const without = (name: string, breaks: string, file: string, constant: string): Mutant => {
  const [declared] = constant.split(" = ");
  return {
    name,
    breaks,
    file: `${src}/${file}`,
    replace: [[`const ${constant};`, `const ${declared} = 2 ** 30;`]],
    tests: [turns],
  };
};

export const shortTurns: readonly Mutant[] = [
  without(
    "log-segment-walked-in-one-turn",
    "A walk through a segment pauses between small batches.",
    "segment/batch-scanner.ts",
    "batchesPerTurn = 256",
  ),
  without(
    "log-read-checked-in-one-turn",
    "A read of small batches pauses while it checks them.",
    "partition/reader.ts",
    "batchesPerTurn = 512",
  ),
  {
    name: "log-snapshots-decoded-in-one-turn",
    breaks: "Snapshots that are read together are decoded in turns of their own.",
    file: `${src}/partition/producer-snapshots.ts`,
    replace: [["    await breathe(clock);\n", ""]],
    tests: [turns],
  },
  without(
    "log-records-searched-in-one-turn",
    "A search pauses between the records of a batch.",
    "partition/reader.ts",
    "recordsPerTurn = 4096",
  ),
  without(
    "log-journal-scanned-in-one-turn",
    "Reading the journal pauses between entries, also of many small rounds.",
    "journal/scan.ts",
    "entriesPerTurn = 1024",
  ),
  without(
    "log-journal-round-decoded-in-one-turn",
    "Reading one long round of the journal pauses between its entries.",
    "journal/format.ts",
    "entriesPerStep = 4096",
  ),
  without(
    "log-sequences-forgotten-in-one-turn",
    "Forgetting the sequences of many producers pauses between them.",
    "partition/producer-table.ts",
    "producersPerTurn = 8_192",
  ),
  {
    name: "log-pauses-end-together",
    breaks: "Of computations that pause at once each goes on in a turn of its own.",
    file: `${src}/files/breathe.ts`,
    replace: [["    if (waiting.length === 1) clock.defer(goOn);", "    clock.defer(goOn);"]],
    tests: [`${src}/files/breathe.test.ts`],
  },
  {
    name: "log-table-copied-while-it-is-cut",
    breaks: "A table that is cut while it is copied is copied anew.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["copied !== other.durability.version; ) {", "copied < 0; ) {"]],
    tests: [turns],
  },
  {
    name: "log-covered-journal-read-in-one-turn",
    breaks: "Reading rounds of the journal that the recovery points cover pauses between them.",
    file: `${src}/journal/scan.ts`,
    replace: [["    if (pace.took(found.entries.length)) await pace.pause();\n", ""]],
    tests: [turns],
  },
  {
    name: "log-large-file-copied-in-one-turn",
    breaks: "The parts of a large checksummed file are not put together in one turn.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [
      [
        "const chunks = [headOf(magic, parts), ...parts];",
        "const chunks = [Buffer.concat([headOf(magic, parts), ...parts])];",
      ],
    ],
    tests: [`${src}/files/checksummed-file.test.ts`],
  },
  {
    name: "log-producers-cut-in-one-turn",
    breaks: "An append that finds too many producers cuts some of ten thousand tables.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [["stepsPerAppend = 2048;", "stepsPerAppend = 2 ** 30;"]],
    tests: [budget],
  },
  {
    name: "log-producers-of-a-start-cut-in-one-turn",
    breaks: "A start that finds too many producers cuts their tables in steps.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [["this.changed(0)) yield;", "this.changed(0));"]],
    tests: [budget],
  },
  {
    name: "log-producers-cut-in-part",
    breaks: "The next append goes on where the last one ended cutting tables.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [
      ["(this.#count > this.#limit || this.#cut !== undefined)", "this.#count > this.#limit"],
    ],
    tests: [budget],
  },
  without(
    "log-journal-replayed-in-one-turn",
    "Recovery pauses between entries of the journal.",
    "recovery/after-crash.ts",
    "entriesPerTurn = 256",
  ),
  without(
    "log-checkpoint-captured-in-one-turn",
    "A checkpoint pauses between its pictures of partitions.",
    "recovery/checkpoint.ts",
    "capturedPerStep = 256",
  ),
  without(
    "log-points-encoded-in-one-turn",
    "Recovery points are encoded in short turns.",
    "recovery/recovery-points.ts",
    "pointsPerStep = 512",
  ),
  without(
    "log-retention-in-one-turn",
    "Retention pauses between partitions.",
    "manager.ts",
    "retainedPerTurn = 64",
  ),
  {
    name: "log-producers-captured-in-one-turn",
    breaks: "A checkpoint pauses between partitions with many producers.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["      pace.took(1 + producers / producersPerCapture);", "      pace.took();"]],
    tests: [turns],
  },
];
