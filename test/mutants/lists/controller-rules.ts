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
    replace: [["if (isr.length >= min) return [];", "if (isr.length > min) return [];"]],
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
    replace: [["=> pending.length === 0);", "=> pending.length >= 0);"]],
    tests: rules,
  },
  {
    name: "deletion-ends-before-its-partitions",
    breaks: "A deletion record stays while partitions of its topic are left.",
    file: `${at}desired.ts`,
    replace: [["=> !remaining.has(topicId))", "=> !remaining.has(topicId) || true)"]],
    tests: rules,
  },
  {
    name: "changes-in-order-of-arrival",
    breaks: "The order in which things became known decides nothing.",
    file: `${at}desired.ts`,
    replace: [["changes.sort(byUrgency)", "changes"]],
    tests: rules,
  },
  {
    name: "elections-in-order-of-keys",
    breaks: "Partitions without a leader do not wait for those that lose a follower.",
    file: `${at}desired.ts`,
    replace: [["if (a.elects !== b.elects)", "if (a.elects === undefined)"]],
    tests: rules,
  },
];

const state = `${at}cluster-state.ts`;
const decisions = `${at}decisions.ts`;
const histories = [`${at}decisions.property.test.ts`];

/** What a look at the partitions that were touched would miss. */
const touched: readonly Mutant[] = [
  {
    name: "broker-that-came-or-went-not-looked-at",
    breaks: "A registration that comes, goes or changes has its partitions looked at.",
    file: state,
    replace: [
      [
        "      this.#tell((one) => one.broker(brokerId));\n      this.#registrations",
        "      this.#registrations",
      ],
    ],
    tests: histories,
  },
  {
    name: "intent-not-looked-at",
    breaks: "A broker that is not drained any more has its partitions looked at.",
    file: state,
    replace: [
      [
        "      this.#intents.delete(brokerId);\n      this.#tell((one) => one.broker(brokerId));\n",
        "      this.#intents.delete(brokerId);\n",
      ],
    ],
    tests: histories,
  },
  {
    name: "record-not-looked-at",
    breaks: "A partition whose record has changed is looked at.",
    file: state,
    replace: [["      this.#tell((one) => one.partition(key));\n", ""]],
    tests: histories,
  },
  {
    name: "deletion-not-looked-at",
    breaks: "The partitions of a topic that was deleted are looked at.",
    file: state,
    replace: [["      this.#tell((one) => one.topic(topicId));\n", ""]],
    tests: histories,
  },
  {
    name: "topic-that-is-gone-not-looked-at",
    breaks: "The partitions of a topic that is gone are looked at.",
    file: state,
    replace: [["      this.#tell((one) => one.topic(id));\n", ""]],
    tests: histories,
  },
  {
    name: "minimum-not-looked-at",
    breaks: "The partitions of a topic that is new, or has another minimum, are looked at.",
    file: state,
    replace: [["      this.#tell((one) => one.topic(topic.id));\n", ""]],
    tests: histories,
  },
  {
    name: "readable-key-not-looked-at",
    breaks: "What stayed beside a key that could not be read is looked at once all can be read.",
    file: state,
    replace: [["if (!wasReadable && this.#unreadable", "if (wasReadable && this.#unreadable"]],
    tests: histories,
  },
  {
    name: "conflict-not-looked-at",
    breaks: "A partition whose change was not made is looked at again.",
    file: decisions,
    replace: [["    for (const { key } of changes) this.#partitions.add(key);\n", ""]],
    tests: histories,
  },
  {
    name: "touched-before-the-election-forgotten",
    breaks: "What is touched before the election was read is looked at after it.",
    file: decisions,
    replace: [["    if (current.revision < this.#epoch) return [];\n", ""]],
    tests: histories,
  },
  {
    name: "balance-of-what-was-touched",
    breaks: "A balance of leaders looks at all partitions.",
    file: decisions,
    replace: [["    if (balances) this.#everything = true;\n", ""]],
    tests: histories,
  },
  {
    name: "reign-begins-with-what-is-touched",
    breaks: "A reign begins with a look at everything.",
    file: decisions,
    replace: [["  #everything = true;", "  #everything = false;"]],
    tests: histories,
  },
  {
    name: "drain-of-what-was-touched",
    breaks: "A drain is planned from where all replicas are.",
    file: decisions,
    replace: [["if (this.#everything || isDraining) return", "if (this.#everything) return"]],
    tests: histories,
  },
  {
    name: "record-forgotten-beside-a-broker",
    breaks: "A record that changes together with a registration is looked at.",
    file: decisions,
    replace: [["      this.#partitions.has(key) ||\n", ""]],
    tests: histories,
  },
  {
    name: "topic-forgotten-beside-a-record",
    breaks: "A topic that changes together with a registration is looked at.",
    file: decisions,
    replace: [["      this.#topics.has(topicId) ||\n", ""]],
    tests: histories,
  },
];

const loop: readonly Mutant[] = [
  {
    name: "transactions-without-limit",
    breaks: "A bounded number of transactions is in flight.",
    file: `${at}guarded-changes.ts`,
    replace: [["{ length: inFlightMax }", "{ length: inFlightMax + 1 }"]],
    tests: [`${at}guarded-changes.test.ts`],
  },
  {
    name: "writes-after-a-failure",
    breaks: "No transaction begins after one that failed.",
    file: `${at}guarded-changes.ts`,
    replace: [["if (failures.length > 0) return;", "if (failures.length > 99) return;"]],
    tests: [`${at}guarded-changes.test.ts`],
  },
  {
    name: "failure-told-too-early",
    breaks: "A failure is told once nothing is in flight any more.",
    file: `${at}guarded-changes.ts`,
    replace: [
      [".catch((thrown) => failures.push(thrown));", ".catch((thrown) => Promise.reject(thrown));"],
    ],
    tests: [`${at}guarded-changes.test.ts`],
  },
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

export const controllerRuleMutants: readonly Mutant[] = [
  ...leadership,
  ...changes,
  ...touched,
  ...loop,
];
