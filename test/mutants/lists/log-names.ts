/** How far the trouble with one name reaches. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const tests = [`${src}/faults/one-name.test.ts`];
const checkpoint = `${src}/recovery/checkpoint.ts`;

export const names: readonly Mutant[] = [
  {
    name: "log-name-stops-the-directory",
    breaks: "Leader epochs whose name cannot be used stop nobody at a checkpoint.",
    file: checkpoint,
    replace: [["point !== undefined && isOfOneName(thrown)", "false"]],
    tests,
  },
  {
    name: "log-name-or-disk",
    breaks: "An error that may be the disk's stops the directory.",
    file: checkpoint,
    replace: [["point !== undefined && isOfOneName(thrown)", "point !== undefined"]],
    tests,
  },
  {
    name: "log-name-old-epochs-left",
    breaks: "Leader epochs of another history do not stay where the new ones cannot be written.",
    file: checkpoint,
    replace: [["|| !(await removeEpochs(context, directory))) throw", ") throw"]],
    tests,
  },
  {
    name: "log-name-old-epochs-stay-and-stop-nobody",
    breaks: "Where the old file cannot go either, the directory stops.",
    file: `${src}/partition/epochs-file.ts`,
    replace: [
      [
        "    if (!isOfOneName(thrown)) throw thrown;\n    return false;",
        "    return thrown !== undefined;",
      ],
    ],
    tests,
  },
  {
    name: "log-name-point-without-epochs",
    breaks: "A point has the leader epochs that the file could not take.",
    file: checkpoint,
    replace: [["    point.leaderEpochs = epochsMessage(epochs.entries);\n", ""]],
    tests,
  },
  {
    name: "log-name-point-before-file",
    breaks: "A file of leader epochs is newer than those of the point.",
    file: `${src}/recovery/epochs.ts`,
    replace: [["known === undefined && point?.leaderEpochs", "point?.leaderEpochs"]],
    tests,
  },
  {
    name: "log-verify-needs-the-epochs-file",
    breaks: "A point that has the leader epochs is as good as their file.",
    file: `${src}/tools/check-partition.ts`,
    replace: [["this.#epochRuns.length > 0 && !carried", "this.#epochRuns.length > 0"]],
    tests,
  },
  {
    name: "log-start-passes-unsynced-names",
    breaks: "What a cut removed is gone for good before the log start passes it.",
    file: `${src}/partition/partition.ts`,
    replace: [["    await this.files.settleNames();\n", ""]],
    tests: [`${src}/faults/power-cut.test.ts`],
  },
  {
    name: "log-forgotten-producer-comes-back",
    breaks: "A producer that is forgotten while sequences are forgotten does not come back.",
    file: `${src}/partition/producer-table.ts`,
    replace: [[" || this.#producers.get(producer.id) !== producer) continue;", ") continue;"]],
    tests: [`${src}/partition/producer-budget.test.ts`],
  },
  {
    name: "log-name-behind-a-storage-error",
    breaks: "A name that cannot be removed stops nobody, too.",
    file: `${src}/files/disk-errors.ts`,
    replace: [["ofNames.has(errno(causeOf(thrown)))", "ofNames.has(errno(thrown))"]],
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
    name: "log-name-old-epochs-stay",
    breaks: "A start writes the leader epochs that the point had.",
    file: `${src}/recovery/epochs.ts`,
    replace: [["      epochs.durability.changed();\n      return;\n", "      return;\n"]],
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
];
