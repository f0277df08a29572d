/** Mutants of what makes Topics true. */
import type { Mutant } from "../mutant.ts";

const at = "operator/src/reconcile/topic/";
const plan = [`${at}plan.test.ts`];
const reconciler = [`${at}reconciler.test.ts`];

/** Every write, and more seeds. */
const whole = { MILLRACE_OPERATOR_KILL_EVERY: "1", MILLRACE_OPERATOR_SEEDS: "40" };

const mutants: readonly Mutant[] = [
  {
    name: "topic-owner-by-the-cache",
    breaks: "Whose a topic is, is decided by the object as the server has it.",
    file: `${at}reconciler.ts`,
    replace: [["isKnown ? cached : await this.#fresh(cached, api)", "isKnown ? cached : cached"]],
    tests: reconciler,
  },
  {
    name: "topic-deleted-by-the-cache",
    breaks: "What becomes of a topic is decided by the object as the server has it.",
    file: `${at}reconciler.ts`,
    replace: [
      [
        "const topic = await this.#fresh(cached, api);\n    if (topic === undefined || !has",
        "const topic = cached;\n    if (topic === undefined || !has",
      ],
    ],
    tests: reconciler,
  },
  {
    name: "topic-creation-forgotten",
    breaks: "A topic that was about to be created is known as its own after a crash.",
    file: `${at}reconciler.ts`,
    replace: [['synced?.reason === "Creating" && plan', "synced === undefined && plan"]],
    tests: reconciler,
  },
  {
    name: "topic-creation-forgotten-in-trouble",
    breaks: "A failed call does not make it forget that it was about to create a topic.",
    file: `${at}status.ts`,
    replace: [
      ['isBegun && found === undefined ? "Creating" : synced', "isBegun ? synced : synced"],
    ],
    tests: reconciler,
  },
  {
    name: "topic-taken-whatever-it-is",
    breaks: "A topic that is there and differs is not changed unless adopt is Always.",
    file: `${at}reconciler.ts`,
    replace: [
      ['return plan.drift.length > 0 ? "ExistsAndDiffers" : undefined;', "return undefined;"],
    ],
    tests: reconciler,
  },
  {
    name: "topic-changed-before-claimed",
    breaks: "Whose a topic is stands written before it is changed.",
    file: `${at}reconciler.ts`,
    replace: [["if (topic.status?.topicId !== found.topicId) {", "if (isClean(plan)) {"]],
    tests: reconciler,
  },
  {
    name: "topic-taken-against-never",
    breaks: "A topic that was there before is left alone where adopt is Never.",
    file: `${at}reconciler.ts`,
    replace: [['if (adopt === "Never") return "Exists";', ""]],
    tests: reconciler,
  },
  {
    name: "topic-of-two-objects",
    breaks: "The younger of two objects with one name does nothing.",
    file: `${at}reconciler.ts`,
    replace: [["&& isBefore(other, topic)", "&& isBefore(other, other)"]],
    tests: reconciler,
  },
  {
    name: "topic-deleted-with-its-records",
    breaks: "DeleteIfEmpty keeps a topic that has records.",
    file: `${at}reconciler.ts`,
    replace: [
      [
        'topic.spec.deletionPolicy === "Delete" || (await topics.isEmpty(name))',
        'topic.spec.deletionPolicy !== "Retain"',
      ],
    ],
    tests: reconciler,
  },
  {
    name: "topic-kept-against-retain",
    breaks: "Retain keeps the topic.",
    file: `${at}reconciler.ts`,
    replace: [['topic.spec.deletionPolicy !== "Retain"', 'topic.metadata.name !== ""']],
    tests: reconciler,
  },
  {
    name: "topic-refusal-goes-round",
    breaks: "A topic that the cluster refuses is refused without a write each time.",
    file: `${at}reconciler.ts`,
    replace: [["    await topics.create(wanted, { validateOnly: true });\n", ""]],
    tests: reconciler,
  },
  {
    name: "topic-given-up-for-want-of-brokers",
    breaks: "A topic that wants more brokers than there are waits for them.",
    file: `${at}reconciler.ts`,
    replace: [
      [
        "if (error.code === ErrorCode.INVALID_REPLICATION_FACTOR) {",
        "if (error.code === ErrorCode.DATA_DIRECTORY_LOCKED) {",
      ],
    ],
    tests: reconciler,
  },
  {
    name: "topic-never-looked-at-again",
    breaks: "What is changed by other means is put back.",
    file: `${at}reconciler.ts`,
    replace: [["isMoving ? topicDefaults.movingMs : topicDefaults.resyncMs", "undefined"]],
    tests: reconciler,
  },
  {
    name: "topic-foreign-configs-stay",
    breaks: "A config that the spec does not set goes back to its default.",
    file: `${at}plan.ts`,
    replace: [["filter((key) => !(key in wanted))", "filter((key) => key in wanted)"]],
    tests: plan,
  },
  {
    name: "topic-loses-its-leader",
    breaks: "A leader is not taken away from a partition.",
    file: `${at}plan.ts`,
    replace: [["kept.filter((id) => id !== one.leader)", "kept.filter((id) => id !== -1)"]],
    tests: plan,
  },
  {
    name: "topic-keeps-those-behind",
    breaks: "Replicas that are behind are the first to go.",
    file: `${at}plan.ts`,
    replace: [["behind.at(-1) ?? spare.at(-1)", "spare.at(-1) ?? behind.at(-1)"]],
    tests: plan,
  },
  {
    name: "topic-racks-do-not-count",
    breaks: "New replicas go to racks that have none first.",
    file: `${at}plan.ts`,
    replace: [["Number(racks.has(a.rack)) - Number(racks.has(b.rack)) ||", ""]],
    tests: plan,
  },
  {
    name: "topic-moves-twice",
    breaks: "Partitions that are on their way are left alone.",
    file: `${at}plan.ts`,
    replace: [["if (isMoving(one) || ", "if ("]],
    tests: plan,
  },
  {
    name: "client-deletes-by-name-alone",
    breaks: "A topic that was made again is not deleted for the one of before.",
    file: "packages/client/src/core/admin.ts",
    replace: [
      [
        "create(DeleteTopicRequestSchema, topic)",
        "create(DeleteTopicRequestSchema, { name: topic.name })",
      ],
    ],
    tests: ["test/integration/operator-topics.test.ts"],
  },
];

export const operatorTopicMutants: readonly Mutant[] = mutants.map((one) => ({
  ...one,
  env: whole,
}));
