import type { Mutant } from "../mutant.ts";

const at = "services/controller/src/";
const rules = [`${at}desired.test.ts`];
const loops = [`${at}control-loop.test.ts`];
const boots = ["services/standalone/src/boot/boot.test.ts"];

const leadership: readonly Mutant[] = [
  {
    name: "gone-broker-stays-in-sync",
    breaks: "A broker that is not registered leaves the ISR.",
    file: `${at}leadership.ts`,
    replace: [
      [
        "return epoch !== undefined && BigInt(epoch) === record",
        "return epoch === undefined || BigInt(epoch) === record",
      ],
    ],
    tests: rules,
  },
  {
    name: "restarted-broker-stays-in-sync",
    breaks: "A broker that has registered anew leaves the ISR.",
    file: `${at}leadership.ts`,
    replace: [[" && BigInt(epoch) === record.isrBrokerEpochs[i]", " && i >= 0"]],
    tests: rules,
  },
  {
    name: "leader-moves-without-need",
    breaks: "A leader that is in sync stays.",
    file: `${at}leadership.ts`,
    replace: [
      ["const leader = stays ? record.leader :", "const leader = !stays ? record.leader :"],
    ],
    tests: rules,
  },
  {
    name: "leader-by-age-in-the-isr",
    breaks: "Leaders are elected in the order of the replicas.",
    file: `${at}leadership.ts`,
    replace: [
      ["record.replicas.find((id) => ids.includes(id)", "ids.find((id) => ids.includes(id)"],
    ],
    tests: rules,
  },
  {
    name: "absent-broker-elected",
    breaks: "Only a registered broker is elected.",
    file: `${at}leadership.ts`,
    replace: [["ids.includes(id) && brokers.has(id)", "ids.includes(id)"]],
    tests: rules,
  },
  {
    name: "elr-asked-first",
    breaks: "The ELR is asked only when nobody of the ISR is there.",
    file: `${at}leadership.ts`,
    replace: [["firstOf(record.isr) ?? firstOf(elr)", "firstOf(elr) ?? firstOf(record.isr)"]],
    tests: rules,
  },
  {
    name: "outsider-elected",
    breaks: "There is no unclean election.",
    file: `${at}leadership.ts`,
    replace: [["?? firstOf(elr)", "?? firstOf(elr) ?? firstOf(record.replicas)"]],
    tests: rules,
  },
  {
    name: "isr-empties",
    breaks: "The last member of an ISR stays in it.",
    file: `${at}leadership.ts`,
    replace: [["? { isr: record.isr, leader } :", "? { isr: [], leader } :"]],
    tests: rules,
  },
  {
    name: "elr-outlives-the-full-isr",
    breaks: "The ELR is empty while the ISR has its full size.",
    file: `${at}leadership.ts`,
    replace: [
      ["isr.length < min\n    ? after.replicas", "isr.length <= min\n    ? after.replicas"],
    ],
    tests: rules,
  },
  {
    name: "elr-believed-at-the-full-isr",
    breaks: "An ELR that was kept while the ISR had its full size means nothing.",
    file: `${at}leadership.ts`,
    replace: [["record.isr.length < min && record.minIsr", "record.minIsr"]],
    tests: rules,
  },
  {
    name: "elr-outlives-a-lower-minimum",
    breaks: "A change of min.insync.replicas makes an ELR worthless.",
    file: `${at}leadership.ts`,
    replace: [[" && record.minIsrEpoch === topic.minIsrEpoch;", ";"]],
    tests: rules,
  },
  {
    name: "elr-forgets-its-members",
    breaks: "A member of the ELR stays in it while the high watermark stands still.",
    file: `${at}leadership.ts`,
    replace: [["new Set([...record.isr, ...validElr(record, topic)])", "new Set([...record.isr])"]],
    tests: rules,
  },
  {
    name: "epoch-stays-for-a-new-leader",
    breaks: "The leader epoch rises with every change of leader.",
    file: `${at}leadership.ts`,
    replace: [["    leader !== record.leader ||\n", ""]],
    tests: rules,
  },
  {
    name: "epoch-stays-for-a-restarted-leader",
    breaks: "The leader epoch rises with every new broker epoch of the leader.",
    file: `${at}leadership.ts`,
    replace: [
      [
        "epochOf(isr, isrBrokerEpochs) !== epochOf(record.isr, record.isrBrokerEpochs)",
        "epochOf(isr, []) !== epochOf(record.isr, [])",
      ],
    ],
    tests: [...rules, ...boots],
  },
];

const changes: readonly Mutant[] = [
  {
    name: "decides-before-it-has-read-its-election",
    breaks: "A controller decides nothing from a state that is older than its reign.",
    file: `${at}desired.ts`,
    replace: [["  if (state.revision < epoch) return [];\n", ""]],
    tests: rules,
  },
  {
    name: "creation-under-way-removed",
    breaks: "Partitions of a topic that is being made stay.",
    file: `${at}desired.ts`,
    replace: [["one.modRevision < epoch ||", "one.modRevision < epoch + 100 ||"]],
    tests: rules,
  },
  {
    name: "orphans-stay",
    breaks: "Partitions of a topic that was never made are removed by the next controller.",
    file: `${at}desired.ts`,
    replace: [["(one.modRevision < epoch || ", "("]],
    tests: rules,
  },
  {
    name: "orphans-of-a-deletion-stay",
    breaks: "Partitions of a topic that was deleted are removed.",
    file: `${at}desired.ts`,
    replace: [[" || state.deletions.has(one.topicId))", ")"]],
    tests: rules,
  },
  {
    name: "partitions-beyond-the-count-are-led",
    breaks: "Partitions beyond the count of their topic are removed.",
    file: `${at}desired.ts`,
    replace: [["record.partition >= (state.topics", "record.partition > (state.topics"]],
    tests: rules,
  },
  {
    name: "removed-beside-unreadable-topics",
    breaks: "Nothing is removed while a topic's record cannot be read.",
    file: `${at}desired.ts`,
    replace: [["state.unreadable.size === 0 && ", ""]],
    tests: rules,
  },
  {
    name: "deletion-ends-before-its-brokers",
    breaks: "A deletion record stays until every broker has confirmed.",
    file: `${at}desired.ts`,
    replace: [["pending.length > 0 || remaining", "remaining"]],
    tests: rules,
  },
  {
    name: "deletion-ends-before-its-partitions",
    breaks: "A deletion record stays while partitions of its topic are left.",
    file: `${at}desired.ts`,
    replace: [["if (pending.length > 0 || remaining.has(topicId))", "if (pending.length > 0)"]],
    tests: rules,
  },
  {
    name: "changes-in-order-of-arrival",
    breaks: "The order in which things became known decides nothing.",
    file: `${at}desired.ts`,
    replace: [["changes.sort((a, b) => (a.key < b.key ? -1 : 1))", "changes"]],
    tests: rules,
  },
];

const loop: readonly Mutant[] = [
  {
    name: "change-overwrites-another",
    breaks: "A record is changed only as it was read.",
    file: `${at}guarded-changes.ts`,
    replace: [["...changes.map(\n", "...changes.slice(changes.length).map(\n"]],
    tests: loops,
  },
  {
    name: "one-conflict-holds-up-all",
    breaks: "A conflict does not hold up the other changes of its transaction.",
    file: `${at}guarded-changes.ts`,
    replace: [
      ["else if (changes.length === 1) observer", "else if (changes.length >= 1) observer"],
    ],
    tests: loops,
  },
  {
    name: "transactions-of-everything",
    breaks: "A transaction has at most 100 changes.",
    file: `${at}limits.ts`,
    replace: [["changesPerTransaction = 100", "changesPerTransaction = 120"]],
    tests: loops,
  },
  {
    name: "writes-before-the-mirror-has-read",
    breaks: "A round waits until the mirror has read the one before.",
    file: `${at}control-loop.ts`,
    replace: [
      [
        "if (await mirror.waitForRevision(written.revision, mirrorTimeoutMs)) return;",
        "if (written.revision >= 0) return;",
      ],
    ],
    tests: loops,
  },
  {
    name: "failure-ends-the-loop",
    breaks: "A failure of the store is tried again.",
    file: `${at}control-loop.ts`,
    replace: [["if (!reign.isActive || hasCode", "if (reign.isActive || hasCode"]],
    tests: loops,
  },
  {
    name: "no-pause-after-a-failure",
    breaks: "After failures the loop waits, longer each time.",
    file: `${at}control-loop.ts`,
    replace: [["    this.#failures += 1;\n", ""]],
    tests: loops,
  },
  {
    name: "settled-before-its-election-is-read",
    breaks: "Nothing is settled before the controller has read its own election.",
    file: `${at}control-loop.ts`,
    replace: [["Math.max(revision, reign.epoch)", "revision"]],
    tests: loops,
  },
  {
    name: "settled-with-changes-left",
    breaks: "Settled means that nothing is left to change.",
    file: `${at}control-loop.ts`,
    replace: [
      [
        "while (reign.isActive && this.#settledAt < wanted)",
        "while (reign.isActive && wanted < 0)",
      ],
    ],
    tests: loops,
  },
];

export const controllerRuleMutants: readonly Mutant[] = [...leadership, ...changes, ...loop];
