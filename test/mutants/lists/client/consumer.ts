import type { Mutant } from "../../mutant.ts";

const consumer = "packages/client/src/core/consumer";
const consumerTest = [`${consumer}/consumer.test.ts`];

export const consumerMutants: readonly Mutant[] = [
  {
    name: "client-consumed-when-opened",
    breaks: "the rest of a batch is lost when an iteration is left inside it",
    file: `${consumer}/consumer.ts`,
    replace: [
      [
        "    if (cursor.openBatch !== undefined) return true;",
        "    if (cursor.openBatch !== undefined) cursor.takeRest();",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-pause-after-batch",
    breaks: "a pause takes effect after the batch only",
    file: `${consumer}/cursor.ts`,
    replace: [
      [
        "    if (batch === undefined || this.isStopped) return undefined;",
        "    if (batch === undefined) return undefined;",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-abort-after-batch",
    breaks: "an abort takes effect after the batch only",
    file: `${consumer}/consumer.ts`,
    replace: [["while (options.signal?.aborted !== true) {", "for (;;) {"]],
    tests: consumerTest,
  },
  {
    name: "client-dropped-keeps-batch",
    breaks: "after a seek, records of the old position are handed out",
    file: `${consumer}/cursor.ts`,
    replace: [
      [
        "    this.#chunks = [];\n    this.#open = undefined;\n    this.#bufferedBytes = 0;",
        "    this.#chunks = [];\n    this.#bufferedBytes = 0;",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-position-of-open-batch",
    breaks: "the position does not count the record that was handed out last",
    file: `${consumer}/cursor.ts`,
    replace: [
      ["this.#position = Number(record.offset) + 1;", "this.#position = Number(record.offset);"],
    ],
    tests: consumerTest,
  },
  {
    name: "client-failed-stays-silent",
    breaks: "a partition that failed once is never attached again",
    file: `${consumer}/consumer.ts`,
    replace: [["      this.#retryFailed();\n", "      this.#told.delete;\n"]],
    tests: consumerTest,
  },
  {
    name: "client-error-told-once",
    breaks: "an error is forgotten when it was thrown",
    file: `${consumer}/leaders.ts`,
    replace: [
      [
        "    const { error } = cursor.state;\n",
        "    const { error } = cursor.state;\n    cursor.becomeDetached();\n",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-offset-by-name",
    breaks: "an offset of a deleted topic is used in the topic made again",
    file: `${consumer}/leaders.ts`,
    replace: [
      [
        "if (info !== undefined && !isSameTopic(info.topicId, cursor.topicId)) {",
        "if (info !== undefined && info.name !== cursor.topic) {",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-assign-stale-topic",
    breaks: "an assignment is of the topic that the client knew, not of the one of now",
    file: `${consumer}/consumer.ts`,
    replace: [
      [
        "[...topics].map((topic) => metadata.freshTopic(topic))",
        "[...topics].map((topic) => metadata.topic(topic))",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-restart-keeps-topic-id",
    breaks: "after a reset into a topic made again, the reset repeats for ever",
    file: `${consumer}/cursor.ts`,
    replace: [["    this.topicId = topicId;\n    this.#openedEpoch", "    this.#openedEpoch"]],
    tests: consumerTest,
  },
  {
    name: "client-whole-topic-frozen",
    breaks: "partitions added to a topic that is read as a whole are not read",
    file: `${consumer}/consumer.ts`,
    replace: [
      [
        "context.metadata.onChange(() => this.#addNewPartitions())",
        "context.metadata.onChange(() => {})",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-new-partition-from-end",
    breaks: "records written to a new partition before it was noticed are skipped",
    file: `${consumer}/consumer.ts`,
    replace: [
      ['this.#start(topic, partition, "earliest")', 'this.#start(topic, partition, "latest")'],
    ],
    tests: consumerTest,
  },
  {
    name: "client-until-end-follows",
    breaks: "reading until the end goes on in partitions that were added later",
    file: `${consumer}/consumer.ts`,
    replace: [
      [
        "this.#wholeTopics = this.#untilEnd ? new Set() : wholeTopics;",
        "this.#wholeTopics = wholeTopics;",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-end-stays-up",
    breaks: "reading until the end hangs when the log was cut below the end",
    file: `${consumer}/leaders.ts`,
    replace: [["      cursor.lowerEnd(end.offset);\n", ""]],
    tests: consumerTest,
  },
  {
    name: "client-start-past-end-ends",
    breaks: "a position past the end looks like success when reading until the end",
    file: `${consumer}/cursor.ts`,
    replace: [
      ["return this.#position === this.#endOffset;", "return this.#position >= this.#endOffset;"],
    ],
    tests: consumerTest,
  },
  {
    name: "client-grant-forgets-granted",
    breaks: "bytes granted and not received yet are granted again",
    file: `${consumer}/cursor.ts`,
    replace: [["    this.#grantedBytes += bytes;\n    return bytes;", "    return bytes;"]],
    tests: consumerTest,
  },
  {
    name: "client-grant-forgets-received",
    breaks: "received bytes count as granted for ever, and reading stops",
    file: `${consumer}/cursor.ts`,
    replace: [
      ["      this.#grantedBytes = Math.max(0, this.#grantedBytes - buffer.length);\n", ""],
    ],
    tests: consumerTest,
  },
  {
    name: "client-grant-paused",
    breaks: "a paused partition goes on fetching",
    file: `${consumer}/cursor.ts`,
    replace: [["    if (this.isStopped) return 0;\n", ""]],
    tests: consumerTest,
  },
  {
    name: "client-decode-repeats",
    breaks: "records before the position are handed out when a batch began before it",
    file: `${consumer}/decode.ts`,
    replace: [
      [
        "if (offset < cursor.position || offset >= cursor.endOffset) continue;",
        "if (offset >= cursor.endOffset) continue;",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-reason-of-compressor-lost",
    breaks: "a batch that the compressor does not support is called damaged",
    file: `${consumer}/decode.ts`,
    replace: [
      [
        "if (!(thrown instanceof MillraceError)) throw corrupt(",
        "if (reason !== undefined) throw corrupt(",
      ],
    ],
    tests: consumerTest,
  },
  {
    name: "client-crc-ignored",
    breaks: "damaged bytes are handed out",
    file: `${consumer}/decode.ts`,
    replace: [
      ['if (!bodyCrcMatches(chunk.buffer, stored)) throw corrupt(cursor, "its CRC is wrong");', ""],
    ],
    tests: consumerTest,
  },
];
