/** Work on a log holds the event loop for some milliseconds at most. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const turns = `${src}/faults/turns.test.ts`;

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
