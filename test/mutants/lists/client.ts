import type { Mutant } from "../mutant.ts";

const consumer = "packages/client/src/core/consumer";
const producer = "packages/client/src/core/producer";
const consumerTest = [`${consumer}/consumer.test.ts`];
const producerTest = [`${producer}/producer.test.ts`];
const clientTest = ["packages/client/src/client.test.ts"];
const metadata = "packages/client/src/core/metadata.ts";
const metadataTest = ["packages/client/src/core/metadata.test.ts"];
const rpcClient = "packages/rpc/src/grpc/client.ts";
const rpcClientTest = ["packages/rpc/src/grpc/client.test.ts"];
const cliTest = ["packages/cli/src/cli.test.ts"];
const cliProcessTest = ["test/integration/cli.test.ts"];

const consumerMutants: readonly Mutant[] = [
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
        "    if (batch === undefined || this.paused) return undefined;",
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
        'if (error.code !== ErrorCode.OFFSET_OUT_OF_RANGE || onOutOfRange === "error") return error;\n    cursor.becomeDetached();',
        'cursor.becomeDetached();\n    if (error.code !== ErrorCode.OFFSET_OUT_OF_RANGE || onOutOfRange === "error") return error;',
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
    replace: [["    this.topicId = topicId;\n    this.lastEpoch", "    this.lastEpoch"]],
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
    replace: [["    if (this.paused) return 0;\n", ""]],
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

const producerMutants: readonly Mutant[] = [
  {
    name: "client-partitions-frozen",
    breaks: "keys never reach partitions that were added",
    file: `${producer}/producer.ts`,
    replace: [
      ["if (topic.version === metadata.version) return;", "if (topic.version >= 0) return;"],
    ],
    tests: producerTest,
  },
  {
    name: "client-partition-refused-unasked",
    breaks: "a partition added by others is refused by its number",
    file: `${producer}/producer.ts`,
    replace: [
      ["if (lacks === true) await metadata.freshTopic(topic.name);", "if (lacks === null) return;"],
    ],
    tests: producerTest,
  },
  {
    name: "client-partitions-only-grow",
    breaks: "a topic made again with fewer partitions gets records for partitions that it lacks",
    file: `${producer}/producer.ts`,
    replace: [
      [
        "topic.partitionCount = info.partitions.length;",
        "topic.partitionCount = Math.max(topic.partitionCount, info.partitions.length);",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-missing-partition-waits",
    breaks: "records of a partition that is gone wait for their deadline",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "metadata.peek(queue.topic)?.partitions[queue.partition] !== undefined;",
        "metadata.peek(queue.topic) !== undefined;",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-large-batch-fails-whole",
    breaks: "a batch above max.message.bytes fails with all its records",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "error.code === ErrorCode.MESSAGE_TOO_LARGE && batch.recordCount > 1;",
        "error.code === ErrorCode.MESSAGE_TOO_LARGE && batch.recordCount > 1e9;",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-limit-not-learnt",
    breaks: "every batch is refused again although the topic's limit is known",
    file: `${producer}/producer.ts`,
    replace: [
      [
        "if (batch.builder.sizeBytes + bytes > topic.limits.batchBytesMax) {",
        "if (batch.builder.sizeBytes + bytes > this.#options.batchBytesMax) {",
      ],
      [
        "if (builder.sizeBytes >= topic.limits.batchBytesMax) this.#close(topic, queue, batch);",
        "if (builder.sizeBytes >= this.#options.batchBytesMax) this.#close(topic, queue, batch);",
      ],
      [
        "topic = {\n        name,\n        limits: { batchBytesMax },",
        "topic = {\n        name,\n        limits: { get batchBytesMax() { return batchBytesMax; }, set batchBytesMax(_) {} },",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-split-waiters-shift",
    breaks: "records of a split batch get offsets of other records",
    file: `${producer}/split.ts`,
    replace: [["    for (const waiter of part.waiters) waiter.index -= first;\n", ""]],
    tests: producerTest,
  },
  {
    name: "client-split-bytes-lost",
    breaks: "the buffer of a producer never becomes empty after a split",
    file: `${producer}/split.ts`,
    replace: [
      [
        "part.bytes = Math.floor((bytesLeft * part.recordCount) / recordsLeft);",
        "part.bytes = Math.floor((bytesLeft * part.recordCount) / batch.recordCount);",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-flush-forgets-parts",
    breaks: "a flush ends before the parts of a split batch are written",
    file: `${producer}/producer.ts`,
    replace: [
      [
        "      if (batches.delete(batch)) for (const part of parts) batches.add(part);",
        "      batches.delete(batch);",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-leaders-race",
    breaks: "batches of a partition are on the way to two leaders at once, and may change order",
    file: `${producer}/dispatcher.ts`,
    replace: [["      if (queue.inFlight.length > 0 && queue.route !== sender) return;\n", ""]],
    tests: producerTest,
  },
  {
    name: "client-in-flight-unbounded",
    breaks: "inFlightPerPartitionMax is no bound",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "while (queue.inFlight.length < this.#options.inFlightPerPartitionMax) {",
        "while (queue.inFlight.length <= this.#options.inFlightPerPartitionMax) {",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-retry-overtaken",
    breaks: "batches behind a failed one are sent only to be refused",
    file: `${producer}/dispatcher.ts`,
    replace: [["    if (queue.retries.length > 0) return;\n", ""]],
    tests: producerTest,
  },
  {
    name: "client-order-epoch-same",
    breaks: "the order epoch does not rise, so the broker refuses the repetition",
    file: `${producer}/partition-queue.ts`,
    replace: [["    this.orderEpoch += 1;\n", ""]],
    tests: producerTest,
  },
  {
    name: "client-retries-unsorted",
    breaks: "failed batches are put back in the wrong order",
    file: `${producer}/partition-queue.ts`,
    replace: [
      ["this.retries.sort((a, b) => a.id - b.id)", "this.retries.sort((a, b) => b.id - a.id)"],
    ],
    tests: clientTest,
  },
  {
    name: "client-retry-without-pause",
    breaks: "a refused batch is sent again at once, for ever",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "queue.notBeforeMs = Math.max(queue.notBeforeMs, nowMs + pauseMs);",
        "queue.notBeforeMs = Math.max(queue.notBeforeMs, nowMs);",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-delivery-without-deadline",
    breaks: "a batch that is never written is retried for ever",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "return nowMs - batch.createdMs >= this.#options.deliveryTimeoutMs;",
        "return nowMs - batch.createdMs >= this.#options.deliveryTimeoutMs * 1000;",
      ],
    ],
    tests: clientTest,
  },
  {
    name: "client-request-without-deadline",
    breaks: "a broker that does not answer keeps its stream",
    file: `${producer}/dispatcher.ts`,
    replace: [
      [
        "nowMs - sentMs < this.#options.requestTimeoutMs) continue;",
        "nowMs - sentMs < this.#options.deliveryTimeoutMs) continue;",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-window-overrun",
    breaks: "more bytes are on the way than the broker's window allows",
    file: `${producer}/sender.ts`,
    replace: [
      [
        "this.#inFlightBytes + bytes <= this.#windowBytes;",
        "this.#inFlightBytes <= this.#windowBytes;",
      ],
    ],
    tests: producerTest,
  },
  {
    name: "client-buffer-overrun",
    breaks: "bufferBytesMax is no bound",
    file: `${producer}/producer.ts`,
    replace: [
      [
        "return this.#bufferedBytes + bytes <= this.#options.bufferBytesMax;",
        "return this.#bufferedBytes <= this.#options.bufferBytesMax;",
      ],
    ],
    tests: clientTest,
  },
  {
    name: "client-sticky-never-kept",
    breaks: "records without a key make a batch each",
    file: `${producer}/producer.ts`,
    replace: [["    if (current?.open !== undefined) return topic.sticky;\n", ""]],
    tests: producerTest,
  },
  {
    name: "client-hash-negative",
    breaks: "keys go to other partitions than with Kafka's clients",
    file: "packages/client/src/core/partitioner.ts",
    replace: [["(murmur2(key) & 0x7fffffff)", "Math.abs(murmur2(key))"]],
    tests: ["packages/client/src/core/partitioner.test.ts"],
  },
];

const metadataMutants: readonly Mutant[] = [
  {
    name: "client-bootstrap-in-turn",
    breaks: "a silent first server costs the deadline of a call",
    file: metadata,
    replace: [["const nextServerMs = 1_000;", "const nextServerMs = 60_000;"]],
    tests: metadataTest,
  },
  {
    name: "client-bootstrap-all-at-once",
    breaks: "every server is asked although the first one answers",
    file: metadata,
    replace: [["const nextServerMs = 1_000;", "const nextServerMs = 0;"]],
    tests: metadataTest,
  },
  {
    name: "client-good-server-forgotten",
    breaks: "the server that answered last is not asked first",
    file: metadata,
    replace: [["      if (!signal.aborted) this.#goodEndpoint = endpoint;\n", ""]],
    tests: metadataTest,
  },
  {
    name: "client-metadata-never-old",
    breaks: "metadata is not asked for again while nothing fails",
    file: metadata,
    replace: [["      this.#context.maxAgeMs,\n", "      this.#context.maxAgeMs * 1000,\n"]],
    tests: metadataTest,
  },
  {
    name: "client-offsets-of-old-partitions",
    breaks: "offsets of a partition added by others are refused by its number",
    file: "packages/client/src/core/offsets.ts",
    replace: [
      [
        "if (info.partitions[partition] === undefined) info = await metadata.freshTopic(topic);",
        "if (info.partitions[partition] === null) info = await metadata.freshTopic(topic);",
      ],
    ],
    tests: metadataTest,
  },
  {
    name: "client-backoff-unbounded",
    breaks: "pauses grow without a bound",
    file: "packages/client/src/core/backoff.ts",
    replace: [["Math.min(backoffRangeMs.max, ", "Math.max(backoffRangeMs.min, "]],
    tests: metadataTest,
  },
  {
    name: "client-bootstrap-unchecked",
    breaks: "an address without a port is dialed on some other port",
    file: "packages/client/src/core/client.ts",
    replace: [["if (!isEndpoint(endpoint)) {", "if (endpoint === undefined) {"]],
    tests: metadataTest,
  },
];

const rpcClientMutants: readonly Mutant[] = [
  {
    name: "rpc-connect-unbounded",
    breaks: "a connection that is accepted and never answered is waited for, for ever",
    file: rpcClient,
    replace: [
      [
        "if (state !== connectivityState.CONNECTING) return;",
        "if (state === connectivityState.CONNECTING) return;",
      ],
    ],
    tests: rpcClientTest,
  },
  {
    name: "rpc-deadline-is-no-trouble",
    breaks: "calls that time out on a frozen connection never make the channel dial anew",
    file: rpcClient,
    replace: [["  status.DEADLINE_EXCEEDED,\n", ""]],
    tests: rpcClientTest,
  },
  {
    name: "rpc-silent-stream-is-no-trouble",
    breaks: "streams given up for silence never make the channel dial anew",
    file: rpcClient,
    replace: [["if (error.code === ErrorCode.UNAVAILABLE) this.#unanswered(attempt);", ""]],
    tests: rpcClientTest,
  },
  {
    name: "rpc-slow-calls-cost-the-connection",
    breaks: "slow calls make the channel drop a connection that works",
    file: rpcClient,
    replace: [
      [
        "if (client !== this.#client || this.#lastHeardMs > startedMs) return;",
        "if (client !== this.#client) return;",
      ],
      ["          this.#heard();\n          try {", "          try {"],
    ],
    tests: rpcClientTest,
  },
  {
    name: "rpc-no-ping-without-calls",
    breaks: "a connection that freezes between short calls is not found by pings",
    file: rpcClient,
    replace: [
      ['"grpc.keepalive_permit_without_calls": 1,', '"grpc.keepalive_permit_without_calls": 0,'],
    ],
    tests: rpcClientTest,
  },
  {
    name: "rpc-proxy-variables",
    breaks: "http_proxy leads away from a broker",
    file: rpcClient,
    replace: [['"grpc.enable_http_proxy": 0,', '"grpc.enable_http_proxy": 1,']],
    tests: rpcClientTest,
  },
];

const cliMutants: readonly Mutant[] = [
  {
    name: "cli-signal-polled",
    breaks: "Ctrl-C does not end a produce that waits for input",
    file: "packages/cli/src/produce.ts",
    replace: [
      ["await interruptible(io.signal, sendAll(run, plan, io));", "await sendAll(run, plan, io);"],
    ],
    tests: cliProcessTest,
  },
  {
    name: "cli-sigterm-kills",
    breaks: "SIGTERM ends a produce without its summary",
    file: "packages/cli/src/signals.ts",
    replace: [
      [
        "const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }",
        "const exitCodes = { SIGHUP: 129, SIGINT: 130 }",
      ],
    ],
    tests: cliProcessTest,
  },
  {
    name: "cli-waits-for-silent-server",
    breaks: "Ctrl-C does not end a command that waits for a server",
    file: "packages/cli/src/shared.ts",
    replace: [
      [
        "const client = await interruptible(io.signal, connectClient(flags));",
        "const client = await connectClient(flags);",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-closed-pipe-ends-produce",
    breaks: "a part of the input is not written when the reader of the offsets goes away",
    file: "packages/cli/src/produce-run.ts",
    replace: [["if (!(thrown instanceof ClosedPipe)) throw thrown;", "throw thrown;"]],
    tests: cliProcessTest,
  },
  {
    name: "cli-closed-pipe-hides-damage",
    breaks: "log verify exits with 0 although it found damage, when nobody reads its report",
    file: "packages/cli/src/io.ts",
    replace: [["    if (!(thrown instanceof ClosedPipe)) throw thrown;\n", "    throw thrown;\n"]],
    tests: cliProcessTest,
  },
  {
    name: "cli-line-copied-again",
    breaks: "the time for a long line grows with the square of its length",
    file: "packages/cli/src/lines.ts",
    replace: [
      [
        "const carried = takeTail(pieces, delimiter.length - 1);",
        "const carried = takeTail(pieces, pieceBytes);",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-delimiter-across-chunks",
    breaks: "a delimiter that begins in one chunk and ends in the next is not found",
    file: "packages/cli/src/lines.ts",
    replace: [
      [
        "const carried = takeTail(pieces, delimiter.length - 1);",
        "const carried = takeTail(pieces, 0);",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-line-limit-late",
    breaks: "a line without an end is read into memory without a bound",
    file: "packages/cli/src/lines.ts",
    replace: [
      [
        "if (pieceBytes > recordBytesMax + delimiter.length) {",
        "if (pieceBytes > recordBytesMax * 1000) {",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-configs-as-object",
    breaks: "--config __proto__=1 is dropped without a word",
    file: "packages/cli/src/topic.ts",
    replace: [
      [
        "    configs.set(key, pair.slice(at + 1));",
        "    if (key in {}) continue;\n    configs.set(key, pair.slice(at + 1));",
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-empty-separator",
    breaks: "an empty --key-separator makes every key empty",
    file: "packages/cli/src/produce-input.ts",
    replace: [["if (bytes.length === 0) throw", "if (bytes.length > 1000) throw"]],
    tests: cliTest,
  },
  {
    name: "cli-dump-directory-internal",
    breaks: "log dump of a directory is called an internal error",
    file: "packages/cli/src/log.ts",
    replace: [["if ((await disk.fileSize(name)) === undefined) {", "if (name === undefined) {"]],
    tests: cliTest,
  },
  {
    name: "cli-empty-variable",
    breaks: "an empty MILLRACE_BOOTSTRAP is an error",
    file: "packages/cli/src/shared.ts",
    replace: [['io.env["MILLRACE_BOOTSTRAP"] || ', 'io.env["MILLRACE_BOOTSTRAP"] ?? ']],
    tests: cliTest,
  },
  {
    name: "cli-time-beyond-dates",
    breaks: "a timestamp that no Date can hold ends the printing",
    file: "packages/cli/src/format.ts",
    replace: [["Math.abs(timestampMs) <= dateMsMax", "timestampMs <= Number.MAX_SAFE_INTEGER"]],
    tests: cliTest,
  },
  {
    name: "cli-alter-half",
    breaks: "topic alter changes configs before it refuses a wrong partition count",
    file: "packages/cli/src/topic.ts",
    replace: [
      [
        'wholeNumber("--partitions", String(flags["partitions"]), 1, 10_000);\n      if (partitionCount === undefined',
        'Number(flags["partitions"]);\n      if (partitionCount === undefined',
      ],
    ],
    tests: cliTest,
  },
  {
    name: "cli-consume-frozen",
    breaks: "consume does not read partitions that are added while it runs",
    file: "packages/cli/src/shared.ts",
    replace: [["const metadataMaxAgeMs = 3_000;", "const metadataMaxAgeMs = 300_000;"]],
    tests: cliProcessTest,
  },
];

export const clientMutants: readonly Mutant[] = [
  ...consumerMutants,
  ...producerMutants,
  ...metadataMutants,
  ...rpcClientMutants,
  ...cliMutants,
];
