import type { Mutant } from "../mutant.ts";

const tests = ["packages/log/src/faults/foreign-index.test.ts"];
const cache = "packages/log/src/segment/index-cache.ts";
const index = "packages/log/src/segment/segment-index.ts";
const reader = "packages/log/src/partition/reader.ts";

export const foreignIndexes: readonly Mutant[] = [
  {
    name: "index-that-leads-astray-is-damage",
    breaks: "Damage counts once the index was built from the log.",
    file: reader,
    replace: [
      ["owner.cuts === cuts ? await this.#withoutIndex(thrown, rebuilt) : thrown", "thrown"],
    ],
    tests,
  },
  {
    name: "rows-of-another-log-are-built-upon",
    breaks: "What is missing of an index is not built behind rows that are another log's.",
    file: cache,
    replace: [
      ["if (!believed || !(thrown instanceof SegmentDamage)) throw thrown;", "throw thrown;"],
    ],
    tests,
  },
  {
    name: "batch-at-a-row-of-another-log-is-believed",
    breaks: "What is missing of an index is built behind a row only where its batch is.",
    file: cache,
    replace: [
      ["last !== undefined && header.baseOffset !== last.offset", "last !== undefined && false"],
    ],
    tests,
  },
  {
    name: "index-built-for-every-read-led-astray",
    breaks: "Of many reads that were led astray the first one has the index built.",
    file: cache,
    replace: [["if (segment.index.filesVersion !== filesVersion) return false;", ""]],
    tests,
  },
  {
    name: "index-of-another-log-is-added-to",
    breaks: "Files that are another log's are replaced.",
    file: index,
    replace: [
      [
        "    this.#filesVersion += 2;\n    this.#replaces = true;\n",
        "    this.#filesVersion += 2;\n",
      ],
    ],
    tests,
  },
  {
    name: "largest-time-of-another-log-is-kept",
    breaks: "The largest timestamp of an index that led astray is forgotten.",
    file: index,
    replace: [
      [
        "nothingSince ? maxMs : Math.max(",
        "nothingSince ? Math.max(this.#runningMaxMs, maxMs) : Math.max(",
      ],
    ],
    tests,
  },
  {
    name: "rows-are-kept-twice",
    breaks: "Rows of the log that were not written yet are not kept beside those that are built.",
    file: index,
    replace: [["this.#fresh.filter((row) => row.position >= endPosition)", "this.#fresh"]],
    tests,
  },
];
