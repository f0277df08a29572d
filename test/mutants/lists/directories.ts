import type { Mutant } from "../mutant.ts";

const at = "services/controller/src/";
const rules = [`${at}desired.test.ts`, `${at}alter-partition.property.test.ts`];
const elections = [`${at}elections.test.ts`];
const boots = ["services/broker/src/process/boot.test.ts"];

const ids: readonly Mutant[] = [
  {
    name: "directory-of-a-replica-ignored",
    breaks: "A broker with another disk is not complete.",
    file: `${at}directories.ts`,
    replace: [["  return known.length === 0 || isSame(", "  return known.length >= 0 || isSame("]],
    tests: rules,
  },
  {
    name: "unknown-directory-is-another",
    breaks: "Records of before directory ids go on.",
    file: `${at}directories.ts`,
    replace: [["  return known.length === 0 || isSame(", "  return isSame("]],
    tests: rules,
  },
  {
    name: "directory-not-recorded-by-elections",
    breaks: "Who leads is in sync where it is now.",
    file: `${at}leadership.ts`,
    replace: [
      [
        "leader === undefined ? record.directoryIds : directoryIdsWith(record, isr, directories)",
        "record.directoryIds.length > 0 ? record.directoryIds : directoryIdsWith(record, isr, directories)",
      ],
    ],
    tests: rules,
  },
  {
    name: "directory-recorded-without-a-leader",
    breaks: "Where nobody leads, nobody has caught up.",
    file: `${at}leadership.ts`,
    replace: [
      [
        "leader === undefined ? record.directoryIds : directoryIdsWith(record, isr, directories)",
        "directoryIdsWith(record, isr, directories)",
      ],
    ],
    tests: rules,
  },
  {
    name: "directory-not-recorded-by-leaders",
    breaks: "Who has caught up is in sync where it is now.",
    file: `${at}alter-partition.ts`,
    replace: [["      directoryIds: directoryIdsWith(record, isr, directories),\n", ""]],
    tests: [`${at}alter-partition.test.ts`],
  },
  {
    name: "directory-of-others-forgotten",
    breaks: "A replica that has left the ISR is known by the directory that it had.",
    file: `${at}directories.ts`,
    replace: [
      [
        "(directories.get(id) ?? unknown) : (directoryIds[i] ?? unknown)",
        "(directories.get(id) ?? unknown) : unknown",
      ],
    ],
    tests: rules,
  },
  {
    name: "directory-not-recorded-for-new-partitions",
    breaks: "A new partition knows the directories of its replicas.",
    file: `${at}registry.ts`,
    replace: [
      [
        "          directoryIds: replicas.map((id) => byId.get(id)?.directoryId ?? new Uint8Array(0)),\n",
        "",
      ],
    ],
    tests: elections,
  },
  {
    name: "directory-not-registered",
    breaks: "A broker tells its directory.",
    file: "services/broker/src/process/parts.ts",
    replace: [["...{ brokerId, directoryId, incarnationId:", "...{ brokerId, incarnationId:"]],
    tests: boots,
  },
];

const commands: readonly Mutant[] = [
  {
    name: "unclean-election-of-a-led-partition",
    breaks: "Nothing is lost by command while somebody complete can lead.",
    file: `${at}elections.ts`,
    replace: [["if (clean.leader !== undefined) {", "if (record.leader !== undefined) {"]],
    tests: elections,
  },
  {
    name: "unclean-election-keeps-the-elr",
    breaks: "After an unclean election nobody else is complete.",
    file: `${at}elections.ts`,
    replace: [["    elr: [],\n", ""]],
    tests: elections,
  },
  {
    name: "unclean-election-in-the-old-epoch",
    breaks: "Every election has its own epoch.",
    file: `${at}elections.ts`,
    replace: [["    leaderEpoch: record.leaderEpoch + 1,\n", ""]],
    tests: elections,
  },
  {
    name: "unclean-election-of-an-absent-broker",
    breaks: "Only a registered broker leads.",
    file: `${at}elections.ts`,
    replace: [["replicas.filter((id) => brokers.has(id))", "replicas.filter((id) => id >= 0)"]],
    tests: elections,
  },
  {
    name: "preferred-leader-elected-out-of-sync",
    breaks: "The preferred leader leads only while it is in sync.",
    file: `${at}elections.ts`,
    replace: [
      [
        "if (next !== undefined && next.leader === first) return next;",
        "if (next !== undefined) return next;",
      ],
    ],
    tests: elections,
  },
  {
    name: "election-checked-is-made",
    breaks: "validate_only changes nothing.",
    file: `${at}elect-leader.ts`,
    replace: [["if (request.validateOnly) {", "if (request.partition < 0) {"]],
    tests: elections,
  },
];

const follower = "services/broker/src/replication/follower-stream.ts";
const following = ["services/broker/src/replication/follower-stream.test.ts"];

const afterwards: readonly Mutant[] = [
  {
    name: "another-disk-stays-in-the-elr",
    breaks: "Who comes back with another disk catches up as one that has nothing.",
    file: `${at}leadership.ts`,
    replace: [["brokers.has(id) && !isInItsDirectory(", "id < 0 && !isInItsDirectory("]],
    tests: rules,
  },
  {
    name: "old-disk-given-up-without-a-leader",
    breaks: "While nobody leads, the disk of a replica may come back.",
    file: `${at}leadership.ts`,
    replace: [
      ["leader === undefined ? { brokers: new Map(), directories } : registered", "registered"],
    ],
    tests: rules,
  },
  {
    name: "unclean-election-not-recorded",
    breaks: "After an unclean election the others may cut what was committed.",
    file: `${at}elections.ts`,
    replace: [["    uncleanLeaderEpoch: record.leaderEpoch + 1,\n", ""]],
    tests: [...elections, ...boots],
  },
  {
    name: "committed-records-cut-without-a-command",
    breaks: "Only an unclean election takes what was committed.",
    file: follower,
    replace: [["log.leaderEpoch < uncleanLeaderEpoch", "log.leaderEpoch <= uncleanLeaderEpoch"]],
    tests: following,
  },
  {
    name: "committed-records-kept-against-the-command",
    breaks: "After an unclean election the others follow.",
    file: follower,
    replace: [["if (!isOlder) {", "if (log.leaderEpoch >= 0) {"]],
    tests: following,
  },
];

export const directoryMutants: readonly Mutant[] = [...ids, ...commands, ...afterwards];
