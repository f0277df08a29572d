/** Mutants of `npm run bench`: a number that is wrong is worse than none. */
import type { Mutant } from "../mutant.ts";

const lib = "bench/lib/";

export const benchMutants: readonly Mutant[] = [
  {
    name: "bench-stall-ends-with-what-was-under-way",
    breaks: "A wait counts also when it begins after the fault: answers under way end nothing.",
    file: `${lib}stalls.ts`,
    replace: [
      ["if (ackMs > fromMs) longest = ", "if (ackMs > fromMs && longest === 0) longest = "],
    ],
    tests: [`${lib}stalls.test.ts`],
  },
  {
    name: "bench-stall-forgets-the-open-end",
    breaks: "A wait that is not over counts up to the end of the span.",
    file: `${lib}stalls.ts`,
    replace: [["return Math.max(longest, toMs - lastMs);", "return longest;"]],
    tests: [`${lib}stalls.test.ts`],
  },
  {
    name: "bench-answer-of-before-the-fault-counts",
    breaks: "A partition is back once a record is answered that was sent after the fault.",
    file: `${lib}steady-load.ts`,
    replace: [["some((sentMs) => sentMs <= sinceMs)", "every((sentMs) => sentMs <= sinceMs)"]],
    tests: [`${lib}steady-load.test.ts`],
  },
  {
    name: "bench-failed-turn-is-not-told",
    breaks: "A run with a failure fails.",
    file: `${lib}runner.ts`,
    replace: [["this.failures.push(failure);", ""]],
    tests: [`${lib}runner.test.ts`],
  },
  {
    name: "bench-line-without-samples-meets-its-bound",
    breaks: "A claim that was not measured is not met.",
    file: `${lib}report.ts`,
    replace: [["ratio >= bound : ratio <= bound", "!(ratio < bound) : !(ratio > bound)"]],
    tests: [`${lib}report.test.ts`],
  },
];
