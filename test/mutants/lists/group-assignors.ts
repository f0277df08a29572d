/** Mutants of the assignors of consumer groups, and of subscription by pattern. */
import type { Mutant } from "../mutant.ts";

const assignors = "services/group-coordinator/src/assignors/";
const uniform = `${assignors}uniform/`;
const subscription = "services/group-coordinator/src/subscription/";

const everyAssignor = `${assignors}assignors.test.ts`;
const uniformTest = `${uniform}uniform.test.ts`;
const rangeTest = `${assignors}range.test.ts`;
const sizeTest = `${assignors}size.test.ts`;
const patternTest = `${subscription}pattern.test.ts`;

export const groupAssignorMutants: readonly Mutant[] = [
  {
    name: "group-partition-of-two-members-goes-to-the-last",
    breaks: "Of two members with one partition the first keeps it.",
    file: `${assignors}board.ts`,
    replace: [["if (owners.of(g) === nobody) owners.set(g, m);", "owners.set(g, m);"]],
    tests: [uniformTest],
  },
  {
    name: "group-topic-that-a-member-left-stays",
    breaks: "What a member no longer subscribes to is taken from it.",
    file: `${assignors}board.ts`,
    replace: [
      [
        "if (topic === undefined || !subscription.topicIds.has(topicId)) continue;",
        "if (topic === undefined) continue;",
      ],
    ],
    tests: [everyAssignor],
  },
  {
    name: "group-partition-that-is-gone-is-one-of-the-next-topic",
    breaks: "Partitions that no longer exist are passed over.",
    file: `${assignors}board.ts`,
    replace: [["if (partition < 0 || g >= topic.end) continue;", "if (partition < 0) continue;"]],
    tests: [everyAssignor, uniformTest],
  },
  {
    name: "group-order-of-the-request-decides",
    breaks: "The order of topics in a request does not matter.",
    file: `${assignors}board.ts`,
    replace: [["return [...wanted].sort(compare).map(", "return [...wanted].map("]],
    tests: [everyAssignor],
  },
  {
    name: "group-order-of-members-decides",
    breaks: "The order of members in a request does not matter.",
    file: `${assignors}board.ts`,
    replace: [["return compare(idA, idB);", "return 0;"]],
    tests: [everyAssignor],
  },
  {
    name: "group-instance-ids-do-not-count",
    breaks: "Static members are in the order of their instance ids, before others.",
    file: `${assignors}board.ts`,
    replace: [["return a === undefined ? 1 : -1;", "return compare(idA, idB);"]],
    tests: [rangeTest],
  },
  {
    name: "group-members-of-other-topics-subscribe-alike",
    breaks: "A partition goes to a subscriber of its topic.",
    file: `${uniform}uniform.ts`,
    replace: [["topicCount === 0 || topicCount === topics.length", "topicCount <= topics.length"]],
    tests: [everyAssignor],
  },
  {
    name: "group-member-without-topics-has-a-share",
    breaks: "Members that subscribe to nothing do not count in the quota.",
    file: `${uniform}share.ts`,
    replace: [["(members[m]?.topicCount ?? 0) > 0", "(members[m]?.topicCount ?? 0) >= 0"]],
    tests: [everyAssignor],
  },
  {
    name: "group-nobody-keeps-one-above-the-quota",
    breaks: "Members that have more than the quota keep one more where there is a rest.",
    file: `${uniform}overfull.ts`,
    replace: [["losers: Math.max(0, contenders - seats)", "losers: contenders"]],
    tests: [uniformTest],
  },
  {
    name: "group-near-partitions-are-given-up-first",
    breaks: "A member that has too much keeps those near it.",
    file: `${uniform}overfull.ts`,
    replace: [
      [
        "forced: enoughNear ? far : [], marginal: enoughNear ? near : far",
        "forced: [], marginal: [...near, ...far].sort((a, b) => a - b)",
      ],
      ["near.length + (enoughNear ? 0 : far.length) - keeps", "near.length + far.length - keeps"],
    ],
    tests: [uniformTest],
  },
  {
    name: "group-strong-members-do-not-contend",
    breaks: "Seats above the quota go to members that fill them with a near partition.",
    file: `${uniform}overfull.ts`,
    replace: [["near.length > quota).length;", "near.length > quota + 1).length;"]],
    tests: [uniformTest],
  },
  {
    name: "group-losers-are-the-last-whatever-is-near",
    breaks: "Who gets no seat above the quota is decided by what somebody near can take.",
    file: `${uniform}plan.ts`,
    replace: [["flow.flow(loses ?? 0) > 0", "flow.flow(loses ?? 0) > 1"]],
    tests: [uniformTest],
  },
  {
    name: "group-plan-has-no-room-above-the-quota",
    breaks: "Seats above the quota go to racks that have replicas.",
    file: `${uniform}plan.ts`,
    replace: [
      [
        "return this.flow.addEdge(node, extra, roomy.of(rack));",
        "return this.flow.addEdge(node, extra, 0);",
      ],
    ],
    tests: [uniformTest],
  },
  {
    name: "group-gifts-are-of-any-class",
    breaks: "A member gives up of its far partitions those that somebody near can take.",
    file: `${uniform}alike.ts`,
    replace: [["left -= count;", "left -= 0 * count;"]],
    tests: [uniformTest],
  },
  {
    name: "group-flow-has-no-way-back",
    breaks: "A flow is largest when no way with room is left, also against earlier ways.",
    file: `${uniform}max-flow.ts`,
    replace: [
      [
        "this.#room[reverse(edge)] = (this.#room[reverse(edge)] ?? 0) + least;",
        "this.#room[reverse(edge)] = this.#room[reverse(edge)] ?? 0;",
      ],
    ],
    tests: [`${uniform}max-flow.test.ts`],
  },
  {
    name: "group-topics-are-not-spread",
    breaks: "A partition goes to the member with the fewest of its topic.",
    file: `${uniform}seats.ts`,
    replace: [
      ["if (this.#hasRoom(m) && ofTopic.of(m) === 0) return m;", "if (this.#hasRoom(m)) return m;"],
    ],
    tests: [uniformTest],
  },
  {
    name: "group-newcomer-gets-one-topic",
    breaks: "A member that joins gets something of every topic.",
    file: `${uniform}releases.ts`,
    replace: [
      [
        "heap.push(t, even - left * this.#takerCount, this.#free.of(t));",
        "heap.push(t, even - left * this.#takerCount);",
      ],
    ],
    tests: [uniformTest],
  },
  {
    name: "group-largest-topic-is-not-given-up-first",
    breaks: "What is above an even share of a topic is given up first.",
    file: `${uniform}releases.ts`,
    replace: [
      [
        "heap.push(t, even - left * this.#takerCount,",
        "heap.push(t, even + left * this.#takerCount,",
      ],
    ],
    tests: [uniformTest],
  },
  {
    name: "group-gap-of-two-stays",
    breaks: "No partition could move to a subscriber with two fewer.",
    file: `${uniform}unlike.ts`,
    replace: [["if (most - fewest < 2) return 0;", "if (most - fewest < 3) return 0;"]],
    tests: [uniformTest],
  },
  {
    name: "group-one-round-of-levelling-is-enough",
    breaks: "Topics are levelled until none changes.",
    file: `${uniform}unlike.ts`,
    replace: [["moves += yield* level(work, t, which);", "yield* level(work, t, which);"]],
    tests: [uniformTest],
  },
  {
    name: "group-own-partitions-move-first",
    breaks: "A member with too much gives what it was just given.",
    file: `${uniform}unlike.ts`,
    replace: [["[this.#moved, this.#own]", "[this.#own, this.#moved]"]],
    tests: [uniformTest],
  },
  {
    name: "group-wide-topics-are-filled-first",
    breaks: "Topics with few subscribers are assigned before those that others can make up for.",
    file: `${uniform}unlike.ts`,
    replace: [["width(a) - width(b) ||", "width(b) - width(a) ||"]],
    tests: [uniformTest],
  },
  {
    name: "group-far-member-is-as-good",
    breaks: "Of subscribers with the same load a near one gets a partition.",
    file: `${uniform}unlike.ts`,
    replace: [["far(a) - far(b) ||", ""]],
    tests: [uniformTest],
  },
  {
    name: "group-ranges-are-cut-alike-by-count-alone",
    breaks: "Topics are divided alike only if they have the same subscribers.",
    file: `${assignors}range.ts`,
    replace: [["sameMembers(group.subscribers, members)", "members.length > 0"]],
    tests: [everyAssignor, rangeTest],
  },
  {
    name: "group-smallest-overlap-comes-first",
    breaks: "A range goes to the member that has most of it.",
    file: `${assignors}range.ts`,
    replace: [["sort((a, b) => b - a)", "sort((a, b) => a - b)"]],
    tests: [rangeTest],
  },
  {
    name: "group-last-ranges-are-the-larger-ones",
    breaks: "The first ranges of a topic are larger by one.",
    file: `${assignors}range.ts`,
    replace: [
      [
        "if (inLarger < this.#larger) return inLarger;",
        "if (inLarger <= this.#larger) return inLarger;",
      ],
    ],
    tests: [rangeTest],
  },
  {
    name: "group-each-topic-is-divided-by-itself",
    breaks: "Topics with the same subscribers and counts are divided alike.",
    file: `${assignors}range.ts`,
    replace: [
      [
        "if (known !== undefined) {\n      known.firsts",
        "if (known !== undefined && first < 0) {\n      known.firsts",
      ],
    ],
    tests: [rangeTest],
  },
  {
    name: "group-computation-takes-one-step",
    breaks: "A large assignment is computed in steps.",
    file: "services/group-coordinator/src/steps.ts",
    replace: [["if (this.#left > 0) return false;", "if (this.#left > -1e9) return false;"]],
    tests: [sizeTest],
  },
  {
    name: "group-taken-seat-stays-open",
    breaks: "A member that was given a partition waits for its turn like the others.",
    file: `${uniform}seats.ts`,
    replace: [["    else this.#met.pop();\n    if", "    else this.#met.first;\n    if"]],
    tests: [uniformTest, sizeTest],
  },
  {
    name: "group-pattern-matches-a-part-of-a-name",
    breaks: "A pattern matches whole names.",
    file: `${subscription}pattern.ts`,
    replace: [
      [
        "return compiled(this.text).matches(name);",
        "return compiled(this.text).matcher(name).find();",
      ],
    ],
    tests: [patternTest],
  },
  {
    name: "group-pattern-is-as-long-as-it-likes",
    breaks: "A pattern has at most 1,000 characters.",
    file: `${subscription}pattern.ts`,
    replace: [
      ["if (text.length > patternCharactersMax)", "if (text.length > 2 * patternCharactersMax)"],
    ],
    tests: [patternTest],
  },
  {
    name: "group-pattern-is-weighed-after-it-is-compiled",
    breaks: "What weighs too much is refused without compiling it.",
    file: `${subscription}pattern.ts`,
    replace: [
      [
        "if (weight > patternWeightMax)",
        "if (compiled(text).groupCount() >= 0 && weight > patternWeightMax)",
      ],
    ],
    tests: [patternTest],
  },
  {
    name: "group-pattern-compiles-to-anything",
    breaks: "What a pattern is compiled to is bounded.",
    file: `${subscription}pattern.ts`,
    replace: [["if (size <= patternInstructionsMax) return regex;", "if (size > 0) return regex;"]],
    tests: [patternTest],
  },
  {
    name: "group-counts-of-groups-do-not-multiply",
    breaks: "A count after a group multiplies what is in it.",
    file: `${subscription}weight.ts`,
    replace: [["outer.last = level.weight;", "outer.last = 1;"]],
    tests: [patternTest],
  },
  {
    name: "group-flags-hide-what-is-repeated",
    breaks: "A count after flags is one of the piece before them.",
    file: `${subscription}weight.ts`,
    replace: [['if (groups["nothing"] !== undefined) continue;', ""]],
    tests: [patternTest],
  },
];
