/** Mutants of the chaos suite: what it does to a cluster, and what it finds wrong. */
import type { Mutant } from "../mutant.ts";

const suite = "test/chaos/";
const plans = [`${suite}plan.test.ts`];
const links = [`${suite}link-faults.test.ts`];
const tallies = [`${suite}tally.test.ts`];

export const chaosMutants: readonly Mutant[] = [
  {
    name: "chaos-draws-what-the-machine-has-not",
    breaks: "A plan holds the kinds of faults that it is given, and no others.",
    file: `${suite}plan.ts`,
    replace: [["of shuffled(kinds, random)", "of shuffled(faultKinds, random)"]],
    tests: plans,
  },
  {
    name: "chaos-cuts-last-no-time",
    breaks: "What links suffer lasts as long as a pause.",
    file: `${suite}plan.ts`,
    replace: [["isLinkKind(kind) || isRoomKind(kind)", "isRoomKind(kind)"]],
    tests: plans,
  },
  {
    name: "chaos-cuts-a-broker-off-from-brokers-alone",
    breaks: "A broker is cut off from every other process.",
    file: `${suite}link-faults.ts`,
    replace: [["others.map((peer) => [name, peer])", 'of("broker").map((peer) => [name, peer])']],
    tests: links,
  },
  {
    name: "chaos-stalls-one-direction-alone",
    breaks: "Either direction of a link stalls.",
    file: `${suite}link-faults.ts`,
    replace: [["isSilent ? [name, peer] : [peer, name]", "[name, peer]"]],
    tests: links,
  },
  {
    name: "chaos-takes-the-last-replica",
    breaks: "After a fault of a disk the cluster heals before the next fault.",
    file: `${suite}plan.ts`,
    replace: [["random.chance(0.7) || isDiskKind(kind)", "random.chance(0.7)"]],
    tests: plans,
  },
  {
    name: "chaos-flips-nothing",
    breaks: "A bit that is flipped is another one.",
    file: `${suite}disk-faults.ts`,
    replace: [["content.readUInt8(position) ^ (1 << bit)", "content.readUInt8(position)"]],
    tests: [`${suite}disk-faults.test.ts`],
  },
  {
    name: "chaos-misses-what-is-lost",
    breaks: "A value that was acknowledged and never read is lost.",
    file: `${suite}tally.ts`,
    replace: [["(bits & (ackedBit | readBit)) === ackedBit", "bits === ackedBit"]],
    tests: tallies,
  },
  {
    name: "chaos-misses-what-is-twice",
    breaks: "A value that is read again is duplicated.",
    file: `${suite}tally.ts`,
    replace: [["(bits & twiceBit) !== 0", "bits === twiceBit"]],
    tests: tallies,
  },
  {
    name: "chaos-misses-the-order",
    breaks: "A value that is read behind a later one is out of order.",
    file: `${suite}tally.ts`,
    replace: [
      ["number < this.#lastRead) this.#disordered += 1", "number < 0) this.#disordered += 1"],
    ],
    tests: tallies,
  },
  {
    name: "chaos-misses-what-nobody-sent",
    breaks: "A value that nobody sent is told.",
    file: `${suite}tally.ts`,
    replace: [["if ((bits & sentBit) === 0) this.#disordered += 1;\n    else if", "if"]],
    tests: tallies,
  },
];
