/** Mutants of producer ids and of what a broker says about batches that come again. */
import type { Mutant } from "../mutant.ts";

const broker = "services/broker/src";
const controller = "services/controller/src";
const blockTests = [`${controller}/producer-ids.test.ts`];
const idTests = [`${broker}/producer-ids.test.ts`];

export const producerIdMutants: readonly Mutant[] = [
  {
    name: "old-controller-fails-producers",
    breaks: "Clients wait for a controller of a later version.",
    file: `${broker}/producer-ids.ts`,
    replace: [[".catch(explained)", ""]],
    tests: idTests,
  },
  {
    name: "ids-given-without-the-record",
    breaks: "A block is given once the record of the next free id has moved.",
    file: `${controller}/producer-ids.ts`,
    replace: [
      [
        "if ((await write(compares, [put])).succeeded) return",
        "if (await write(compares, [put])) return",
      ],
    ],
    tests: blockTests,
  },
  {
    name: "ids-record-moved-unguarded",
    breaks: "The record moves only from what was read.",
    file: `${controller}/producer-ids.ts`,
    replace: [["[unchanged(keys.producerIds, kv), unchanged(", "[unchanged("]],
    tests: blockTests,
  },
  {
    name: "ids-begin-at-the-backup",
    breaks: "After a restore no id is given that was given after the backup.",
    file: `${controller}/producer-ids.ts`,
    replace: [["record === undefined || record.generation !== generation", "record === undefined"]],
    tests: blockTests,
  },
  {
    name: "ids-above-what-clients-count-to",
    breaks: "No id is above 2^53-1.",
    file: `${controller}/producer-ids.ts`,
    replace: [["      if (next > Number.MAX_SAFE_INTEGER) throw exhausted();\n", ""]],
    tests: blockTests,
  },
  {
    name: "ids-for-a-broker-of-the-past",
    breaks: "Only a registered broker gets ids.",
    file: `${controller}/replicas.ts`,
    replace: [
      [
        "const { brokerId } = callerOf(request, active.state);\n    const { first",
        "const { brokerId } = request;\n    const { first",
      ],
    ],
    tests: blockTests,
  },
  {
    name: "ids-calls-without-bound",
    breaks: "A broker has a bounded number of calls.",
    file: `${controller}/producer-ids.ts`,
    replace: [["new Lanes(limits.callsPerBrokerMax)", "new Lanes(1e9)"]],
    tests: blockTests,
  },
  {
    name: "id-given-twice",
    breaks: "A broker gives an id once.",
    file: `${broker}/producer-ids.ts`,
    replace: [["    block.next += 1;\n", ""]],
    tests: idTests,
  },
  {
    name: "ids-fetched-when-none-is-left",
    breaks: "The next block is fetched ahead of need.",
    file: `${broker}/producer-ids.ts`,
    replace: [["if (this.#left <= this.#refillAt)", "if (this.#left < 0)"]],
    tests: idTests,
  },
  {
    name: "ids-fetched-by-everybody",
    breaks: "Requests that wait share one call of the controller.",
    file: `${broker}/producer-ids.ts`,
    replace: [["this.#fetching ??= ", "this.#fetching = "]],
    tests: idTests,
  },
  {
    name: "ids-of-no-block",
    breaks: "A block that no client can use is refused.",
    file: `${broker}/producer-ids.ts`,
    replace: [["count > 0 && next >= 0 && end <= Number.MAX_SAFE_INTEGER", "count >= 0"]],
    tests: idTests,
  },
  {
    name: "retry-answered-before-its-first-append",
    breaks: "A retry is answered once the records of the first append are committed.",
    file: `${broker}/partitions/leader.ts`,
    replace: [
      [
        "    this.#accept(append, log.append(batch, epoch, stored));\n",
        "    const appended = log.append(batch, epoch, stored);\n    this.#accept(append, appended);\n" +
          "    if (appended.duplicate) return append.settle(undefined);\n",
      ],
    ],
    tests: [`${broker}/replication/duplicates.test.ts`],
  },
  {
    name: "client-told-of-more-than-is-recognised",
    breaks: "A client is told how many batches are recognised.",
    file: `${broker}/produce/session.ts`,
    replace: [["producerBatches: batchesKept,", "producerBatches: 2 * batchesKept,"]],
    tests: [`${broker}/produce/session.test.ts`],
  },
];
