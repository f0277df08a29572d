/** What a truncation finds of the producers before the first segment. */
import type { Mutant } from "../mutant.ts";

const partition = "packages/log/src/partition";
const tests = ["packages/log/src/faults/known-before.test.ts"];

export const known: readonly Mutant[] = [
  {
    name: "log-known-not-waiting",
    breaks: "A truncation asks segments that left the log and could not go yet.",
    file: `${partition}/partition-files.ts`,
    replace: [["{ waiting: this.#dropped, segments }", "{ waiting: [], segments }"]],
    tests,
  },
  {
    name: "log-known-waiting-stops",
    breaks: "Segments that could not go, and cannot be read, stop no partition.",
    file: `${partition}/producer-state.ts`,
    replace: [["if (isPassing(thrown) || waiting.length === 0) throw", "throw"]],
    tests,
  },
  {
    name: "log-known-start-dropped",
    breaks: "The newest snapshot up to the log start stays, wherever segments begin.",
    file: `${partition}/producer-snapshots.ts`,
    replace: [["covered <= logStartOffset", "covered <= (segments[0]?.baseOffset ?? 0)"]],
    tests,
  },
];
