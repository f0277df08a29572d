/** The list of the journal's files. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const tests = [`${src}/faults/journal-files.test.ts`];

export const journalFiles: readonly Mutant[] = [
  {
    name: "log-lost-journal-file-has-a-last-round",
    breaks: "A lost journal file may have held any round, also those of a partition made in it.",
    file: `${src}/journal/scan.ts`,
    replace: [["damagedUpTo = Number.POSITIVE_INFINITY;", "damagedUpTo = lastRound + 1;"]],
    tests,
  },
  {
    name: "log-journal-file-removed-though-listed",
    breaks: "A journal file whose listing failed is kept: the list may have it.",
    file: `${src}/journal/journal.ts`,
    replace: [
      [
        "    await this.#list([...this.#files, made]);\n",
        "    await this.#list([...this.#files, made]).catch(async (thrown: unknown) => {\n" +
          "      await env.disk.unlink(journalFileName(made.number));\n      throw thrown;\n    });\n",
      ],
    ],
    tests,
  },
  {
    name: "log-failed-start-keeps-journal-open",
    breaks: "A start that fails on one journal file closes the others.",
    file: `${src}/journal/journal.ts`,
    replace: [["      await journal.close();\n", ""]],
    tests,
  },
  {
    name: "log-adopted-suffers-old-journal",
    breaks: "Damage of the journal is not about a directory that came from elsewhere.",
    file: `${src}/recovery/loader.ts`,
    replace: [["    this.#adopted.add(directory);\n", ""]],
    tests: [`${src}/faults/foreign.test.ts`],
  },
  {
    name: "log-journal-file-listed-before-its-name",
    breaks: "A file whose name is not durable yet is not listed as if it were.",
    file: `${src}/journal/journal.ts`,
    replace: [["    await disk.syncDirectory(paths.journal);\n", ""]],
    tests,
  },
];
