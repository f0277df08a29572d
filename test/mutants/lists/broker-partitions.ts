/** Mutants of the partitions of a broker: roles, acknowledgements, and the work behind them. */
import type { Mutant } from "../mutant.ts";

const room = "services/broker/src/partitions/";
const replica = `${room}replica.ts`;
const replicaTests = [`${room}replica.test.ts`];
const leader = `${room}leader.ts`;
const epochFloors = `${room}epoch-floors.ts`;
const acknowledgements = `${room}acknowledgements.ts`;
const serialWork = `${room}serial-work.ts`;
const serialTests = [`${room}serial-work.test.ts`];
const hostedTests = [`${room}hosted-partition.test.ts`];
const realLogTests = [`${room}real-logs.test.ts`];
const hostedTopic = `${room}hosted-topic.ts`;
const manager = `${room}replica-manager.ts`;
const logService = "services/broker/src/log-service.ts";
const logServiceTests = ["services/broker/src/log-service.test.ts"];

const leading: readonly Mutant[] = [
  {
    name: "old-epoch-accepted",
    breaks: "A request of an older leader epoch is fenced.",
    file: replica,
    replace: [["expectedEpoch === epoch) return state;", "expectedEpoch <= epoch) return state;"]],
    tests: replicaTests,
  },
  {
    name: "newer-epoch-accepted",
    breaks: "A request of a leader epoch that the broker does not know is refused.",
    file: replica,
    replace: [["expectedEpoch === epoch) return state;", "expectedEpoch >= epoch) return state;"]],
    tests: replicaTests,
  },
  {
    name: "newer-epoch-called-old",
    breaks: "A client that is ahead of the broker is told to retry, not to refresh.",
    file: replica,
    replace: [["if (expectedEpoch > epoch)", "if (expectedEpoch > epoch + 1)"]],
    tests: replicaTests,
  },
  {
    name: "leads-before-the-epoch-is-durable",
    breaks: "A replica leads once its log has recorded the epoch.",
    file: replica,
    replace: [
      [
        "const startOffset = log.logEndOffset;\n",
        "const startOffset = log.logEndOffset;\n" +
          "    this.#state = new Leader(log, epoch, startOffset, undefined as never);\n",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "deposed-while-taking-over",
    breaks: "A replica that was deposed while it took over does not lead.",
    file: replica,
    replace: [
      [
        "    if (generation !== this.#generation) return;\n    const { brokerId, changes",
        "    const { brokerId, changes",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "failure-of-an-old-view-told",
    breaks: "A takeover that fails once another epoch has come is no failure.",
    file: replica,
    replace: [["if (generation === this.#generation) throw thrown;", "throw thrown;"]],
    tests: replicaTests,
  },
  {
    name: "leads-on-after-a-new-epoch",
    breaks: "A replica does not serve under an old epoch.",
    file: replica,
    replace: [["      view.leaderEpoch === before.leaderEpoch &&\n", ""]],
    tests: replicaTests,
  },
  {
    name: "leads-on-after-another-leader",
    breaks: "A replica does not serve once another broker leads.",
    file: replica,
    replace: [["      view.leader === before.leader &&\n", ""]],
    tests: replicaTests,
  },
  {
    name: "resigns-behind-the-disk",
    breaks: "A partition whose disk hangs resigns at once.",
    file: `${room}hosted-partition.ts`,
    replace: [
      [
        "    if (this.replica.take(view, config)) this.#work.request();",
        "    void Promise.resolve(this.working).then(() => {\n" +
          "      if (this.replica.take(view, config)) this.#work.request();\n    });",
      ],
    ],
    tests: hostedTests,
  },
  {
    name: "leads-twice",
    breaks: "A leader is not made to lead again, which would forget its waiting appends.",
    file: replica,
    replace: [
      [
        '    if (state.kind !== "follower" || state.log',
        '    if (state.kind === "leader") return await this.#lead(state.log, generation);\n' +
          '    if (state.kind !== "follower" || state.log',
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "high-watermark-without-the-isr",
    breaks: "The high watermark does not rise below min.insync.replicas.",
    file: leader,
    replace: [["if (hasMinInsync) log.updateHigh", "log.updateHigh"]],
    tests: replicaTests,
  },
  {
    name: "high-watermark-ignores-the-view",
    breaks: "The high watermark rises with the in-sync replicas, without another append.",
    file: replica,
    replace: [
      ["    }\n    this.#progress();\n  }\n\n  /** Its log has", "    }\n  }\n\n  /** Its log has"],
    ],
    tests: replicaTests,
  },
  {
    name: "offline-partition-served",
    breaks: "An offline partition is not served.",
    file: replica,
    replace: [['if (logState.kind === "offline") this', 'if (logState.kind === "stopped") this']],
    tests: replicaTests,
  },
  {
    name: "offline-while-taking-over",
    breaks: "A partition that goes offline while it takes over is not tried again.",
    file: replica,
    replace: [
      [
        "    this.#generation += 1;\n    const offline: ReplicaState",
        "    const offline: ReplicaState",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "stopped-log-takes-over",
    breaks: "A partition whose disk failed takes no leadership.",
    file: replica,
    replace: [[' || state.log.state.kind !== "online"', ""]],
    tests: replicaTests,
  },
  {
    name: "closed-replica-comes-back",
    breaks: "A replica that was given up does not come back with its log.",
    file: replica,
    replace: [
      [
        '    if (this.#state.kind !== "none") return;\n    this.#isFoundDamaged',
        "    this.#isFoundDamaged",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "readers-sleep-through-a-change-of-role",
    breaks: "A change of role wakes readers.",
    file: replica,
    replace: [["    this.#wake();\n    return this.#isElected()", "    return this.#isElected()"]],
    tests: replicaTests,
  },
  {
    name: "configs-not-told-to-the-log",
    breaks: "A change of the configs reaches the log.",
    file: replica,
    replace: [["      this.log?.updateConfig(logConfigOf(config));\n", ""]],
    tests: replicaTests,
  },
  {
    name: "leads-again-in-the-epoch-of-a-crash",
    breaks: "After an unclean stop a replica leads only above its log's epoch.",
    file: epochFloors,
    replace: [["leaderEpoch > uncleanEpoch) return true", "leaderEpoch >= 0) return true"]],
    tests: [...replicaTests, ...hostedTests],
  },
  {
    name: "epoch-of-a-crash-off-by-one",
    breaks: "After an unclean stop a replica does not lead in its log's epoch.",
    file: epochFloors,
    replace: [["leaderEpoch > uncleanEpoch", "leaderEpoch >= uncleanEpoch"]],
    tests: replicaTests,
  },
  {
    name: "old-epoch-reported-again-and-again",
    breaks: "That a partition does not lead after a crash is logged once.",
    file: epochFloors,
    replace: [["    if (this.#reported.has(key)) return false;\n", ""]],
    tests: replicaTests,
  },
  {
    name: "epochs-of-a-crash-not-noted",
    breaks: "The manager notes the epochs that logs had at an unclean open, and only then.",
    file: epochFloors,
    replace: [["if (logs.recovery.clean) return;", "if (!logs.recovery.clean) return;"]],
    tests: [...realLogTests, ...hostedTests],
  },
];

const acknowledging: readonly Mutant[] = [
  {
    name: "acked-before-the-high-watermark",
    breaks: "Acks all is answered at the high watermark, not at local durability.",
    file: acknowledgements,
    replace: [
      [
        "      if (error === undefined) return;\n",
        "      if (error === undefined) return this.#replicated.shift()?.settle(undefined);\n",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "acked-at-the-high-watermark-of-the-batch-before",
    breaks: "The high watermark has to pass the last offset of a batch.",
    file: acknowledgements,
    replace: [["append.lastOffset >= highWatermark", "append.lastOffset > highWatermark"]],
    tests: replicaTests,
  },
  {
    name: "acks-leader-waits-for-replicas",
    breaks: "Acks leader is answered once the leader has it.",
    file: acknowledgements,
    replace: [
      [
        "if (append.acks === Acks.ALL) this.#replicated.push(append);\n    else this.#local",
        "if (append.acks !== Acks.NONE) this.#replicated.push(append);\n    else this.#local",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "failed-append-acknowledged",
    breaks: "An append that the log failed is not acknowledged.",
    file: acknowledgements,
    replace: [["append.settle(append.failure);", "append.settle(undefined);"]],
    tests: replicaTests,
  },
  {
    name: "failed-append-overtakes",
    breaks: "An append that the log failed is answered in its order.",
    file: acknowledgements,
    replace: [
      [
        "      this.passed(this.#highWatermark);\n",
        "      append.settle(this.#replicated.shift()?.failure);\n",
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "failed-append-unanswered",
    breaks: "An append that the log failed is answered.",
    file: acknowledgements,
    replace: [["      this.passed(this.#highWatermark);\n", ""]],
    tests: replicaTests,
  },
  {
    name: "repeated-append-unanswered",
    breaks: "A repeated batch is answered, though the high watermark does not rise for it.",
    file: leader,
    replace: [
      [
        "    if (hasMinInsync) log.update",
        "    const before = log.highWatermark;\n    if (hasMinInsync) log.update",
      ],
      [
        "    this.#acknowledgements.passed(",
        "    if (log.highWatermark > before) this.#acknowledgements.passed(",
      ],
    ],
    tests: realLogTests,
  },
  {
    name: "lost-leader-unanswered",
    breaks: "What waits for an acknowledgement fails with the leadership.",
    file: replica,
    replace: [
      [
        'this.#resign(state, { kind: "follower", log: state.log }, "lost its leader");',
        'this.#state = { kind: "follower", log: state.log };',
      ],
    ],
    tests: replicaTests,
  },
  {
    name: "offline-unanswered",
    breaks: "What waits for an acknowledgement fails when the partition goes offline.",
    file: replica,
    replace: [['this.#resign(from, offline, "went offline");', "this.#state = offline;"]],
    tests: replicaTests,
  },
  {
    name: "given-up-unanswered",
    breaks: "What waits for an acknowledgement fails when the broker gives the partition up.",
    file: replica,
    replace: [
      ['this.#resign(state, closed, "was given up by its broker");', "this.#state = closed;"],
    ],
    tests: replicaTests,
  },
  {
    name: "answered-twice",
    breaks: "An append that failed with the leadership is answered once.",
    file: acknowledgements,
    replace: [["} else if (this.#local.peek() === append) {", "} else {"]],
    tests: replicaTests,
  },
  {
    name: "waiting-append-told-it-was-not-written",
    breaks: "An append whose leadership was lost may have been written, and its error says so.",
    file: `${room}refusals.ts`,
    replace: [["ErrorCode.UNAVAILABLE", "ErrorCode.NOT_LEADER"]],
    tests: replicaTests,
  },
  {
    name: "late-failure-does-not-stop-its-followers",
    breaks: "Requests behind one that failed after its append are not appended.",
    file: "services/broker/src/produce/pending-append.ts",
    replace: [["    if (error !== undefined) this.order?.failed();\n", ""]],
    tests: ["services/broker/src/produce/appender.test.ts"],
  },
  {
    name: "ring-loses-its-order-when-it-grows",
    breaks: "Appends are answered in the order in which they were appended.",
    file: "services/broker/src/ring.ts",
    replace: [["old[(this.#head + i) & (old.length - 1)]", "old[i]"]],
    tests: ["services/broker/src/ring.test.ts"],
  },
];

const latest: readonly Mutant[] = [
  {
    name: "latest-below-the-epochs-start",
    breaks: "A leader tells the latest offset once its high watermark is at its epoch's start.",
    file: leader,
    replace: [["if (highWatermark < this.#startOffset) throw", "if (highWatermark < 0) throw"]],
    tests: replicaTests,
  },
  {
    name: "epochs-start-taken-for-the-high-watermark",
    breaks: "An epoch starts where the log ended when its leader took over.",
    file: replica,
    replace: [["const startOffset = log.logEndOffset;", "const startOffset = log.highWatermark;"]],
    tests: replicaTests,
  },
  {
    name: "list-offsets-below-the-epochs-start",
    breaks: "ListOffsets waits for the epoch's start, as every question for the latest offset.",
    file: logService,
    replace: [["BigInt(leader.latestOffset())", "BigInt(log.highWatermark)"]],
    tests: logServiceTests,
  },
  {
    name: "no-record-below-the-epochs-start",
    breaks: "That no record is as new as a time is known no earlier than the latest offset.",
    file: logService,
    replace: [["    if (result === undefined) leader.latestOffset();\n", ""]],
    tests: logServiceTests,
  },
  {
    name: "lookup-outlives-its-leader",
    breaks: "A lookup is not answered by a replica that has resigned meanwhile.",
    file: logService,
    replace: [
      ["const leader = replica.requireLeader(epoch);", "const leader = replica.state as Leader;"],
    ],
    tests: logServiceTests,
  },
  {
    name: "delete-records-below-the-epochs-start",
    breaks: "DeleteRecords up to the latest offset waits for the epoch's start.",
    file: logService,
    replace: [["? leader.latestOffset()", "? log.highWatermark"]],
    tests: logServiceTests,
  },
  {
    name: "new-leader-refuses-deletions-for-good",
    breaks: "A new leader asks to retry a deletion up to an offset that an earlier one told.",
    file: "services/broker/src/log-service.ts",
    replace: [["    if (before > log.highWatermark) leader.latestOffset();\n", ""]],
    tests: logServiceTests,
  },
];

const working: readonly Mutant[] = [
  {
    name: "whole-topic-touched",
    breaks: "A change of one partition touches that partition alone.",
    file: hostedTopic,
    replace: [["      if (hosted?.replica.view === view && !configChanged) continue;\n", ""]],
    tests: hostedTests,
  },
  {
    name: "partition-views-copied",
    breaks: "The view of a partition that has not changed is the same object.",
    file: "services/broker/src/metadata/mirror.ts",
    replace: [["partitions.push(view);", "partitions.push({ ...view });"]],
    tests: ["services/broker/src/metadata/mirror.test.ts"],
  },
  {
    name: "new-configs-ignored",
    breaks: "New configs of a topic reach all of its partitions.",
    file: hostedTopic,
    replace: [["view === view && !configChanged)", "view === view)"]],
    tests: hostedTests,
  },
  {
    name: "bad-configs-stop-the-view",
    breaks: "Configs that cannot be read do not stop changes of roles.",
    file: manager,
    replace: [["      return hosted?.config;\n", "      throw thrown;\n"]],
    tests: hostedTests,
  },
  {
    name: "lost-partition-served",
    breaks: "A partition that goes to other brokers is not served any more.",
    file: hostedTopic,
    replace: [["!view.replicas.includes(this.#brokerId)", "view.replicas.length === 0"]],
    tests: hostedTests,
  },
  {
    name: "deleted-topic-served",
    breaks: "The partitions of a deleted topic end with it.",
    file: manager,
    replace: [["      hosted.close();\n", ""]],
    tests: hostedTests,
  },
  {
    name: "stop-leaves-leaders",
    breaks: "A stop ends all replicas at once.",
    file: manager,
    replace: [["for (const topic of this.#topics.values()) topic.close();", ""]],
    tests: hostedTests,
  },
  {
    name: "stop-does-not-last",
    breaks: "A caller that waited for a change starts no partitions after a stop.",
    file: manager,
    replace: [["    if (this.#closed) return;\n", ""]],
    tests: hostedTests,
  },
  {
    name: "creations-unbounded",
    breaks: "64 partitions are made at the same time.",
    file: `${room}creations.ts`,
    replace: [["if (this.#free > 0) this", "if (this.#free > -1000) this"]],
    tests: [`${room}creations.test.ts`],
  },
  {
    name: "place-of-a-creation-lost",
    breaks: "A creation that ends makes room for the next.",
    file: `${room}creations.ts`,
    replace: [["      else next();\n", ""]],
    tests: [`${room}creations.test.ts`],
  },
  {
    name: "deletion-overtakes-a-creation",
    breaks: "A partition that was being made when its topic was deleted is deleted, too.",
    file: `${room}deletions.ts`,
    replace: [
      ["    for (const topicId of deletions.keys()) await creations.settled(topicId);\n", ""],
    ],
    tests: hostedTests,
  },
  {
    name: "deleted-partition-made",
    breaks: "A partition whose topic was deleted while it waited to be made is not made.",
    file: `${room}hosted-partition.ts`,
    replace: [['      if (replica.state.kind !== "none") return undefined;\n', ""]],
    tests: hostedTests,
  },
  {
    name: "work-beside-itself",
    breaks: "The work of a partition runs once at a time.",
    file: serialWork,
    replace: [
      ['if (state.kind === "running") {', "if (this.#failures < 0) {"],
      ["state.again = true;", ""],
    ],
    tests: serialTests,
  },
  {
    name: "request-during-a-run-lost",
    breaks: "A view that comes while the one before it is followed is followed, too.",
    file: serialWork,
    replace: [["      state.again = true;\n", ""]],
    tests: [...serialTests, ...hostedTests],
  },
  {
    name: "retries-never-slow-down",
    breaks: "The pause before a retry doubles.",
    file: serialWork,
    replace: [["    this.#failures += 1;\n", ""]],
    tests: serialTests,
  },
  {
    name: "retries-slow-down-for-ever",
    breaks: "The pause before a retry is at most a minute.",
    file: serialWork,
    replace: [
      [
        "Math.min(retryMsMax, retryMsMin * 2 ** this.#failures)",
        "retryMsMin * 2 ** this.#failures",
      ],
    ],
    tests: serialTests,
  },
  {
    name: "retries-stay-slow",
    breaks: "A run that succeeds starts the pauses over.",
    file: serialWork,
    replace: [
      ["if (failed === undefined) this.#failures = 0;", "if (failed === undefined) return;"],
    ],
    tests: serialTests,
  },
  {
    name: "closed-work-goes-on",
    breaks: "Closed work does not run again.",
    file: serialWork,
    replace: [["      if (this.#state !== running) return;\n", ""]],
    tests: serialTests,
  },
];

export const partitionMutants: readonly Mutant[] = [
  ...leading,
  ...acknowledging,
  ...latest,
  ...working,
];
