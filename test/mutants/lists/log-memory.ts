import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const order = `${src}/faults/order.test.ts`;
const memory = `${src}/faults/memory.test.ts`;
const log = `${src}/log.test.ts`;
const damage = `${src}/damage.test.ts`;
const crash = "packages/sim/src/crash/crash.test.ts";

/** What the next start must know. */
const budgetTest = [`${src}/partition/producer-budget.test.ts`];

export const remembered: readonly Mutant[] = [
  {
    name: "log-damage-forgotten",
    breaks: "Damage that was met while running outlives the process.",
    file: `${src}/partition/partition.ts`,
    replace: [['    if (!recorded && kind !== "stopped") this.offlineRecord.note(reason);\n', ""]],
    tests: [memory],
  },
  {
    name: "log-offline-reason-dropped",
    breaks: "Damage is known to the next start even if the partition's directory cannot keep it.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["  noted.offlineReason = offlineReason;\n", ""]],
    tests: [memory],
  },
  {
    name: "log-round-forgotten-without-partitions",
    breaks: "The covered round is in the recovery points although there is no partition.",
    file: `${src}/recovery/recovery-points.ts`,
    replace: [
      ["      coveredRound: BigInt(coveredRound),\n", ""],
      ["    if (found.coveredRound === undefined && points.size === 0) return undefined;\n", ""],
    ],
    tests: [memory],
  },
  {
    name: "log-lives-mixed",
    breaks: "A partition made again under its id does not inherit the journal of its earlier life.",
    file: `${src}/recovery/begin.ts`,
    replace: [["entries.filter(({ round }) => round >= life.firstRound);", "entries;"]],
    tests: [memory],
  },
  {
    name: "log-point-of-another-life",
    breaks: "A recovery point of an earlier life is not believed.",
    file: `${src}/recovery/begin.ts`,
    replace: [
      [
        "(point.incarnation === life.incarnation || ends(point, life))",
        "(point.incarnation >= 0n || ends(point, life))",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-delete-not-journalled",
    breaks: "A deletion is durable before it is answered.",
    file: `${src}/partition/partition.ts`,
    replace: [['        .record({ kind: "deleted" }, () => {', "        .marker().then(() => {"]],
    tests: [log, crash],
  },
  {
    name: "log-deletion-not-retried",
    breaks: "A deletion that the disk refused does not come back.",
    file: `${src}/manager.ts`,
    replace: [
      [
        "        this.#deletions.set(key, deletionOf(topicId, partition, gone.life, round));\n",
        "        if (round < 0) return;\n",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-lost-directory-made-anew",
    breaks: "A lost partition directory is told, not made anew.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      ["      if (isLoss) lost.push(await this.#missing(place));", "      if (isLoss) continue;"],
    ],
    tests: [memory],
  },
  {
    name: "log-restored-backup-cut",
    breaks: "A partition without a recovery point begins where its segments do.",
    file: `${src}/recovery/begin.ts`,
    replace: [
      [
        "  const bases = segments.slice(0, 1).map(({ baseOffset }) => baseOffset);",
        "  const bases: number[] = [];",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-marker-always-trusted",
    breaks: "A clean marker vouches only for the recovery points written right before it.",
    file: `${src}/recovery/data-directory.ts`,
    replace: [
      [
        "marker !== undefined && points?.coveredRound === Number(marker.nextJournalRound) - 1;",
        "marker !== undefined && points !== undefined;",
      ],
    ],
    tests: [damage, crash],
  },
  {
    name: "log-restart-without-high-watermark",
    breaks: "The high watermark of the recovery point is known after a restart.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "        Number(point?.highWatermark ?? 0n),\n        this.#truncations",
        "        0,\n        this.#truncations",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-high-watermark-back",
    breaks: "A high watermark of before a truncation does not come back.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "        this.#truncations.backTo ?? Number.MAX_SAFE_INTEGER,",
        "        Number.MAX_SAFE_INTEGER,",
      ],
    ],
    tests: [order],
  },
  {
    name: "log-policy-change-one-segment",
    breaks: "The journal has no batch without those before it, also across a roll.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [
      [
        "    for (const segment of [...target.segments]) {",
        "    for (const segment of target.segments.slice(-1)) {",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-promise-dropped-early",
    breaks: "Behind a truncation batches are journalled until a recovery point covers it.",
    file: `${src}/partition/flush-promises.ts`,
    replace: [["    else this.#journalAnyway = true;", "    else this.#journalAnyway = false;"]],
    tests: [memory],
  },
  {
    name: "log-deleted-records-take-the-rest",
    breaks: "Recovery begins behind the segments that a log start let go.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      [
        "const dropped = first !== undefined && first > from && first <= this.#logStart;",
        "const dropped = false as boolean;",
      ],
      [
        "    if (batch !== undefined || this.#void) return batch;",
        "    if (batch !== undefined || this.#end >= 0) return batch;",
      ],
    ],
    tests: [memory],
  },
  {
    name: "log-acked-segment-dropped",
    breaks: "A recovery point names a segment that stays.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [
      ["if (this.#position > 0 && this.#logStart < this.#end) {", "if (this.#position > 0) {"],
    ],
    tests: [memory, crash],
  },
  {
    name: "log-closing-takes-appends",
    breaks: "What is acknowledged while a clean marker is written is not lost.",
    file: `${src}/manager.ts`,
    replace: [["    this.#context.closing = true;\n", ""]],
    tests: [order, crash],
  },
  {
    name: "log-predecessor-without-end",
    breaks: "A segment before one that is only in memory ends where that begins.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["    this.#segments[this.#index - 1]?.endsAt(base);\n", ""]],
    tests: [crash],
  },
  {
    name: "log-ended-life-hides-loss",
    breaks: "What is left of a life that ended does not hide the loss of the next one.",
    file: `${src}/recovery/loader.ts`,
    replace: [["Math.max(coveredRound, ended)", "coveredRound"]],
    tests: [`${src}/faults/missing.test.ts`],
  },
  {
    name: "log-emptied-directory-half-made",
    breaks: "A directory that lost its files beside an earlier life is no half-made one.",
    file: `${src}/recovery/loader.ts`,
    replace: [["if (halfMade && !(", "if (halfMade && asides.length > 0 || halfMade && !("]],
    tests: [`${src}/faults/missing.test.ts`],
  },
  {
    name: "log-salvaged-name-not-durable",
    breaks: "What an earlier start kept of a partition is durable before the journal moves on.",
    file: `${src}/recovery/salvage.ts`,
    replace: [["    await disk.syncDirectory(directory);\n", ""]],
    tests: [`${src}/faults/evidence.test.ts`],
  },
  {
    name: "log-producers-of-all-unbounded",
    breaks: "Producers of all partitions together are bounded.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [
      [
        "    if ((this.#count > this.#limit || this.#cut !== undefined) && !this.#isCutting) this.#even();\n",
        "",
      ],
    ],
    tests: budgetTest,
  },
  {
    name: "log-producers-of-a-start-uncounted",
    breaks: "Producers that a start found count, and are cut to the bound.",
    file: `${src}/open.ts`,
    replace: [["  await inSteps(clock, context.producers.recount());\n", ""]],
    tests: budgetTest,
  },
  {
    name: "log-producers-cut-alike",
    breaks: "A partition with few producers loses none because another has many.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [
      [
        "if (next.value.size > cut.most) next.value.trim(cut.most);",
        "next.value.trim(Math.floor(next.value.size / 2));",
      ],
    ],
    tests: budgetTest,
  },
  {
    name: "log-producers-trimmed-from-the-newest",
    breaks: "Those idle longest are forgotten.",
    file: `${src}/partition/producer-table.ts`,
    replace: [
      [
        "    for (const id of this.#producers.keys()) {\n      if (this.#producers.size <= most)",
        "    for (const id of [...this.#producers.keys()].reverse()) {\n      if (this.#producers.size <= most)",
      ],
    ],
    tests: budgetTest,
  },
  {
    name: "log-producers-of-the-deleted-count",
    breaks: "A deleted partition's producers do not count.",
    file: `${src}/manager.ts`,
    replace: [["      gone.producers.beginAnew();\n", ""]],
    tests: budgetTest,
  },
  {
    name: "log-expiry-begins-anew",
    breaks: "The next check of producers goes on behind those that were looked at.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["    this.#pass ??= {", "    this.#pass = {"]],
    tests: budgetTest,
  },
  {
    name: "log-expiry-follows-who-appends",
    breaks: "A pass over producers ends, however many append meanwhile.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["      pass.left -= 1;\n", ""]],
    tests: budgetTest,
  },
  {
    name: "log-expiry-in-one-turn",
    breaks: "A call looks at a bounded number of producers.",
    file: `${src}/partition/producer-table.ts`,
    replace: [["export const expiredPerCall = 8_192;", "export const expiredPerCall = 2 ** 30;"]],
    tests: budgetTest,
  },
  {
    name: "log-snapshots-kept-uncounted",
    breaks: "What is kept for snapshots is bounded over all partitions.",
    file: `${src}/partition/producer-state.ts`,
    replace: [[" || !this.#budget.hasRoomFor(this.latest.size)", ""]],
    tests: budgetTest,
  },
  {
    name: "log-segments-of-any-size",
    breaks: "A topic cannot make a checkpoint fsync thousands of segments by their size.",
    file: `${src}/partition/types.ts`,
    replace: [["Math.max(config.segmentBytes, segmentBytesMin)", "config.segmentBytes"]],
    tests: [`${src}/faults/segment-age.test.ts`],
  },
  {
    name: "log-segments-of-any-age",
    breaks: "A topic cannot make a checkpoint fsync thousands of segments by their age.",
    file: `${src}/partition/types.ts`,
    replace: [["Math.max(lifeOfSegment(config), segmentMsMin)", "config.segmentMs"]],
    tests: [`${src}/faults/segment-age.test.ts`],
  },
  {
    name: "log-producers-cut-within-a-cut",
    breaks: "Ten thousand small tables are cut in one go: a start with them opens.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [[" && !this.#isCutting", ""]],
    tests: budgetTest,
  },
  {
    name: "log-producers-cut-at-every-append",
    breaks: "Where every table has one producer, not every append looks at all of them.",
    file: `${src}/partition/producer-budget.ts`,
    replace: [["    this.#limit = Math.max(this.max, Math.ceil(this.#count / keptPart));\n", ""]],
    tests: budgetTest,
  },
  {
    name: "log-producers-come-back-by-a-commit",
    breaks: "What was forgotten while its batch was under way is not remembered by its commit.",
    file: `${src}/partition/producer-state.ts`,
    replace: [["if (this.latest.has(producer.id)) this.completed", "this.completed"]],
    tests: budgetTest,
  },
  {
    name: "log-clock-doubt-begins-anew-every-day",
    breaks: "A doubt ends also where processes end every day.",
    file: `${src}/partition/retention-clock.ts`,
    replace: [["Math.floor(believed + (now.wallMs - believed) * part)", "Math.floor(believed)"]],
    tests: [`${src}/faults/clock.test.ts`],
  },
  {
    name: "log-clock-believed-by-a-restart",
    breaks: "A restart on the first day does not end a doubt.",
    file: `${src}/partition/retention-clock.ts`,
    replace: [
      ["const part = Math.min(1, (now.monoMs - doubt.monoMs) / doubtMs);", "const part = 1;"],
    ],
    tests: [`${src}/faults/clock.test.ts`],
  },
];
