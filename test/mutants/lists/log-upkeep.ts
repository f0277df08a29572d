/** What the log gives back, gives up and forgets. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";

export const upkeep: readonly Mutant[] = [
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
];
