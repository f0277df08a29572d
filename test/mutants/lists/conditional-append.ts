/** Mutants of appends that expect where the log ends: ADR 24. */
import type { Mutant } from "../mutant.ts";

const broker = "services/broker/src/";
const leader = `${broker}partitions/leader.ts`;
const endTests = [`${broker}partitions/expected-end.test.ts`];
const realLogs = [`${broker}partitions/real-logs.test.ts`];
const appenderTests = [`${broker}produce/appender.test.ts`];
const errorTests = [`${broker}errors-in-band.test.ts`];
const socketTests = ["test/integration/conditional-append.test.ts"];
const wire = "packages/record/src/wire/";
const wireTests = [`${wire}wire.test.ts`];
const producer = "packages/client/src/core/producer/";
const clientTests = [`${producer}condition.test.ts`];

const onLeaders: readonly Mutant[] = [
  {
    name: "condition-holds-below-the-end",
    breaks: "An append is made only where it expects the log to end, not anywhere behind that.",
    file: leader,
    replace: [
      ["expectedEndOffset === this.log.logEndOffset", "expectedEndOffset <= this.log.logEndOffset"],
    ],
    tests: endTests,
  },
  {
    name: "condition-on-the-high-watermark",
    breaks: "What counts is the end of the log, also while its last records are not committed.",
    file: leader,
    replace: [
      [
        "expectedEndOffset === this.log.logEndOffset",
        "expectedEndOffset === this.log.highWatermark",
      ],
    ],
    tests: endTests,
  },
  {
    name: "condition-before-duplicates",
    breaks: "A batch that comes again is recognised, wherever the log ends now.",
    file: leader,
    replace: [["this.#append(onlyIfKnown(batch, refusal), append);", "throw refusal;"]],
    tests: endTests,
  },
  {
    name: "condition-lets-the-log-take-the-batch",
    breaks: "The log takes nothing of an append that expects another end.",
    file: `${broker}partitions/expected-end.ts`,
    replace: [["    throw refusal;\n", "    return refusal.code;\n"]],
    tests: realLogs,
  },
  {
    name: "mismatch-told-before-it-is-committed",
    breaks: "A mismatch is told once the records before that end are committed.",
    file: leader,
    replace: [
      ["thrown !== refusal || this.log.highWatermark >= logEndOffset", "thrown !== undefined"],
    ],
    tests: endTests,
  },
  {
    name: "mismatch-outlives-its-leader",
    breaks: "A mismatch that waits fails with the leadership.",
    file: leader,
    replace: [["    this.#failRefused();\n    if (this.#acknowl", "    if (this.#acknowl"]],
    tests: endTests,
  },
  {
    name: "mismatch-waits-for-a-stopped-log",
    breaks: "A mismatch that waits fails when the log commits nothing any more.",
    file: leader,
    replace: [['    if (log.state.kind !== "online") this.#failRefused();\n', ""]],
    tests: endTests,
  },
  {
    name: "mismatch-untold-to-those-behind",
    breaks: "What is behind a mismatch fails, also before that is told.",
    file: leader,
    replace: [["      append.refused();\n", ""]],
    tests: [...endTests, ...appenderTests],
  },
  {
    name: "mismatch-does-not-end-its-order",
    breaks: "A mismatch that waits stops the later requests of its order epoch at once.",
    file: `${broker}produce/pending-append.ts`,
    replace: [["  refused(): void {\n    this.order?.failed();\n", "  refused(): void {\n"]],
    tests: appenderTests,
  },
  {
    name: "mismatch-tells-what-was-expected",
    breaks: "A mismatch says where the log ends.",
    file: `${broker}partitions/refusals.ts`,
    replace: [["actualEndOffset: BigInt(actual)", "actualEndOffset: BigInt(expected)"]],
    tests: endTests,
  },
];

const onTheWay: readonly Mutant[] = [
  {
    name: "condition-with-acks-leader",
    breaks: "An expected end needs acks all.",
    file: `${broker}produce/conditions.ts`,
    replace: [["if (acks !== Acks.ALL) {", "if (acks === Acks.NONE) {"]],
    tests: appenderTests,
  },
  {
    name: "condition-ignored-with-an-order-epoch",
    breaks: "A request with an order epoch expects what it says, too.",
    file: `${broker}produce/session.ts`,
    replace: [
      ["{ ...request, order: this", "{ ...request, expectedEndOffset: undefined, order: this"],
    ],
    tests: socketTests,
  },
  {
    name: "condition-ignored-by-produce-once",
    breaks: "ProduceOnce expects what it says.",
    file: `${broker}produce-once.ts`,
    replace: [["undefined : Number(request.expectedEndOffset)", "undefined : undefined"]],
    tests: appenderTests,
  },
  {
    name: "conditional-append-is-no-feature",
    breaks: "A stream that requires conditional appends is served.",
    file: `${broker}features.ts`,
    replace: [['  "conditional-append",\n', ""]],
    tests: socketTests,
  },
  {
    name: "expected-end-not-decoded",
    breaks: "A server reads where a request expects the log to end.",
    file: `${wire}produce.ts`,
    replace: [["message.expectedEndOffset = reader.cappedUint64()", "reader.cappedUint64()"]],
    tests: wireTests,
  },
  {
    name: "expected-end-must-be-an-offset",
    breaks: "An end beyond all offsets is refused as a mismatch, not as damage.",
    file: `${wire}produce.ts`,
    replace: [["expectedEndOffset = reader.cappedUint64()", "expectedEndOffset = reader.uint64()"]],
    tests: wireTests,
  },
  {
    name: "actual-end-not-encoded",
    breaks: "A PartitionError says where the log ends.",
    file: `${wire}common.ts`,
    replace: [["    writer.optional(8, error.actualEndOffset);\n", ""]],
    tests: wireTests,
  },
  {
    name: "actual-end-not-on-streams",
    breaks: "Errors on a stream say where the log ends.",
    file: `${broker}produce/appender.ts`,
    replace: [["undefined : Number(error.actualEndOffset)", "undefined : undefined"]],
    tests: errorTests,
  },
  {
    name: "actual-end-not-in-the-status",
    breaks: "The status of a call says where the log ends.",
    file: "packages/rpc/src/status.ts",
    replace: [[", ...actualFacts(error) }", " }"]],
    tests: ["packages/rpc/src/status.test.ts"],
  },
];

const inTheClient: readonly Mutant[] = [
  {
    name: "client-does-not-require-conditions",
    breaks: "A stream for sends with a condition is refused by a server that knows none.",
    file: `${producer}senders.ts`,
    replace: [["feature === undefined ? [] : [feature]", "[]"]],
    tests: clientTests,
  },
  {
    name: "client-sends-no-condition",
    breaks: "A request says where its sender expects the log to end.",
    file: `${producer}sender.ts`,
    replace: [["expectedEndOffset: batch.expectedEndOffset", "expectedEndOffset: undefined"]],
    tests: clientTests,
  },
  {
    name: "client-forgets-a-condition-that-waits",
    breaks: "A record that waits for room keeps its condition.",
    file: `${producer}producer.ts`,
    replace: [["headers, timestampMs, ...conditions };", "headers, timestampMs };"]],
    tests: clientTests,
  },
  {
    name: "client-adds-a-condition-to-a-batch",
    breaks: "A send with a condition has a batch of its own, behind the open one.",
    file: `${producer}producer.ts`,
    replace: [["if (isAlone || batch.builder", "if (batch.builder"]],
    tests: clientTests,
  },
  {
    name: "client-adds-to-a-batch-with-a-condition",
    breaks: "No record joins a send with a condition.",
    file: `${producer}producer.ts`,
    replace: [["if (isAlone || isFull)", "if (isFull)"]],
    tests: clientTests,
  },
  {
    name: "client-sends-again-behind-a-mismatch",
    breaks: "A send with a condition behind one that failed is not appended behind a stranger's.",
    file: `${producer}condition.ts`,
    replace: [["undefined && one.id > failed.id", "undefined && one.id < failed.id"]],
    tests: clientTests,
  },
  {
    name: "client-forgets-those-in-flight-behind-a-mismatch",
    breaks: "A send with a condition that is in flight behind one that failed is not sent again.",
    file: `${producer}condition.ts`,
    replace: [["[...behind, ...queue.inFlight.filter(isBehind)]", "[...behind]"]],
    tests: clientTests,
  },
  {
    name: "client-believes-a-mismatch-without-idempotence",
    breaks: "Without a producer id the own record may be what moved the end.",
    file: `${producer}condition.ts`,
    replace: [["if (stamp === undefined) return", "if (stamp === null) return"]],
    tests: clientTests,
  },
  {
    name: "client-believes-an-end-to-come",
    breaks: "An end below the expected one proves nothing of an attempt that may be on its way.",
    file: `${producer}condition.ts`,
    replace: [[" && actualEndOffset > expectedEndOffset;", ";"]],
    tests: clientTests,
  },
  {
    name: "client-doubts-every-mismatch",
    breaks: "After a lost answer a mismatch says that nothing was written.",
    file: `${producer}dispatcher.ts`,
    replace: [["batch.maybeWritten && !provesUnwritten(batch, outcome)", "batch.maybeWritten"]],
    tests: clientTests,
  },
  {
    name: "client-begins-anew-after-every-mismatch",
    breaks: "A sender that loses a race goes on in its epoch.",
    file: `${producer}dispatcher.ts`,
    replace: [
      [
        "if (stamp !== undefined && !(isMismatch && queue",
        "if (stamp !== undefined && !(stamp === null && queue",
      ],
    ],
    tests: clientTests,
  },
  {
    name: "client-is-refused-after-every-mismatch",
    breaks: "What comes after a mismatch has a new order epoch, and is not refused first.",
    file: `${producer}dispatcher.ts`,
    replace: [["      if (isMismatch) queue.needsOrderEpoch = true;\n", ""]],
    tests: clientTests,
  },
  {
    name: "client-takes-any-sequences-back",
    breaks: "Only the last sequences are taken back.",
    file: `${producer}sequences.ts`,
    replace: [["      next.baseSequence === baseSequence;", "      next.baseSequence >= 0;"]],
    tests: [`${producer}sequences.test.ts`],
  },
  {
    name: "client-waits-for-an-old-server",
    breaks: "A server that knows no conditions fails the sends that have one at once.",
    file: `${producer}dispatcher.ts`,
    replace: [["isTooOld ? [...sender.waiting] : []", "[]"]],
    tests: clientTests,
  },
  {
    name: "client-mismatch-without-its-type",
    breaks: "A mismatch is an EndOffsetMismatchError.",
    file: "packages/client/src/core/failures.ts",
    replace: [
      [
        "END_OFFSET_MISMATCH && actualEndOffset !== undefined",
        "END_OFFSET_MISMATCH && wire.code < 0",
      ],
    ],
    tests: clientTests,
  },
  {
    name: "client-conditions-with-acks-leader",
    breaks: "A condition is refused by the client, too, where acks are not all.",
    file: `${producer}condition.ts`,
    replace: [['if (acks !== "all") {', 'if (acks === "none") {']],
    tests: clientTests,
  },
  {
    name: "client-writes-with-a-condition",
    breaks: "A record of `write`, which says nothing of its outcome, has no condition.",
    file: `${producer}condition.ts`,
    replace: [["  if (!isSend) throw", "  if (acks === undefined) throw"]],
    tests: clientTests,
  },
];

export const conditionalAppendMutants: readonly Mutant[] = [
  ...onLeaders,
  ...onTheWay,
  ...inTheClient,
];
