/** How far the trouble with one name reaches. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const tests = [`${src}/faults/one-name.test.ts`];
const checkpoint = `${src}/recovery/checkpoint.ts`;
const cleanStop = `${src}/recovery/after-clean-stop.ts`;

export const names: readonly Mutant[] = [
  {
    name: "log-name-stops-the-directory",
    breaks: "A name that cannot be used stops nobody at a checkpoint.",
    file: checkpoint,
    replace: [["  if (!isOfOneName(thrown)) throw thrown;\n", "  if (env) throw thrown;\n"]],
    tests,
  },
  {
    name: "log-name-or-disk",
    breaks: "An error that may be the disk's stops the directory.",
    file: checkpoint,
    replace: [["  if (!isOfOneName(thrown)) throw thrown;\n", ""]],
    tests,
  },
  {
    name: "log-name-behind-a-storage-error",
    breaks: "A name that cannot be removed stops nobody, too.",
    file: `${src}/files/disk-errors.ts`,
    replace: [["ofNames.has(errno(causeOf(thrown)))", "ofNames.has(errno(thrown))"]],
    tests,
  },
  {
    name: "log-name-point-without-epochs",
    breaks: "A point has the leader epochs that the file could not take.",
    file: checkpoint,
    replace: [
      [
        "    if (point !== undefined) point.leaderEpochs = epochsMessage(epochs.entries);\n",
        "    if (point === undefined) return;\n",
      ],
    ],
    tests,
  },
  {
    name: "log-name-epochs-count-as-written",
    breaks: "Leader epochs that could not be written are written by the next checkpoint.",
    file: checkpoint,
    replace: [["    captured.epochs = undefined;\n", ""]],
    tests,
  },
  {
    name: "log-name-snapshots-count-as-written",
    breaks: "Snapshots that could not be written are written by the next checkpoint.",
    file: checkpoint,
    replace: [["    captured.snapshots = undefined;\n", ""]],
    tests,
  },
  {
    name: "log-name-old-epochs-believed",
    breaks: "Where the point has leader epochs, their file is older.",
    file: `${src}/recovery/epochs.ts`,
    replace: [
      ["    if (point?.leaderEpochs !== undefined) {", "    if (point?.leaderEpochs === null) {"],
    ],
    tests,
  },
  {
    name: "log-name-old-epochs-stay",
    breaks: "A start writes the leader epochs that the point had.",
    file: `${src}/recovery/epochs.ts`,
    replace: [["      epochs.durability.changed();\n      return;\n", "      return;\n"]],
    tests,
  },
  {
    name: "log-name-old-epochs-after-a-stop",
    breaks: "After a clean stop the file of leader epochs may be older than the point, too.",
    file: cleanStop,
    replace: [["    unwritten === undefined ? await readEpochs", "    true ? await readEpochs"]],
    tests,
  },
  {
    name: "log-name-stop-loses-epochs-later",
    breaks: "A start after a clean stop writes the leader epochs that the point had.",
    file: cleanStop,
    replace: [["  if (unwritten !== undefined) partition.epochs.durability.changed();\n", ""]],
    tests,
  },
  {
    name: "log-name-point-cut",
    breaks: "A cut takes leader epochs out of the point.",
    file: `${src}/partition/types.ts`,
    replace: [["startOffset < shorter.offset", "startOffset <= shorter.offset"]],
    tests,
  },
  {
    name: "log-name-in-the-way-at-start",
    breaks: "What lies in the way of a temporary file stops no start.",
    file: `${src}/recovery/data-directory.ts`,
    replace: [
      [
        "      if (!temporary || !isOfOneName(thrown)) throw thrown;",
        "      if (thrown) throw thrown;",
      ],
    ],
    tests,
  },
  {
    name: "log-name-stops-retention",
    breaks: "Segments wait where the snapshot they need has no name.",
    file: `${src}/partition/partition-files.ts`,
    replace: [["!isPassing(thrown) && !isOfOneName(thrown)", "!isPassing(thrown)"]],
    tests,
  },
];
