/** Mutants of the replicas whose logs are damaged: which are copied anew, and which are kept. */
import type { Mutant } from "../mutant.ts";

const room = "services/broker/src/partitions/";
const replica = `${room}replica.ts`;
const hosted = `${room}hosted-partition.ts`;
const tests = [`${room}hosted-partition.test.ts`];

export const damageMutants: readonly Mutant[] = [
  {
    name: "damaged-in-sync-log-deleted",
    breaks: "A damaged log in the ISR is kept.",
    file: replica,
    replace: [
      [
        "return isr.includes(brokerId) || elr.includes(brokerId);",
        "return elr.includes(brokerId);",
      ],
    ],
    tests,
  },
  {
    name: "damaged-eligible-log-deleted",
    breaks: "A damaged log in the ELR is kept.",
    file: replica,
    replace: [
      [
        "return isr.includes(brokerId) || elr.includes(brokerId);",
        "return isr.includes(brokerId);",
      ],
    ],
    tests,
  },
  {
    name: "damaged-log-deleted-without-a-leader",
    breaks: "A damaged log is kept while no other broker leads.",
    file: replica,
    replace: [["return isRecent && this.#shouldFollow() && !", "return isRecent && !"]],
    tests,
  },
  {
    name: "damaged-log-deleted-by-an-old-view",
    breaks: "A view from before the broker's registration deletes no damaged log.",
    file: replica,
    replace: [["return isRecent && this.#shouldFollow()", "return this.#shouldFollow()"]],
    tests,
  },
  {
    name: "damage-met-later-deletes-the-log",
    breaks: "A log whose leader believes what it reported is not deleted under that registration.",
    file: replica,
    replace: [['"offline" || !this.#isFoundDamaged) return false', '"offline") return false']],
    tests,
  },
  {
    name: "damaged-log-stays-when-it-leaves-the-isr",
    breaks: "A damaged log is copied anew once it counts for nothing, in the same epoch.",
    file: replica,
    replace: [["return this.isToBeCopiedAnew;", "return false;"]],
    tests,
  },
  {
    name: "damaged-log-stays-when-the-registration-is-seen",
    breaks: "A damaged log is copied anew once the view has the broker's registration.",
    file: hosted,
    replace: [["    if (this.replica.isToBeCopiedAnew) this.#work.request();\n", ""]],
    tests,
  },
  {
    name: "discarded-log-not-made-again",
    breaks: "A damaged log that was deleted is made again at once.",
    file: hosted,
    replace: [
      ["      await this.#discard();\n      await this.#open();", "      await this.#discard();"],
    ],
    tests,
  },
];
