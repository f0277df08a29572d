/** Mutants of consumers in groups. */
import type { Mutant } from "../mutant.ts";

const group = "packages/client/src/core/group";
const consumer = "packages/client/src/core/consumer";
const tests = [`${group}/group-consumer.test.ts`];
const keyedTests = [`${group}/keyed-work.test.ts`];

export const clientGroupMutants: readonly Mutant[] = [
  {
    name: "client-group-given-back-uncommitted",
    breaks: "a partition is given back before its offset is committed",
    file: `${group}/reconciler.ts`,
    replace: [["    await this.#commit(told.filter(", "    void this.#commit(told.filter("]],
    tests,
  },
  {
    name: "client-group-commit-given-up",
    breaks: "a commit that fails in passing is given up, and what was done comes twice",
    file: `${group}/reconciler.ts`,
    replace: [["attempt >= commitsMax", "attempt >= 0"]],
    tests,
  },
  {
    name: "client-group-given-back-in-hand",
    breaks: "a partition is given back while the loop works on a record of it",
    file: `${group}/reconciler.ts`,
    replace: [["    await this.#settle(told);\n", ""]],
    tests,
  },
  {
    name: "client-group-read-until-given-back",
    breaks: "records of a partition that goes are handed out while it is being given back",
    file: `${group}/reconciler.ts`,
    replace: [["    control.hold(told);\n", ""]],
    tests,
  },
  {
    name: "client-group-revoked-told-late",
    breaks: "onRevoked is not awaited before the commit",
    file: `${group}/reconciler.ts`,
    replace: [
      [
        "    await this.#tell(callbacks.onRevoked, told);",
        "    void this.#tell(callbacks.onRevoked, told);",
      ],
    ],
    tests,
  },
  {
    name: "client-group-announces-what-goes",
    breaks: "a partition is announced that a later assignment, not applied yet, takes away",
    file: `${group}/reconciler.ts`,
    replace: [
      [
        'held.phase === "placed" && topicId !== undefined && isSameTopic(topicId, held.topicId)',
        'held.phase === "placed"',
      ],
      ["      const topicId = this.#wanted.get(keyOf(held));\n", ""],
    ],
    tests: [`${group}/reconciler.test.ts`],
  },
  {
    name: "client-group-deleted-topic-holds-up",
    breaks: "a commit for a deleted topic is tried again, and holds up all that the group says",
    file: `${group}/reconciler.ts`,
    replace: [["if (hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)) return;", ""]],
    tests: [`${group}/reconciler.test.ts`],
  },
  {
    name: "client-group-never-announced",
    breaks: "a partition that was to go, and stays after all, is never announced",
    file: `${group}/reconciler.ts`,
    replace: [["    if (this.#placed().length > 0) this.#enqueue(() => this.#announce());\n", ""]],
    tests: [`${group}/reconciler.test.ts`],
  },
  {
    name: "client-group-read-before-told",
    breaks: "records of a new partition are handed out before onAssigned is done",
    file: `${group}/reconciler.ts`,
    replace: [
      [
        "    await this.#tell(callbacks.onAssigned, fresh);",
        "    void this.#tell(callbacks.onAssigned, fresh);",
      ],
    ],
    tests,
  },
  {
    name: "client-group-reported-before-read",
    breaks: "a partition is reported as owned before it is",
    file: `${group}/reconciler.ts`,
    replace: [
      [
        "    const owned = [...this.#held.values()].filter(({ announced }) => announced);\n    this.#context.report(",
        "    const owned = [...this.#held.values()];\n    this.#context.report(",
      ],
    ],
    tests,
  },
  {
    name: "client-group-reset-ignored",
    breaks: "a position for a partition that is owned is ignored",
    file: `${group}/reconciler.ts`,
    replace: [
      [
        "      else if (one.position !== undefined) coming.push(",
        "      else if (one.position === -1n) coming.push(",
      ],
    ],
    tests,
  },
  {
    name: "client-group-reset-undone",
    breaks: "after a reset the position of before is committed",
    file: `${group}/reconciler.ts`,
    replace: [['    held.phase = "placing";\n    return held;', "    return held;"]],
    tests,
  },
  {
    name: "client-group-old-stream-applied",
    breaks: "an assignment of a stream that is over is applied",
    file: `${group}/reconciler.ts`,
    replace: [["this.#isLeaving || stream !== this.#stream ||", "this.#isLeaving ||"]],
    tests,
  },
  {
    name: "client-group-lost-kept",
    breaks: "an expelled member goes on reading what is others' now",
    file: `${group}/reconciler.ts`,
    replace: [["    control.drop(all);\n", ""]],
    tests,
  },
  {
    name: "client-group-loss-untold",
    breaks: "the application is not told of partitions that it lost",
    file: `${group}/reconciler.ts`,
    replace: [["    this.#enqueue(() => this.#tell(callbacks.onLost, lost));\n", ""]],
    tests,
  },
  {
    name: "client-group-processed-when-handed-out",
    breaks: "a record counts as processed before the body of the loop has run",
    file: `${consumer}/in-hand.ts`,
    replace: [
      [
        "cursor === this.#cursor ? this.#offset : BigInt(cursor.position)",
        "BigInt(cursor.position)",
      ],
    ],
    tests,
  },
  {
    name: "client-group-commit-undone",
    breaks: "an automatic commit goes back behind what the application has committed",
    file: `${group}/commits.ts`,
    replace: [
      ["offset !== held.committed && offset >= held.ahead &&", "offset !== held.committed &&"],
    ],
    tests,
  },
  {
    name: "client-group-commit-again",
    breaks: "the same offset is committed again and again",
    file: `${group}/commits.ts`,
    replace: [["offset !== held.committed && offset >= held.ahead &&", "offset >= held.ahead &&"]],
    tests,
  },
  {
    name: "client-group-refusal-unseen",
    breaks: "a commit that the group refused looks like one that was made",
    file: `${group}/commits.ts`,
    replace: [
      [
        "    if (refused === undefined) return;\n    const { error",
        "    if (refused !== undefined) return;\n    const { error",
      ],
    ],
    tests,
  },
  {
    name: "client-group-comes-back-as-new",
    breaks: "after a broken stream the member joins as a new one",
    file: `${group}/membership.ts`,
    replace: [["      memberId: this.#memberId,\n", '      memberId: "",\n']],
    tests,
  },
  {
    name: "client-group-comes-back-with-nothing",
    breaks: "a member that comes back does not say what it owns",
    file: `${group}/membership.ts`,
    replace: [["owned: isBack ? owned : [],", "owned: [],"]],
    tests,
  },
  {
    name: "client-group-commit-lost-with-stream",
    breaks: "a commit that a broken stream left unanswered is never answered",
    file: `${group}/membership.ts`,
    replace: [
      [
        "    for (const commitId of this.#commits.keys()) this.#sendCommit(commitId, commits.shift() ?? []);\n",
        "",
      ],
    ],
    tests,
  },
  {
    name: "client-group-expelled-comes-back",
    breaks: "an expelled member comes back under its old id",
    file: `${group}/membership.ts`,
    replace: [['      this.#memberId = "";\n      this.#memberEpoch = 0;\n', ""]],
    tests,
  },
  {
    name: "client-group-expelled-commits",
    breaks: "commits of before an expulsion are sent for the new member",
    file: `${group}/membership.ts`,
    replace: [
      ["      this.#rejectCommits(error);\n      if (this.#leaving", "      if (this.#leaving"],
    ],
    tests,
  },
  {
    name: "client-group-no-sign-of-life",
    breaks: "a member that has nothing to say is expelled",
    file: `${group}/membership.ts`,
    replace: [["    this.#beat(intervalMs);\n    const commits", "    const commits"]],
    tests,
  },
  {
    name: "client-group-silence-unnoticed",
    breaks: "a coordinator that hangs is waited for",
    file: `${group}/membership.ts`,
    replace: [["const silentIntervals = 3;", "const silentIntervals = 3_000;"]],
    tests,
  },
  {
    name: "client-group-drain-unheard",
    breaks: "a member stays with a coordinator that is stopping",
    file: `${group}/membership.ts`,
    replace: [["if (response.drain !== undefined) throw", "if (response.drain === null) throw"]],
    tests,
  },
  {
    name: "client-group-static-leaves-for-good",
    breaks: "a static member that restarts loses its partitions to others",
    file: `${group}/group-consumer.ts`,
    replace: [
      ['(this.#options.instanceId ?? "") !== ""', '(this.#options.instanceId ?? "") === null'],
    ],
    tests,
  },
  {
    name: "client-group-goodbye-takes-over",
    breaks: "a member that joins again takes nothing once its goodbye of before is said again",
    file: `${group}/group-consumer.ts`,
    replace: [["this.#membership === membership ? reconciler", "this.#settings ? reconciler"]],
    tests,
  },
  {
    name: "client-group-closes-in-midst",
    breaks: "closing does not wait for the body of the loop: its record comes twice",
    file: `${group}/group-consumer.ts`,
    replace: [["await this.#reconciler.giveUp(bodyMs);", "await this.#reconciler.giveUp(0);"]],
    tests,
  },
  {
    name: "client-group-takes-while-it-leaves",
    breaks: "a member that leaves begins to read what a new stream gives it, from where it likes",
    file: `${group}/reconciler.ts`,
    replace: [["if (this.#isLeaving || stream", "if (stream"]],
    tests,
  },
  {
    name: "client-group-told-before-it-was-lost",
    breaks:
      "an expelled member reads what it was told to before, until a new stream says otherwise",
    file: `${group}/reconciler.ts`,
    replace: [
      [
        "this.#apply(assignment, stream, generation)",
        "this.#apply(assignment, stream, this.#generation)",
      ],
      ["    const generation = this.#generation;\n    if (stream ===", "    if (stream ==="],
    ],
    tests,
  },
  {
    name: "client-group-commits-go-back",
    breaks: "a commit that is sent again moves a partition behind a later one",
    file: `${group}/messages.ts`,
    replace: [["last.get(keyOf(topic, one.partition)) ?? one", "one"]],
    tests,
  },
  {
    name: "client-group-stuck-stays",
    breaks: "a loop that is stuck keeps its partitions for ever",
    file: `${group}/liveness.ts`,
    replace: [["    if (sinceMs >= maxMs) {", "    if (sinceMs >= maxMs * 1000) {"]],
    tests,
  },
  {
    name: "client-group-stuck-handler-stays-away",
    breaks: "a member that has left because of a stuck handler never joins again",
    file: `${group}/group-consumer.ts`,
    replace: [
      [
        "      await this.#work.quiet();\n      if (this.#control.isAsking()) return;\n",
        "      void this.#work;\n",
      ],
    ],
    tests,
  },
  {
    name: "client-group-idle-is-stuck",
    breaks: "a loop that waits for records is taken for one that is stuck",
    file: `${group}/liveness.ts`,
    replace: [
      ["if (isIdle() || progress() !== this.#progress)", "if (progress() !== this.#progress)"],
    ],
    tests,
  },
  {
    name: "client-group-key-out-of-order",
    breaks: "records of one key are processed at once",
    file: `${group}/keyed-queue.ts`,
    replace: [['const lane = key ?? Symbol("no key");', 'const lane = Symbol(key ?? "");']],
    tests: keyedTests,
  },
  {
    name: "client-group-committed-past-unfinished",
    breaks: "an offset is committed past a record that is unfinished",
    file: `${group}/keyed-queue.ts`,
    replace: [
      [
        "    return this.#entries[0]?.offset;",
        "    return this.#entries.find(({ isDone }) => isDone)?.offset;",
      ],
    ],
    tests: keyedTests,
  },
  {
    name: "client-group-handlers-unawaited",
    breaks: "a partition is given back while handlers work on it",
    file: `${group}/keyed-work.ts`,
    replace: [
      [
        "    await Promise.all(places.map((place) => this.#running",
        "    void Promise.all(places.map((place) => this.#running",
      ],
    ],
    tests: keyedTests,
  },
  {
    name: "client-group-gap-given-back",
    breaks: "a partition is given back with a gap: what was done behind it is done again",
    file: `${group}/keyed-queue.ts`,
    replace: [['    this.#ending ??= "finishing";', '    this.#ending ??= "abandoned";']],
    tests: keyedTests,
  },
  {
    name: "client-group-slow-handlers-flooded",
    breaks: "records wait without a bound for handlers that are slow",
    file: `${group}/keyed-work.ts`,
    replace: [["    this.#context.inner.pause({ topic, partition });\n", ""]],
    tests: keyedTests,
  },
  {
    name: "client-group-pause-undone",
    breaks: "a handler that ends resumes a partition that the application has paused",
    file: `${group}/keyed-work.ts`,
    replace: [["    if (this.#paused.has(keyOf(running))) return;\n", ""]],
    tests: keyedTests,
  },
  {
    name: "client-group-close-held-up",
    breaks: "closing waits for ever for a loop that was left with its record",
    file: `${group}/reconciler.ts`,
    replace: [
      ["Promise.race([this.#onLoss.promise, this.#givenUp.promise])", "this.#onLoss.promise"],
    ],
    tests,
  },
  {
    name: "client-group-failed-record-passed",
    breaks: "a record whose handler threw is never handed out again",
    file: `${group}/keyed-work.ts`,
    replace: [["    await this.#goBack();\n", ""]],
    tests: keyedTests,
  },
  {
    name: "client-group-dry-run-sets",
    breaks: "asking where a reset would lead resets",
    file: "packages/client/src/core/admin-groups.ts",
    replace: [["reset.validateOnly === true", "reset.validateOnly === undefined"]],
    tests: ["test/integration/groups.test.ts"],
  },
  {
    name: "cli-group-last-batch-uncommitted",
    breaks: "consume --group --max prints records again that it has printed",
    file: "packages/cli/src/consume-group.ts",
    replace: [["    await consumer.commit({ topic, partition, offset: last.offset + 1n });\n", ""]],
    tests: ["test/integration/cli-groups.test.ts"],
  },
  {
    name: "cli-group-flags-ignored",
    breaks: "flags that do not go with a group are ignored",
    file: "packages/cli/src/consume-group.ts",
    replace: [
      ["    if (flags[name] === undefined) continue;", "    if (flags[name] !== null) continue;"],
    ],
    tests: ["packages/cli/src/consume-group.test.ts"],
  },
];
