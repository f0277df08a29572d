/** Mutants of following: roles, changes of in-sync replicas, and streams to leaders. */
import type { Mutant } from "../mutant.ts";

const src = "services/broker/src/";
const changes = `${src}partitions/in-sync-changes.ts`;
const changesTests = [`${src}partitions/in-sync-changes.test.ts`];

const changing: readonly Mutant[] = [
  {
    name: "in-sync-changes-asked-one-by-one",
    breaks: "Changes of one turn are asked for in one call.",
    file: changes,
    replace: [["this.#options.clock.defer(() => void this.#askAll());", "void this.#askAll();"]],
    tests: changesTests,
  },
  {
    name: "in-sync-calls-overlap",
    breaks: "One call of changes is under way at a time.",
    file: changes,
    replace: [["    if (this.#isAsking) return;\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-changes-asked-once",
    breaks: "After nothing was left to ask for, new changes are asked for.",
    file: changes,
    replace: [["    this.#isAsking = false;\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-call-unbounded",
    breaks: "A call has at most 1,000 changes.",
    file: changes,
    replace: [["      if (asked.length === changesPerCall) break;\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-answer-lost-is-a-refusal",
    breaks: "A change whose answer is lost may have been made.",
    file: changes,
    replace: [['err.spec.sideEffects ? "unknown" : "refused"', '"refused"']],
    tests: changesTests,
  },
  {
    name: "in-sync-refusal-is-doubtful",
    breaks: "An error without effect is a refusal.",
    file: changes,
    replace: [['err.spec.sideEffects ? "unknown" : "refused"', '"unknown"']],
    tests: changesTests,
  },
  {
    name: "in-sync-answer-missing-is-made",
    breaks: "A change of which the answer says nothing may have been made.",
    file: changes,
    replace: [['result === undefined ? "unknown" : result.error', "result?.error"]],
    tests: changesTests,
  },
  {
    name: "in-sync-failed-call-forgotten",
    breaks: "What a failed call asked for is asked for again.",
    file: changes,
    replace: [
      [
        "      for (const { partition } of asked) if (this.#led.has(partition)) this.#due.add(partition);\n",
        "",
      ],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-failed-call-of-a-deposed-leader",
    breaks: "What a failed call asked for is not asked for a partition that is led no more.",
    file: changes,
    replace: [
      [
        "if (this.#led.has(partition)) this.#due.add(partition);\n    }",
        "this.#due.add(partition);\n    }",
      ],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-calls-without-a-pause",
    breaks: "After a call that failed there is a pause.",
    file: changes,
    replace: [["      await this.#pause(failures);\n", "      await Promise.resolve();\n"]],
    tests: changesTests,
  },
  {
    name: "in-sync-pauses-never-grow",
    breaks: "The pause after failed calls grows.",
    file: changes,
    replace: [
      ["failures = err === undefined ? 0 : failures + 1;", "failures = err === undefined ? 0 : 1;"],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-pauses-stay-long",
    breaks: "A call that succeeds ends the long pauses.",
    file: changes,
    replace: [
      [
        "failures = err === undefined ? 0 : failures + 1;",
        "failures += err === undefined ? 0 : 1;",
      ],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-refusal-forgotten",
    breaks: "A refused partition is looked at again.",
    file: changes,
    replace: [
      [
        "      this.#refused.delete(partition);\n      this.look(partition);\n",
        "      this.#refused.delete(partition);\n",
      ],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-refused-asks-at-once",
    breaks: "A refused partition waits for its pause.",
    file: changes,
    replace: [[" || this.#refused.has(partition)) return;", ") return;"]],
    tests: changesTests,
  },
  {
    name: "in-sync-refused-was-due",
    breaks: "A refused partition waits for its pause, though it reported during the call.",
    file: changes,
    replace: [["    this.#due.delete(partition);\n    const cancel", "    const cancel"]],
    tests: changesTests,
  },
  {
    name: "in-sync-refused-in-an-earlier-term",
    breaks: "A partition that is led again does not wait for an earlier pause.",
    file: changes,
    replace: [
      ["    this.#refused.get(partition)?.();\n    this.#refused.delete(partition);\n", ""],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-refused-and-deposed",
    breaks: "A refused partition that is led no more is not looked at.",
    file: changes,
    replace: [["    if (!this.#led.has(partition)) return;\n    this.#due", "    this.#due"]],
    tests: changesTests,
  },
  {
    name: "in-sync-removed-is-asked-for",
    breaks: "A partition that is led no more is not asked for.",
    file: changes,
    replace: [
      [
        "    this.#led.delete(partition);\n    this.#due.delete(partition);",
        "    this.#led.delete(partition);",
      ],
    ],
    tests: changesTests,
  },
  {
    name: "in-sync-stranger-is-looked-at",
    breaks: "A partition that is not led is not looked at.",
    file: changes,
    replace: [["!this.#led.has(partition) || this", "this"]],
    tests: changesTests,
  },
  {
    name: "in-sync-lag-unseen",
    breaks: "A follower that lags is found without a report.",
    file: changes,
    replace: [["      for (const partition of this.#led) this.look(partition);\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-lag-seen-once",
    breaks: "Followers are looked at again and again.",
    file: changes,
    replace: [["      this.#cancelTick = this.#tickLater();\n    });", "    });"]],
    tests: changesTests,
  },
  {
    name: "in-sync-close-keeps-ticking",
    breaks: "Close ends the ticks.",
    file: changes,
    replace: [["    this.#cancelTick();\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-close-keeps-pausing",
    breaks: "Close ends a pause.",
    file: changes,
    replace: [["    this.#wake();\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-close-keeps-refusals",
    breaks: "Close ends the pauses after refusals.",
    file: changes,
    replace: [["    for (const partition of this.#led) this.remove(partition);\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-close-then-a-warning",
    breaks: "A call that close ends is no failure.",
    file: changes,
    replace: [["      if (this.#isClosed) break;\n", ""]],
    tests: changesTests,
  },
  {
    name: "in-sync-epoch-of-another-registration",
    breaks: "The controller is told the registration of the leader.",
    file: changes,
    replace: [["brokerEpoch: BigInt(brokerEpoch()) }", "brokerEpoch: 0n }"]],
    tests: changesTests,
  },
];

export const followingMutants: readonly Mutant[] = [...changing];
