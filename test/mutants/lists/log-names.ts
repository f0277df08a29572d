/** How far the trouble with one name reaches. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const tests = [`${src}/faults/one-name.test.ts`];

export const names: readonly Mutant[] = [
  {
    name: "log-name-stops-the-directory",
    breaks: "A name that cannot be used concerns one partition.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "    if (!isOfOneName(thrown)) throw thrown;",
        "    if (thrown !== undefined) throw thrown;",
      ],
    ],
    tests,
  },
  {
    name: "log-disk-error-of-one-partition",
    breaks: "An error that may be the disk's stops the directory.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["    if (!isOfOneName(thrown)) throw thrown;\n", ""]],
    tests,
  },
  {
    name: "log-name-behind-a-storage-error",
    breaks: "A name that cannot be removed concerns one partition, too.",
    file: `${src}/files/disk-errors.ts`,
    replace: [["ofNames.has(errno(causeOf(thrown)))", "ofNames.has(errno(thrown))"]],
    tests,
  },
];
