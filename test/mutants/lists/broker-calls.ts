/** Mutants of what a broker asks the controller for. */
import type { Mutant } from "../mutant.ts";

const src = "services/broker/src/";
const changes = `${src}partitions/in-sync-changes.ts`;
const changesTests = [`${src}partitions/in-sync-changes.test.ts`];
const controllerClient = `${src}controller-client.ts`;
const controllerClientTests = [`${src}controller-client.test.ts`];
const brokerTests = [`${src}broker.test.ts`];
const deletionsTests = [`${src}partitions/deletions.test.ts`];

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
    replace: [["      await this.#pause.wait(failures);\n", "      await Promise.resolve();\n"]],
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
    replace: [["    this.#pause.end();\n", ""]],
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

const calling: readonly Mutant[] = [
  {
    name: "call-to-where-the-controller-was",
    breaks: "Calls follow the controller to another address.",
    file: controllerClient,
    replace: [
      [
        "    if (this.#channel !== undefined && this.#channel.endpoint !== address) {",
        '    if (address === "" && this.#channel !== undefined) {',
      ],
    ],
    tests: controllerClientTests,
  },
  {
    name: "channel-to-the-old-controller-kept",
    breaks: "The channel to where the controller was is closed.",
    file: controllerClient,
    replace: [
      [
        "      this.#hangUp(this.#channel);\n    }\n    this.#channel ??=",
        "      this.#channel = undefined;\n    }\n    this.#channel ??=",
      ],
    ],
    tests: controllerClientTests,
  },
  {
    name: "call-dials-each-time",
    breaks: "The channel to the controller is kept.",
    file: controllerClient,
    replace: [["this.#channel ??= dialer", "this.#channel = dialer"]],
    tests: controllerClientTests,
  },
  {
    name: "call-without-a-controller-is-unavailable",
    breaks: "A call says NOT_CONTROLLER while no controller is active.",
    file: controllerClient,
    replace: [["refusal(ErrorCode.NOT_CONTROLLER, text)", "refusal(ErrorCode.UNAVAILABLE, text)"]],
    tests: controllerClientTests,
  },
  {
    name: "call-on-a-connection-that-may-be-dead",
    breaks: "After a call whose outcome is unknown, the next one takes a new connection.",
    file: controllerClient,
    replace: [
      ["      if (MillraceError.from(thrown).spec.sideEffects) this.#hangUp(channel);\n", ""],
    ],
    tests: controllerClientTests,
  },
  {
    name: "call-refused-takes-a-new-connection",
    breaks: "An answer that had no effect keeps the connection.",
    file: controllerClient,
    replace: [["      if (MillraceError.from(thrown).spec.sideEffects) this", "      this"]],
    tests: controllerClientTests,
  },
  {
    name: "late-failure-closes-the-new-channel",
    breaks: "A late failure of an old connection leaves the new one alone.",
    file: controllerClient,
    replace: [
      [
        "    channel.close();\n    if (this.#channel === channel) this",
        "    channel.close();\n    this",
      ],
    ],
    tests: controllerClientTests,
  },
  {
    name: "call-names-no-cluster",
    breaks: "Calls to the controller name the cluster.",
    file: controllerClient,
    replace: [[", ...(metadata && { metadata }) }", " }"]],
    tests: controllerClientTests,
  },
  {
    name: "call-waits-for-the-default-deadline",
    breaks: "A call to the controller is answered within five seconds.",
    file: controllerClient,
    replace: [["{ timeoutMs, ...", "{ ..."]],
    tests: controllerClientTests,
  },
  {
    name: "call-after-close-dials",
    breaks: "No call opens a connection after a close.",
    file: controllerClient,
    replace: [
      ["    if (this.#isClosed) {\n      throw", "    if (view === undefined) {\n      throw"],
    ],
    tests: controllerClientTests,
  },
  {
    name: "close-keeps-the-controllers-channel",
    breaks: "A close ends the calls that are under way.",
    file: controllerClient,
    replace: [["    if (this.#channel !== undefined) this.#hangUp(this.#channel);\n", ""]],
    tests: controllerClientTests,
  },
];

const confirming: readonly Mutant[] = [
  {
    name: "deletion-confirmed-for-another-broker",
    breaks: "A deletion is confirmed under the broker's own id.",
    file: `${src}broker.ts`,
    replace: [
      [
        "create(ConfirmDeletionsRequestSchema, { brokerId, topicIds })",
        "create(ConfirmDeletionsRequestSchema, { brokerId: 0, topicIds })",
      ],
    ],
    tests: brokerTests,
  },
  {
    name: "deletion-not-confirmed",
    breaks: "A deletion that is done is confirmed to the controller.",
    file: `${src}broker.ts`,
    replace: [
      [
        "    await this.#controller.call(confirmDeletions, request);\n",
        "    await Promise.resolve(request);\n",
      ],
    ],
    tests: brokerTests,
  },
  {
    name: "stop-waits-for-the-controller",
    breaks: "A stop waits for no answer of the controller.",
    file: `${src}broker.ts`,
    replace: [["    // Before what waits for its answers.\n    this.#controller.close();\n", ""]],
    tests: brokerTests,
  },
  {
    name: "stop-keeps-asking-for-changes",
    breaks: "A stop ends the search for followers that lag.",
    file: `${src}broker.ts`,
    replace: [["    this.#changes.close();\n", ""]],
    tests: brokerTests,
  },
];

const confirmed: readonly Mutant[] = [
  {
    name: "deletion-that-fails-holds-up-others",
    breaks: "An end of a deletion that cannot be recorded holds up no other.",
    file: `${src}partitions/deletions.ts`,
    replace: [
      ["        failure ??= thrown;\n", "        failure ??= thrown;\n        throw thrown;\n"],
    ],
    tests: deletionsTests,
  },
  {
    name: "deletion-that-fails-is-forgotten",
    breaks: "An end of a deletion that cannot be recorded is tried again.",
    file: `${src}partitions/deletions.ts`,
    replace: [["    if (failure !== undefined) throw failure;\n", ""]],
    tests: deletionsTests,
  },
  {
    name: "deletion-of-others-confirmed",
    breaks: "An end is reported while the record waits for this broker.",
    file: `${src}partitions/deletions.ts`,
    replace: [["!pendingBrokerIds.includes(brokerId) || this", "this"]],
    tests: deletionsTests,
  },
];

export const callMutants: readonly Mutant[] = [
  ...changing,
  ...calling,
  ...confirming,
  ...confirmed,
];
