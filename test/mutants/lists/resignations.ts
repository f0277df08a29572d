import type { Mutant } from "../mutant.ts";

const rules = "services/controller/src/alter-partition.ts";
const judged = ["services/controller/src/alter-partition.test.ts"];
const replica = "services/broker/src/partitions/replica.ts";
const replicas = ["services/broker/src/partitions/replica-following.test.ts"];
const changes = "services/broker/src/partitions/in-sync-changes.ts";

const controller: readonly Mutant[] = [
  {
    name: "resigns-and-asks-for-an-epoch",
    breaks: "A change that contradicts itself is refused.",
    file: rules,
    replace: [["if (knownLeaderEpoch > 0 && resigns) {", "if (knownLeaderEpoch < 0) {"]],
    tests: judged,
  },
  {
    name: "resigned-leader-stays-eligible",
    breaks: "A leader whose log is damaged is not complete any more.",
    file: rules,
    replace: [["changed.elr.filter((id) => id !== former)", "changed.elr"]],
    tests: judged,
  },
  {
    name: "resignation-in-the-old-epoch",
    breaks: "Another leader has another epoch.",
    file: rules,
    replace: [["const leaderEpoch = record.leaderEpoch + 1;", "const { leaderEpoch } = record;"]],
    tests: judged,
  },
  {
    name: "resignation-to-who-is-behind",
    breaks: "Only who is in sync takes over.",
    file: rules,
    replace: [["if (stranger !== undefined) {", "if (stranger === null) {"]],
    tests: judged,
  },
  {
    name: "resignation-to-an-earlier-life",
    breaks: "Who has registered anew is not in sync.",
    file: rules,
    replace: [["return at >= 0 && record.isrBrokerEpochs[at] === brokerEpoch;", "return at >= 0;"]],
    tests: ["services/controller/src/alter-partition.property.test.ts", ...judged],
  },
  {
    name: "resignation-to-a-worthless-elr",
    breaks: "An ELR of another minimum means nothing.",
    file: rules,
    replace: [["record: next, brokers, unchanged };", "record: next, brokers };"]],
    tests: judged,
  },
  {
    name: "resignation-to-another-disk",
    breaks: "Who has another disk does not take over.",
    file: rules,
    replace: [["brokers.has(id) && isInItsDirectory(record, id, directories)", "brokers.has(id)"]],
    tests: judged,
  },
  {
    name: "known-epoch-given-again",
    breaks: "A leader whose log knows the epoch gets a higher one.",
    file: rules,
    replace: [
      [
        "change.knownLeaderEpoch >= record.leaderEpoch",
        "change.knownLeaderEpoch > record.leaderEpoch",
      ],
    ],
    tests: judged,
  },
  {
    name: "known-epoch-without-a-bound",
    breaks: "No broker moves epochs to where they end.",
    file: rules,
    replace: [
      ["if (knownLeaderEpoch >= leaderEpochMax) {", "if (knownLeaderEpoch > 2 * leaderEpochMax) {"],
    ],
    tests: judged,
  },
  {
    name: "resignation-to-who-stops",
    breaks: "Who is about to stop leads only for want of another.",
    file: rules,
    replace: [["isr.find((id) => !state.shuttingDown.has(id)) ?? isr[0]", "isr[0]"]],
    tests: judged,
  },
];

const broker: readonly Mutant[] = [
  {
    name: "failed-disk-keeps-the-leadership",
    breaks: "A leader whose disk has failed resigns.",
    file: replica,
    replace: [
      ['log !== undefined && log.state.kind !== "online"', 'log?.state.kind === "offline"'],
    ],
    tests: replicas,
  },
  {
    name: "offline-leader-keeps-the-leadership",
    breaks: "A leader whose log is damaged resigns.",
    file: replica,
    replace: [["    }\n    if (this.#isUnfit) this.#ask();\n", "    }\n"]],
    tests: replicas,
  },
  {
    name: "offline-leader-elected-anew-keeps-the-leadership",
    breaks: "Who is elected with a damaged log resigns.",
    file: replica,
    replace: [["    if (this.#isUnfit) this.#ask();\n    this.#wake", "    this.#wake"]],
    tests: replicas,
  },
  {
    name: "resigned-leader-asks-for-ever",
    breaks: "Once another one leads, nothing is asked for.",
    file: replica,
    replace: [
      [
        "    this.#isAsking = false;\n    this.#context.changes.remove(this);\n",
        "    this.#isAsking = false;\n",
      ],
    ],
    tests: replicas,
  },
  {
    name: "resignation-named-by-the-view-alone",
    breaks: "Who is not registered cannot take over.",
    file: replica,
    replace: [[" && registered(one.brokerId) === one.brokerEpoch", ""]],
    tests: replicas,
  },
  {
    name: "failed-disk-asked-for-late",
    breaks: "A leader whose disk has failed resigns at once.",
    file: replica,
    replace: [['        if (logState.kind === "stopped") this.#context.changes.look(this);\n', ""]],
    tests: replicas,
  },
  {
    name: "own-epoch-not-led-in-again",
    breaks: "A leader goes on in its own epoch.",
    file: replica,
    replace: [
      [
        "log.leaderEpoch === leaderEpoch && this.#claimedEpoch !== leaderEpoch",
        "log.leaderEpoch === leaderEpoch",
      ],
    ],
    tests: replicas,
  },
  {
    name: "own-epoch-led-in-after-a-later-one",
    breaks: "A leader goes on in its own epoch only while nobody has led in a later one.",
    file: replica,
    replace: [
      ["if (this.#latestEpoch(log) > leaderEpoch) return true;", ""],
      [
        "return log.leaderEpoch === leaderEpoch && this",
        "return log.leaderEpoch >= leaderEpoch && this",
      ],
    ],
    tests: replicas,
  },
  {
    name: "cut-epoch-asks-for-no-other",
    breaks: "A log asks for a higher epoch than it was opened with, also after a cut.",
    file: replica,
    replace: [["if (this.#context.epochFloors.floorOf(this) === leaderEpoch) return true;", ""]],
    tests: replicas,
  },
  {
    name: "known-epoch-led-in",
    breaks: "A broker leads in no epoch that its log knows from another leader.",
    file: replica,
    replace: [["this.#shouldLead() && !this.#knowsEpoch(state.log)", "this.#shouldLead()"]],
    tests: replicas,
  },
  {
    name: "unclean-stop-asks-for-no-epoch",
    breaks: "A log that may not lead in the epoch of its election asks for a higher one.",
    file: replica,
    replace: [
      [
        "return this.#isElected() || this.#shouldFollow();",
        "return this.#shouldLead() || this.#shouldFollow();",
      ],
    ],
    tests: replicas,
  },
  {
    name: "failed-disk-told-for-good",
    breaks: "A failure that is over once another broker leads may be tried again.",
    file: replica,
    replace: [
      ["return isOfTheDisk && this.#isElected()", "return !isOfTheDisk && this.#isElected()"],
    ],
    tests: ["services/broker/src/process/boot.test.ts"],
  },
  {
    name: "resignation-unsaid",
    breaks: "The controller is told that the leader resigns.",
    file: changes,
    replace: [["    resigns: asked.resigns ?? false,\n", ""]],
    tests: ["services/broker/src/partitions/in-sync-changes.test.ts"],
  },
];

export const resignationMutants: readonly Mutant[] = [...controller, ...broker];
