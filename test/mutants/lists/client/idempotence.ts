import type { Mutant } from "../../mutant.ts";

const producer = "packages/client/src/core/producer";
const tests = [`${producer}/idempotence.test.ts`];
const sequences = [`${producer}/sequences.test.ts`];

const refusedFirst = [`${producer}/refused-first.test.ts`];

export const idempotenceMutants: readonly Mutant[] = [
  {
    name: "client-refusal-covers-those-before",
    breaks: "A refusal says nothing of batches that were sent before.",
    file: `${producer}/partition-queue.ts`,
    replace: [
      ["one.refused ||= one.sentNumber >= sentNumber;", "one.refused ||= sentNumber >= 0;"],
    ],
    tests: refusedFirst,
  },
  {
    name: "client-parts-in-the-order-of-answers",
    breaks: "The parts of a split batch are sent again in the order of their sequences.",
    file: `${producer}/partition-queue.ts`,
    replace: [["(a, b) => a.sentNumber - b.sentNumber", "(a, b) => a.id - b.id"]],
    tests: refusedFirst,
  },
  {
    name: "client-not-idempotent",
    breaks: "Producers with acks all are idempotent unless told otherwise.",
    file: `${producer}/options.ts`,
    replace: [['idempotence ?? acks === "all"', "idempotence ?? false"]],
    tests,
  },
  {
    name: "client-idempotent-with-acks-leader",
    breaks: "Idempotence is refused with acks that cannot keep it.",
    file: `${producer}/options.ts`,
    replace: [['idempotence !== true || acks === "all"', 'idempotence !== true || acks !== "x"']],
    tests,
  },
  {
    name: "client-sequences-count-batches",
    breaks: "Sequences count records.",
    file: `${producer}/dispatcher.ts`,
    replace: [["queue.sequences.take(batch.recordCount)", "queue.sequences.take(1)"]],
    tests,
  },
  {
    name: "client-retry-has-new-sequences",
    breaks: "A batch that is sent again has the sequences of its first attempt.",
    file: `${producer}/partition-queue.ts`,
    replace: [
      [
        "    this.orderEpoch += 1;\n",
        "    this.orderEpoch += 1;\n    for (const batch of this.retries) batch.unstamp();\n",
      ],
    ],
    tests,
  },
  {
    name: "client-more-in-flight-than-recognised",
    breaks: "No more batches are in flight than the server recognises.",
    file: `${producer}/dispatcher.ts`,
    replace: [["    if (inFlight.length >= sender.producerBatches) return false;\n", ""]],
    tests,
  },
  {
    name: "client-window-of-an-old-server-guessed",
    breaks: "A server that does not say what it recognises has one batch in flight.",
    file: `${producer}/sender.ts`,
    replace: [["Math.max(1, opened.producerBatches)", "opened.producerBatches || 5"]],
    tests,
  },
  {
    name: "client-lost-answer-taken-for-a-refusal",
    breaks: "A batch that may have been written never gets other sequences.",
    file: `${producer}/dispatcher.ts`,
    replace: [["    if (!batch.refused) batch.maybeWritten = true;\n", ""]],
    tests,
  },
  {
    name: "client-uncertain-error-taken-for-a-refusal",
    breaks: "A batch whose error has side effects may have been written.",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "    if (error.spec.sideEffects) batch.maybeWritten = true;\n    else queue",
        "    if (!error.spec.sideEffects) queue",
      ],
    ],
    tests,
  },
  {
    name: "client-uncertain-batch-renumbered",
    breaks: "After OUT_OF_ORDER_SEQUENCE a batch that may have been written fails.",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "breaksSequences(queue, batch, error) && !batch.maybeWritten;",
        "breaksSequences(queue, batch, error);",
      ],
    ],
    tests,
  },
  {
    name: "client-uncertain-failure-told-as-certain",
    breaks: "The error of a record that may have been written says so.",
    file: `${producer}/dispatcher.ts`,
    replace: [["isUncertain ? uncertain(outcome) : outcome", "outcome"]],
    tests,
  },
  {
    name: "client-refusal-outlives-its-stream",
    breaks: "What was refused says nothing of batches that are sent later.",
    file: `${producer}/partition-queue.ts`,
    replace: [["    batch.refused = false;\n", ""]],
    tests: [`${producer}/partition-queue.test.ts`],
  },
  {
    name: "client-renumbers-before-the-answers",
    breaks: "Batches are renumbered only while none of the partition is in flight.",
    file: `${producer}/dispatcher.ts`,
    replace: [["      if (inFlight.length > 0) return false;\n", ""]],
    tests,
  },
  {
    name: "client-sends-behind-a-hole",
    breaks: "Behind a batch that failed for good nothing is sent that the broker would refuse.",
    file: `${producer}/dispatcher.ts`,
    replace: [["        queue.sequences.break();\n      }\n", "      }\n"]],
    tests,
  },
  {
    name: "client-renumbered-batch-keeps-its-body",
    breaks: "A batch with other sequences has another body.",
    file: `${producer}/batch.ts`,
    replace: [
      [
        "this.packed = parseBody(this.body);\n    this.body = undefined;",
        "this.packed = parseBody(this.body);",
      ],
    ],
    tests,
  },
  {
    name: "client-parts-have-new-sequences",
    breaks: "The parts of a batch have the sequences of its records.",
    file: `${producer}/split.ts`,
    replace: [["    part.stamp = batch.stamp && advance(batch.stamp, first);\n", ""]],
    tests,
  },
  {
    name: "client-epoch-overflows",
    breaks: "After epoch 32,767 another producer id is taken.",
    file: `${producer}/sequences.ts`,
    replace: [["producerEpoch === epochMax", "producerEpoch > epochMax"]],
    tests: sequences,
  },
  {
    name: "client-sequences-overflow",
    breaks: "Sequences wrap from 2^31-1 to 0.",
    file: `${producer}/sequences.ts`,
    replace: [["(stamp.baseSequence + records) % sequenceCount", "stamp.baseSequence + records"]],
    tests: sequences,
  },
  {
    name: "client-fenced-id-used-again",
    breaks: "A producer id whose epoch is somebody else's is given up.",
    file: `${producer}/sequences.ts`,
    replace: [["    this.#isFenced = true;\n", ""]],
    tests: [...sequences, ...tests],
  },
  {
    name: "client-used-id-taken-again",
    breaks: "A partition begins anew under an id that it has not used.",
    file: `${producer}/producer-ids.ts`,
    replace: [["    if (this.#current === usedId) this.#current = undefined;\n", ""]],
    tests,
  },
  {
    name: "client-waits-for-an-id-for-good",
    breaks: "A server without producer ids fails the records.",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "        for (const batch of queue.batches.splice(0)) this.#finish(queue, batch, error);\n      }\n      this.schedule",
        "      }\n      this.schedule",
      ],
    ],
    tests,
  },
  {
    name: "client-deadline-hides-why-there-is-no-id",
    breaks: "The deadline of records that wait for a producer id says why there is none.",
    file: `${producer}/dispatcher.ts`,
    replace: [["if (first !== undefined) first.lastError = error;", "if (first === null) return;"]],
    tests,
  },
];
