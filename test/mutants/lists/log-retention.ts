/** When retention lets go, by which clock and settings, and whom it waits for. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const clock = `${src}/faults/clock-restart.test.ts`;
const readings = `${src}/faults/clock.test.ts`;
const retentionClock = `${src}/partition/retention-clock.ts`;
const config = `${src}/faults/retention-config.test.ts`;
const room = `${src}/faults/retention-room.test.ts`;
const age = `${src}/faults/segment-age.test.ts`;

export const retained: readonly Mutant[] = [
  {
    name: "log-clock-jump-of-hours",
    breaks: "Half an hour between the two clocks is a jump.",
    file: retentionClock,
    replace: [["export const jumpMs = 5 * 60_000;", "export const jumpMs = 100 * 60_000;"]],
    tests: [readings],
  },
  {
    name: "log-clock-agrees-with-any-record",
    breaks: "A record two hours from the clock does not agree with it.",
    file: retentionClock,
    replace: [["const recordAgreesMs = 3_600_000;", "const recordAgreesMs = 72_000_000;"]],
    tests: [readings],
  },
  {
    name: "log-clock-believed-after-an-hour",
    breaks: "An hour of agreeing readings alone does not end the doubt.",
    file: retentionClock,
    replace: [["export const doubtMs = 24 * 3_600_000;", "export const doubtMs = 3_600_000;"]],
    tests: [readings],
  },
  {
    name: "log-clock-never-believed-again",
    breaks: "What gets no records is cleaned after a day.",
    file: retentionClock,
    replace: [["forMs >= doubtMs || ", ""]],
    tests: [readings],
  },
  {
    name: "log-clock-drift-adds-up",
    breaks: "Small steps of the clock do not add up reading by reading.",
    file: retentionClock,
    replace: [["      if (this.#confirmed) this.#agree(now);", "      this.#agree(now);"]],
    tests: [readings],
  },
  {
    name: "log-clock-anchored-for-ever",
    breaks: "A clock that records agree with is compared with the latest such reading.",
    file: retentionClock,
    replace: [["      if (this.#confirmed) this.#agree(now);\n", ""]],
    tests: [readings],
  },
  {
    name: "log-doubt-ends-with-a-restart",
    breaks: "A clock in doubt is still in doubt after a restart.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["round, retentionClock.knownMs());", "round, env.clock.wallMs());"]],
    tests: [clock],
  },
  {
    name: "log-own-time-confirms-the-clock",
    breaks: "A record that was stamped with the log's own clock confirms nothing.",
    file: `${src}/partition/partition.ts`,
    replace: [["    if (ownTime !== true) context", "    context"]],
    tests: [clock],
  },
  {
    name: "log-age-by-the-clock-of-the-append",
    breaks:
      "Records without a timestamp that were appended under a wrong clock have their true age.",
    file: `${src}/partition/reader.ts`,
    replace: [
      ["    if (lastAppendMonoMs !== undefined) {", "    if (nowMs < 0 && lastAppendMonoMs) {"],
    ],
    tests: [clock, age],
  },
  {
    name: "log-age-by-a-batch-that-was-cut",
    breaks: "The age of a segment that was cut is not that of what was cut off.",
    file: `${src}/segment/segment.ts`,
    replace: [["    this.#lastAppendMonoMs = undefined;\n", ""]],
    tests: [age],
  },
  {
    name: "log-retention-by-old-settings",
    breaks: "Settings that keep everything stop a retention that is under way.",
    file: `${src}/partition/retention.ts`,
    replace: [["  if (log.config !== config) return undefined;\n", ""]],
    tests: [config],
  },
  {
    name: "log-more-kept-asks-for-deletion",
    breaks: "Who asks for more to be kept asks for nothing to go.",
    file: `${src}/partition/retention.ts`,
    replace: [["was < 0 || bound < was", "was < 0 || bound !== was"]],
    tests: [config],
  },
  {
    name: "log-retention-waits-for-a-truncation",
    breaks: "Retention frees the room that a truncation of another partition waits for.",
    file: `${src}/partition/partition.ts`,
    replace: [["    if (this.#truncating) return Promise.resolve(0);\n", ""]],
    tests: [room],
  },
  {
    name: "log-interval-flush-waits-for-a-truncation",
    breaks: "Interval flushes go on beside a truncation that waits for room.",
    file: `${src}/partition/partition.ts`,
    replace: [['=== "interval" && !this.#truncating;', '=== "interval";']],
    tests: [room],
  },
  {
    name: "log-deletion-waits-for-a-truncation",
    breaks: "A partition whose truncation waits for room can be deleted.",
    file: `${src}/partition/partition-files.ts`,
    replace: [["          if (this.#owner.deleting) throw this.#cutGivenUp();\n", ""]],
    tests: [room],
  },
  {
    name: "log-cut-given-up-and-believed",
    breaks: "Nothing claims the files of a partition whose cut was given up.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        '    this.#owner.takeOffline("it was being deleted while a truncation waited for room");\n',
        "",
      ],
    ],
    tests: [room],
  },
  {
    name: "log-segment-age-from-the-start",
    breaks: "A segment rolls after its time, also if the process starts often.",
    file: `${src}/partition/retention.ts`,
    replace: [["  await reader.findFirstAppend(log.active);\n", ""]],
    tests: [age],
  },
  {
    name: "log-segment-age-from-the-first-of-this-life",
    breaks: "A segment's first batch is the first in its file.",
    file: `${src}/segment/segment.ts`,
    replace: [
      [
        "    if (position === 0) this.#firstAppendMs = appendTimeMs;",
        "    this.#firstAppendMs ??= appendTimeMs;",
      ],
    ],
    tests: [age],
  },
];
