import type { Mutant } from "../mutant.ts";

const controller = "services/controller/src/";
const broker = "services/broker/src/";
const rules = [`${controller}reassignment.test.ts`, `${controller}reassignment.property.test.ts`];
const admin = [`${controller}reassignments.test.ts`];
const removals = [`${broker}partitions/removals.test.ts`];
const intents = [`${controller}brokers.test.ts`];
const drains = [`${controller}drain.test.ts`];
const boots = [`${broker}process/boot.test.ts`];

const reassignments: readonly Mutant[] = [
  {
    name: "move-ends-before-all-caught-up",
    breaks: "A reassignment is over once every new replica is in sync.",
    file: `${controller}reassignment.ts`,
    replace: [["record.adding.every((id) => inSync.includes(id)) &&", "true &&"]],
    tests: rules,
  },
  {
    name: "move-ends-below-the-minimum",
    breaks: "At least min.insync.replicas of the target are in sync when a reassignment is over.",
    file: `${controller}reassignment.ts`,
    replace: [["Math.min(topic.minInsyncReplicas, replicas.length)", "0"]],
    tests: rules,
  },
  {
    name: "move-ends-with-an-old-registration",
    breaks: "A new replica that has registered anew since it caught up is not in sync.",
    file: `${controller}reassignment.ts`,
    replace: [
      [
        "return epoch !== undefined && epoch === BigInt(registered.brokers.get(id) ?? -1);",
        "return epoch !== undefined;",
      ],
    ],
    tests: rules,
  },
  {
    name: "removed-without-a-new-term",
    breaks: "Whoever is removed has nothing of the leader epoch that begins then.",
    file: `${controller}reassignment.ts`,
    replace: [["const leaderEpoch = record.leaderEpoch + 1;", "const { leaderEpoch } = record;"]],
    tests: rules,
  },
  {
    name: "removed-leader-stays",
    breaks: "A leader that is removed leads no more.",
    file: `${controller}reassignment.ts`,
    replace: [
      [
        "const stays = record.leader !== undefined && eligible.includes(record.leader);",
        "const stays = record.leader !== undefined;",
      ],
    ],
    tests: rules,
  },
  {
    name: "cancellation-drops-all-in-sync",
    breaks: "A replica that has everything stays.",
    file: `${controller}reassignment.ts`,
    replace: [["if (leader === undefined) return undefined;\n    return {", "return {"]],
    tests: rules,
  },
  {
    name: "added-again-and-still-to-be-deleted",
    breaks: "A replica that is added again keeps its log.",
    file: `${controller}reassignment.ts`,
    replace: [
      [
        "removed: record.removed.filter(({ brokerId }) => !members.replicas.includes(brokerId)),",
        "removed: record.removed,",
      ],
    ],
    tests: rules,
  },
  {
    name: "directories-of-other-replicas",
    breaks: "Directory ids go with their replicas.",
    file: `${controller}reassignment.ts`,
    replace: [["record.directoryIds[record.replicas.indexOf(id)]", "record.directoryIds[id]"]],
    tests: rules,
  },
  {
    name: "added-replicas-raise-the-minimum",
    breaks: "Replicas that are being added do not count for min.insync.replicas.",
    file: `${controller}leadership.ts`,
    replace: [["replicas.length - adding.length)", "replicas.length + 0 * adding.length)"]],
    tests: rules,
  },
  {
    name: "added-replicas-raise-the-minimum-of-a-leader",
    breaks: "A leader acknowledges by the same minimum as the controller decides by.",
    file: `${broker}partitions/replica.ts`,
    replace: [["replicas.length - adding.length)", "replicas.length + 0 * adding.length)"]],
    tests: [`${broker}partitions/replica-following.test.ts`],
  },
  {
    name: "new-followers-unwatched",
    breaks: "A leader that had no followers looks after those that a reassignment adds.",
    file: `${broker}partitions/replica.ts`,
    replace: [["if (hasFollowers && this.#state", "if (!hasFollowers && this.#state"]],
    tests: [`${broker}partitions/replica-following.test.ts`],
  },
  {
    name: "deletion-misses-removed-replicas",
    breaks: "The deletion of a topic reaches brokers that were removed from it.",
    file: `${controller}controller.ts`,
    replace: [["  ...removed.map(({ brokerId }) => brokerId),\n", ""]],
    tests: admin,
  },
  {
    name: "move-of-a-topic-that-is-gone",
    breaks: "A reassignment is recorded only while the topic is unchanged.",
    file: `${controller}reassignments.ts`,
    replace: [["      [keys.topic(wanted.topic), topic.modRevision],\n", ""]],
    tests: admin,
  },
  {
    name: "another-removal-confirmed",
    breaks: "A confirmation is about one removal.",
    file: `${controller}removals.ts`,
    replace: [[" || one.leaderEpoch !== leaderEpoch", ""]],
    tests: admin,
  },
];

const logs: readonly Mutant[] = [
  {
    name: "log-deleted-without-an-entry",
    breaks: "A log goes only against an entry that names this broker.",
    file: `${broker}partitions/removals.ts`,
    replace: [
      ["removed.find((one) => one.brokerId === brokerId)", "removed[0]"],
      ["(one) => one.brokerId === brokerId && one.leaderEpoch", "(one) => one.leaderEpoch"],
    ],
    tests: removals,
  },
  {
    name: "newer-log-deleted",
    breaks: "A log that knows the epoch of the removal is kept.",
    file: `${broker}partitions/removals.ts`,
    replace: [["if (log.leaderEpoch >= leaderEpoch) {", "if (log.leaderEpoch > leaderEpoch) {"]],
    tests: removals,
  },
  {
    name: "offline-log-deleted",
    breaks: "A log of which nobody knows what it has is kept.",
    file: `${broker}partitions/removals.ts`,
    replace: [['if (log.state.kind === "offline") {', 'if (log.state.kind === "stopped") {']],
    tests: removals,
  },
  {
    name: "log-of-an-added-replica-deleted",
    breaks: "A replica that was added again meanwhile keeps its log.",
    file: `${broker}partitions/removals.ts`,
    replace: [["    if (!this.#isPresent(removal)) return false;\n", ""]],
    tests: removals,
  },
  {
    name: "log-that-is-being-made-missed",
    breaks: "A log that is being made is waited for.",
    file: `${broker}partitions/removals.ts`,
    replace: [["await creations.settled(topicId);", "void creations;"]],
    tests: removals,
  },
];

const wanted: readonly Mutant[] = [
  {
    name: "cordoned-broker-gets-replicas",
    breaks: "A cordoned broker gets no replicas of new partitions.",
    file: `${controller}controller.ts`,
    replace: [
      [
        "intentOf(placement, brokerId, directoryId) === BrokerIntent.ACTIVE",
        "intentOf(placement, brokerId, directoryId) !== BrokerIntent.UNSPECIFIED",
      ],
    ],
    tests: intents,
  },
  {
    name: "replicas-move-to-a-cordoned-broker",
    breaks: "No reassignment moves a replica to a cordoned broker.",
    file: `${controller}reassignments.ts`,
    replace: [["if (intent === BrokerIntent.ACTIVE) return", "if (intent !== undefined) return"]],
    tests: intents,
  },
  {
    name: "topic-placed-by-old-intents",
    breaks: "New partitions are written on condition that no intent has changed.",
    file: `${controller}controller.ts`,
    replace: [
      ["putPartitions(id, 0, assignment, [condition])", "putPartitions(id, 0, assignment, [])"],
    ],
    tests: intents,
  },
  {
    name: "move-placed-by-old-intents",
    breaks: "A reassignment is recorded on condition that no intent has changed.",
    file: `${controller}reassignments.ts`,
    replace: [["      [keys.placement, placement.revision],\n", ""]],
    tests: intents,
  },
  {
    name: "drain-placed-by-old-intents",
    breaks: "A drain moves replicas on condition that no intent has changed.",
    file: `${controller}desired.ts`,
    replace: [["    [keys.placement, state.placement.revision],\n", ""]],
    tests: drains,
  },
  {
    name: "decommissioned-with-replicas",
    breaks: "A broker that a record names is not decommissioned.",
    file: `${controller}brokers.ts`,
    replace: [[": replicas > 0\n", ": replicas > 1e9\n"]],
    tests: intents,
  },
  {
    name: "decommissioned-with-logs",
    breaks: "A broker with logs on its disk is not decommissioned.",
    file: `${controller}brokers.ts`,
    replace: [["if (count === 0) return undefined;", "if (count >= 0) return undefined;"]],
    tests: intents,
  },
  {
    name: "decommissioned-from-active",
    breaks: "Only a broker that gets no new replicas is decommissioned.",
    file: `${controller}brokers.ts`,
    replace: [["    if (intent === BrokerIntent.ACTIVE) {", "    if (intent === undefined) {"]],
    tests: intents,
  },
  {
    name: "decommissioned-broker-starts",
    breaks: "A decommissioned broker does not start with its directory.",
    file: `${broker}process/decommissioned.ts`,
    replace: [["if (kv === undefined || !isOver(kv, self)) return;", "if (kv !== self) return;"]],
    tests: boots,
  },
  {
    name: "empty-disk-is-decommissioned",
    breaks: "With another directory a broker is another one.",
    file: `${controller}placement.ts`,
    replace: [["const isOther = !isDirectoryOf(record, directoryId);", "const isOther = false;"]],
    tests: intents,
  },
  {
    name: "drain-without-limit",
    breaks: "A bounded number of partitions moves away from a broker at a time.",
    file: `${controller}drain.ts`,
    replace: [[">= limits.drainMovesMax", ">= 1e9 * limits.drainMovesMax"]],
    tests: drains,
  },
  {
    name: "drain-to-cordoned-brokers",
    breaks: "A drain moves replicas to active brokers.",
    file: `${controller}drain.ts`,
    replace: [["=== BrokerIntent.ACTIVE)", "!== BrokerIntent.DRAINING)"]],
    tests: drains,
  },
  {
    name: "draining-broker-leads",
    breaks: "A draining broker leads only where nobody else is in sync.",
    file: `${controller}desired.ts`,
    replace: [[", ...brokersWith(state, BrokerIntent.DRAINING)]", "]"]],
    tests: drains,
  },
  {
    name: "in-sync-replica-throttled",
    breaks: "Acknowledgements do not wait for the throttle of reassignments.",
    file: `${broker}replication/leader-session.ts`,
    replace: [["    if (subscription.partition.isInSync(this.#follower)) return false;\n", ""]],
    tests: [`${broker}replication/replication.test.ts`],
  },
  {
    name: "throttle-forgets-what-was-read",
    breaks: "Reads for replicas that are not in sync keep to the rate.",
    file: `${broker}replication/catch-up-rate.ts`,
    replace: [["Math.max(this.#paidMs, nowMs)", "nowMs"]],
    tests: [`${broker}replication/catch-up-rate.test.ts`],
  },
];

/** Partitions that move, and brokers that are emptied. */
export const moveMutants: readonly Mutant[] = [...reassignments, ...logs, ...wanted];
