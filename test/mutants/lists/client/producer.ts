import type { Mutant } from "../../mutant.ts";

const producer = "packages/client/src/core/producer";
const producerTest = [`${producer}/producer.test.ts`];
const clientTest = ["packages/client/src/client.test.ts"];

export const producerMutants: readonly Mutant[] = [
  {
    name: "client-sends-what-the-server-does-not-take",
    breaks: "a batch above the server's own limit ends the stream",
    file: `${producer}/dispatcher.ts`,
    replace: [["      if (refusal !== undefined) {\n", "      if (refusal === null) {\n"]],
    tests: producerTest,
  },
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
    replace: [
      ["      if (queue.inFlight.length > 0 && !isSameWay(queue, sender, leader)) return;\n", ""],
    ],
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
      [
        "this.retries.sort((a, b) => a.sentNumber - b.sentNumber)",
        "this.retries.sort((a, b) => b.id - a.id)",
      ],
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
        "silentMs < this.#options.requestTimeoutMs) continue;",
        "silentMs < this.#options.deliveryTimeoutMs) continue;",
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
    file: "packages/record/src/partitioner.ts",
    replace: [["(murmur2(key) & 0x7fffffff)", "Math.abs(murmur2(key))"]],
    tests: ["packages/record/src/partitioner.test.ts"],
  },
  {
    name: "client-hash-forgets-the-last-byte",
    breaks: "keys of 1, 5, 9 … bytes go to other partitions than with Kafka's clients",
    file: "packages/record/src/partitioner.ts",
    replace: [["if (rest >= 1)", "if (rest > 1)"]],
    tests: ["packages/record/src/partitioner.test.ts"],
  },
  {
    name: "client-closed-channel-remembered",
    breaks: "what was closed is dialed again",
    file: "packages/client/src/core/connections.ts",
    replace: [["    this.#byEndpoint = new WeakMap();\n", ""]],
    tests: ["packages/client/src/core/connections.test.ts"],
  },
  {
    name: "client-tls-not-told-apart",
    breaks: "endpoints with and without TLS are different ones",
    file: "packages/client/src/core/connections.ts",
    replace: [['endpoint.tls ? "tls" : "plain"', 'endpoint.tls ? "" : ""']],
    tests: ["packages/client/src/core/connections.test.ts"],
  },
];
