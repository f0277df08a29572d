/** Mutants of controlled shutdown: a broker that stops has others lead first. */
import type { Mutant } from "../mutant.ts";

const rules = "services/controller/src/leadership.ts";
const byRules = ["services/controller/src/desired.test.ts"];
const broker = "services/broker/src/";
const waits = [`${broker}hand-over.test.ts`];
const boots = [`${broker}process/boot.test.ts`];

export const handOverMutants: readonly Mutant[] = [
  {
    name: "leader-stays-while-it-stops",
    breaks: "Another replica in sync leads instead of one that is about to stop.",
    file: rules,
    replace: [
      ["const eligible = remaining.length > 0 ? remaining : inSync;", "const eligible = inSync;"],
    ],
    tests: byRules,
  },
  {
    name: "nobody-leads-while-all-stop",
    breaks: "Where all that are in sync stop, one of them leads until it has gone.",
    file: rules,
    replace: [
      [
        "const eligible = remaining.length > 0 ? remaining : inSync;",
        "const eligible = remaining;",
      ],
    ],
    tests: byRules,
  },
  {
    name: "stopping-broker-leaves-the-isr-early",
    breaks: "A broker that is about to stop stays in the ISR until its registration ends.",
    file: rules,
    replace: [["return { isr: inSync, leader };", "return { isr: eligible, leader };"]],
    tests: byRules,
  },
  {
    name: "preferred-leader-out-of-sync",
    breaks: "A preferred leader takes over only once it is in sync.",
    file: rules,
    replace: [
      [
        "balances && preferred !== undefined && eligible.includes(preferred)",
        "balances && preferred !== undefined",
      ],
      [
        "record.replicas.find((id) => eligible.includes(id));",
        "record.replicas.find((id) => isPreferred || eligible.includes(id));",
      ],
    ],
    tests: byRules,
  },
  {
    name: "preferred-leader-at-once",
    breaks: "Leaders move to their preferred replicas at times, and not with every change.",
    file: "services/controller/src/control-loop.ts",
    replace: [
      ["    this.#balances = false;\n", ""],
      ["  #balances = false;", "  #balances = true;"],
    ],
    tests: boots,
  },
  {
    name: "leaders-never-balanced",
    breaks: "Preferred leaders that are back lead again.",
    file: "services/controller/src/control-loop.ts",
    replace: [["      this.#balances = true;\n", ""]],
    tests: boots,
  },
  {
    name: "broker-that-is-back-still-stops",
    breaks: "A broker that has registered anew is not about to stop.",
    file: "services/controller/src/cluster-state.ts",
    replace: [["    this.#shuttingDown.delete(brokerId);\n", ""]],
    tests: boots,
  },
  {
    name: "stop-hands-nothing-over",
    breaks: "A broker that stops serves until others lead.",
    file: `${broker}process/parts.ts`,
    replace: [
      ["  await broker.handOver(() => registration.update({ shuttingDown: true }));\n", ""],
    ],
    tests: boots,
  },
  {
    name: "successor-stops-too",
    breaks: "A stop does not wait for a successor that stops as well.",
    file: `${broker}hand-over.ts`,
    replace: [[" && !broker?.isShuttingDown", ""]],
    tests: waits,
  },
  {
    name: "successor-of-another-registration",
    breaks: "A stop does not wait for a replica that has registered anew: it is not in sync.",
    file: `${broker}hand-over.ts`,
    replace: [["broker?.epoch === isrBrokerEpochs[i]", "broker !== undefined"]],
    tests: waits,
  },
  {
    name: "stop-registers-anew",
    breaks: "A broker that has handed over, and is taken for dead, does not register anew.",
    file: `${broker}process/parts.ts`,
    replace: [["  registration.makeLast();\n", ""]],
    tests: [`${broker}process/parts.test.ts`],
  },
  {
    name: "last-registration-is-not-the-last",
    breaks: "A process that is about to stop does not register anew.",
    file: "packages/metadata/src/registration.ts",
    replace: [["        if (this.#isLast) return;\n", ""]],
    tests: ["packages/metadata/src/registration.test.ts"],
  },
  {
    name: "hand-over-without-an-end",
    breaks: "A stop goes on without a controller.",
    file: `${broker}hand-over.ts`,
    replace: [["clock.timer(timeoutMs, end)", "clock.timer(timeoutMs, () => {})"]],
    tests: waits,
  },
  {
    name: "hand-over-waits-for-a-store-that-is-down",
    breaks: "A stop that cannot be announced goes on at once.",
    file: `${broker}hand-over.ts`,
    replace: [['stopping with them");\n    end();', 'stopping with them");']],
    tests: waits,
  },
];
