/** Numbers of sealed files that no log ever comes to. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const tests = [`${src}/faults/impossible-numbers.test.ts`];

export const numbers: readonly Mutant[] = [
  {
    name: "log-numbers-meta-round",
    breaks: "A partition whose meta file names an impossible round is offline.",
    file: `${src}/recovery/data-directory.ts`,
    replace: [["return firstRound > roundMax ? ", "return firstRound < 0n ? "]],
    tests,
  },
  {
    name: "log-numbers-point-round",
    breaks: "Recovery points with an impossible round are not believed.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [["  point.journalRound <= roundMax &&\n", ""]],
    tests,
  },
  {
    name: "log-numbers-covered-round",
    breaks: "Recovery points that cover an impossible round are not believed.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [["        if (found.coveredRound > roundMax) return undefined;\n", ""]],
    tests,
  },
  {
    name: "log-numbers-point-offsets",
    breaks: "Recovery points with offsets beyond 2^53 are not believed.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [["value <= Number.MAX_SAFE_INTEGER", "value >= 0n"]],
    tests,
  },
  {
    name: "log-numbers-journal-round",
    breaks: "A round of the journal with an impossible number is none.",
    file: `${src}/journal/format.ts`,
    replace: [["  if (round > roundMax) return undefined;\n", ""]],
    tests,
  },
];
