/** Offsets by time, where the log begins inside of a segment. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const file = `${src}/partition/first-segment-times.ts`;
const tests = [`${src}/partition/first-segment-times.test.ts`];

export const times: readonly Mutant[] = [
  {
    name: "log-times-forgotten",
    breaks: "A segment that the log begins inside of is walked through once.",
    file,
    replace: [
      [
        "      this.#known = same ? { ...times, segment, logStartOffset, cuts } : undefined;",
        "      this.#known = same ? undefined : known;",
      ],
    ],
    tests,
  },
  {
    name: "log-times-of-a-log-that-was-cut",
    breaks: "Times that were walked through before a truncation are void.",
    file,
    replace: [
      [
        "        known.logStartOffset === logStartOffset &&\n        known.cuts === cuts;",
        "        known.logStartOffset === logStartOffset;",
      ],
    ],
    tests,
  },
  {
    name: "log-times-of-deleted-records",
    breaks: "The largest time is that of a record which is not deleted.",
    file,
    replace: [["        known.logStartOffset === logStartOffset &&\n", ""]],
    tests,
  },
  {
    name: "log-largest-time-is-the-last",
    breaks: "Of several records with the largest time the first one is found.",
    file,
    replace: [["        if (ms > largestMs) {", "        if (ms >= largestMs) {"]],
    tests,
  },
  {
    name: "log-times-beyond-the-high-watermark",
    breaks: "A time above the high watermark is not the largest.",
    file,
    replace: [["      if (lastOffset >= highWatermark) return true;\n", ""]],
    tests,
  },
  {
    name: "log-times-walked-by-each",
    breaks: "Whoever asks while another walks waits for that walk.",
    file,
    replace: [
      ["    return this.#walks.run(async () => {", "    return new WorkQueue().run(async () => {"],
    ],
    tests,
  },
  {
    name: "log-late-time-walks",
    breaks: "A time behind every readable one is not looked for in the whole segment.",
    file: `${src}/partition/reader.ts`,
    replace: [["    if (timestampMs > largestMs) return end;\n", ""]],
    tests,
  },
];
