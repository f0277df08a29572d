import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const tests = [`${src}/partition/tail-cache.test.ts`];

/** What is to be written lies in a ring: it is held until it is written, and no longer. */
export const tailCache: readonly Mutant[] = [
  {
    name: "log-held-is-overwritten",
    breaks: "Nothing is copied over a batch that is still to be written.",
    file: `${src}/partition/tail-cache.ts`,
    replace: [["        return false;\n      }\n", "      }\n"]],
    tests,
  },
  {
    name: "log-held-by-no-segment",
    breaks: "A batch is held until its segment has it.",
    file: `${src}/partition/journalled-changes.ts`,
    replace: [["    held?.hold();\n    journalled", "    journalled"]],
    tests,
  },
  {
    name: "log-held-by-no-journal",
    breaks: "A batch is held until the journal has it.",
    file: `${src}/partition/journalled-changes.ts`,
    replace: [
      ["    journalled?.hold();\n", ""],
      ["        journalled?.release();\n", ""],
    ],
    tests,
  },
  {
    name: "log-held-after-the-journal",
    breaks: "A batch that the journal has is held for its segment alone.",
    file: `${src}/partition/journalled-changes.ts`,
    replace: [["        journalled?.release();\n", ""]],
    tests,
  },
  {
    name: "log-held-after-its-segment",
    breaks: "A batch that its segment has is let go.",
    file: `${src}/segment/writer.ts`,
    replace: [["      for (const { held } of writes) held?.release();\n", ""]],
    tests,
  },
  {
    name: "log-let-go-before-its-segment",
    breaks: "A batch is let go once its segment has it, not when its write begins.",
    file: `${src}/segment/writer.ts`,
    replace: [
      ["      for (const { held } of writes) held?.release();\n", ""],
      [
        "    lane.writing = true;\n",
        "    lane.writing = true;\n    for (const { held } of writes) held?.release();\n",
      ],
    ],
    tests,
  },
  {
    name: "log-held-after-a-cut",
    breaks: "A batch that a cut took from the queue is let go.",
    file: `${src}/segment/writer.ts`,
    replace: [
      [
        "    for (const { held, position: at } of lane.writes) if (at >= position) held?.release();\n",
        "",
      ],
    ],
    tests: [`${src}/segment/writer.test.ts`],
  },
  {
    name: "log-held-after-a-deletion",
    breaks: "A batch that a deletion took from the queue is let go.",
    file: `${src}/segment/writer.ts`,
    replace: [["    for (const { held } of lane.writes) held?.release();\n", ""]],
    tests,
  },
];
