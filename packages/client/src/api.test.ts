/** What applications write: arguments, values of all kinds, and what is said of mistakes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { ConsumedRecord, ConsumerOptions } from "./core/types.ts";
import { connect, jsonDeserializer, jsonSerializer, textDeserializer } from "./index.ts";
import { FakeBroker } from "./testing/fake-broker.ts";
import { setUp } from "./testing/set-up.ts";

const limit = { timeout: 10_000 };

const refused =
  (text: RegExp, code = ErrorCode.INVALID_REQUEST) =>
  (thrown: unknown) => {
    assert.ok(hasCode(thrown, code), String(thrown));
    assert.match(thrown.message, text);
    return true;
  };

/** Arguments as JavaScript passes them: of any type. */
const wrong = (value: unknown): never => value as never;

const readTopic = async <K, V>(
  client: ReturnType<typeof setUp>["client"],
  options: ConsumerOptions<K, V> = {},
): Promise<ConsumedRecord<K, V>[]> => {
  const all = { topic: "events", from: "earliest", untilEnd: true, ...options } as const;
  await using consumer = client.consumer<K, V>(wrong(all));
  const records: ConsumedRecord<K, V>[] = [];
  for await (const record of consumer.records()) records.push(record);
  return records;
};

test("headers are an object, or a list, and are read by name", limit, async () => {
  const { client } = setUp();
  const producer = client.producer();
  const bytes = Uint8Array.of(0xff);
  const headers = { source: "web", raw: bytes, none: null, tag: ["a", "b"] };
  await producer.send({ topic: "events", value: "x", headers });
  const list = [
    { name: "z", value: "1" },
    { name: "a", value: "2" },
    { name: "z", value: "3" },
  ];
  await producer.send({ topic: "events", value: "y", headers: list });
  const [first, second] = await readTopic(client);
  assert.equal(first?.header("source"), "web");
  assert.equal(first?.header("none"), null);
  assert.equal(first?.header("other"), undefined);
  assert.equal(first?.header("tag"), "b");
  assert.deepEqual(
    first?.headers.map(({ name }) => name),
    ["source", "raw", "none", "tag", "tag"],
  );
  assert.deepEqual([...(first?.headers[1]?.value ?? [])], [0xff]);
  assert.deepEqual(
    second?.headers.map(({ name, value }) => [name, String(value)]),
    list.map(({ name, value }) => [name, String(Buffer.from(value))]),
  );
  assert.equal(second?.header("z"), "3");
  for (const [given, text] of [
    [{ n: 7 }, /header "n" is 7: give a string, a Uint8Array or null/],
    ["source=web", /headers is "source=web": give an object/],
    [[{ key: "k", value: "v" }], /a header's name is undefined: give \{ name, value \}/],
    [{ "": "x" }, /a header's name has 0 bytes/],
  ] as const) {
    const record = { topic: "events", value: "x", headers: wrong(given) };
    await assert.rejects(producer.send(record), refused(text, ErrorCode.INVALID_RECORD));
  }
});

test("a record reads its value as text and JSON, and its key as text", limit, async () => {
  const { client } = setUp();
  const producer = client.producer();
  await producer.send({ topic: "events", key: "ключ", value: '{"n":1}' });
  await producer.send({ topic: "events", value: null });
  await producer.send({ topic: "events", value: "{" });
  const [json, tombstone, broken] = await readTopic(client);
  assert.equal(json?.keyText(), "ключ");
  assert.equal(json?.text(), '{"n":1}');
  assert.deepEqual(json?.json(), { n: 1 });
  assert.deepEqual(
    [tombstone?.keyText(), tombstone?.text(), tombstone?.json()],
    [null, null, null],
  );
  assert.throws(
    () => broken?.json(),
    refused(/the value of events-0 at offset 2 is not what is expected/, ErrorCode.INVALID_RECORD),
  );
});

interface Order {
  readonly id: number;
}

test("serializers and deserializers decide what keys and values are", limit, async () => {
  const { client } = setUp(4);
  const partitioned: unknown[] = [];
  const producer = client.producer({
    keySerializer: (id: number) => `order-${id}`,
    valueSerializer: (order: Order, topic: string) => JSON.stringify({ ...order, topic }),
    partitioner: ({ key, value }) => {
      partitioned.push([key, value]);
      return 0;
    },
  });
  await producer.send({ topic: "events", key: 7, value: { id: 7 } });
  producer.write({ topic: "events", key: null, value: null });
  await producer.flush();
  assert.deepEqual(partitioned[0], ["order-7", '{"id":7,"topic":"events"}']);
  const offsets: bigint[] = [];
  const [first, second] = await readTopic(client, {
    keyDeserializer: textDeserializer,
    valueDeserializer: (bytes, { offset }) => {
      offsets.push(offset);
      return jsonDeserializer(bytes);
    },
  });
  const key: string | null | undefined = first?.key;
  assert.equal(key, "order-7");
  assert.deepEqual(first?.value, { id: 7, topic: "events" });
  assert.deepEqual([first?.text(), first?.keyText()], ['{"id":7,"topic":"events"}', "order-7"]);
  assert.deepEqual([second?.key, second?.value, second?.text()], [null, null, null]);
  assert.deepEqual(offsets, [0n], "null passes by");
  const json = client.producer<string, unknown>({ valueSerializer: jsonSerializer });
  await assert.rejects(
    json.send({ topic: "events", value: () => 1 }),
    refused(
      /the value of a record for events cannot be serialized \(JSON/,
      ErrorCode.INVALID_RECORD,
    ),
  );
});

test("types follow from the serializers", () => {
  const { client } = setUp();
  const plain = client.producer();
  // @ts-expect-error: without a serializer, a value is a string or bytes.
  plain.send({ topic: "events", value: { id: 1 } }).catch(() => {});
  const typed = client.producer({ valueSerializer: (order: Order) => JSON.stringify(order) });
  // @ts-expect-error: the serializer takes orders.
  typed.send({ topic: "events", value: "no order" }).catch(() => {});
  // @ts-expect-error: an order cannot be sent as it is.
  client.producer<string, Order>({ acks: "all" });
  // @ts-expect-error: nothing makes orders of bytes.
  client.consumer<Uint8Array, Order>({ topic: "events" });
  // @ts-expect-error: unknown options are found by the compiler, too.
  assert.throws(() => client.producer({ linger: 5 }), refused(/did you mean "lingerMs"/));
  // @ts-expect-error: also beside serializers.
  assert.throws(() => client.producer({ linger: 5, valueSerializer: jsonSerializer }));
});

test("a value that cannot be deserialized ends the iteration where it is", limit, async () => {
  const { client } = setUp();
  const producer = client.producer({ lingerMs: 20 });
  for (const value of ["1", "2", "{", "4"]) producer.write({ topic: "events", value });
  await producer.close();
  for (const how of ["records", "batches"] as const) {
    await using consumer = client.consumer({
      ...{ topic: "events", from: "earliest", untilEnd: true },
      valueDeserializer: jsonDeserializer,
    });
    const seen: unknown[] = [];
    const read = async (): Promise<void> => {
      if (how === "records") for await (const { value } of consumer.records()) seen.push(value);
      else {
        for await (const { records } of consumer.batches()) {
          seen.push(...records.map(({ value }) => value));
        }
      }
    };
    const bad = refused(/the value of events-0 at offset 2 is not/, ErrorCode.INVALID_RECORD);
    await assert.rejects(read(), bad);
    await assert.rejects(read(), bad);
    assert.deepEqual(seen, [1, 2]);
    await consumer.seek({ topic: "events", partition: 0, to: { offset: 3 } });
    await read();
    assert.deepEqual(seen, [1, 2, 4]);
  }
});

test("a consumer of a topic reads all of its partitions", limit, async () => {
  const { client } = setUp(3);
  const producer = client.producer();
  for (const partition of [0, 1, 2]) {
    await producer.send({ topic: "events", partition, value: `${partition}` });
  }
  const records = await readTopic(client);
  assert.deepEqual(records.map((record) => record.text()).sort(), ["0", "1", "2"]);
  await using latest = client.consumer({ topic: "events", untilEnd: true });
  assert.deepEqual(
    (await latest.endOffsets()).map(({ offset }) => offset),
    [1n, 1n, 1n],
  );
  for await (const record of latest.records()) assert.fail(`${record.offset}`);
  await using assigned = client.consumer({ topic: "events", from: "earliest", untilEnd: true });
  await assigned.assign([{ topic: "events", partition: 1, from: "earliest" }]);
  const read: (string | null)[] = [];
  for await (const record of assigned.records()) read.push(record.text());
  assert.deepEqual(read, ["1"], "what is assigned takes its place");
  await using missing = client.consumer({ topic: "missing" });
  await assert.rejects(
    missing.records().next(),
    refused(/"missing" does not exist/, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
  );
});

test(
  "an iteration that looks for its topic can be aborted, and ends with its consumer",
  limit,
  async () => {
    const { broker, client } = setUp();
    broker.silent.add("fake:1").add("fake:2");
    const consumer = client.consumer({ topic: "events" });
    const signal = AbortSignal.timeout(50);
    await assert.rejects(consumer.records({ signal }).next(), { code: ErrorCode.CANCELLED });
    const waiting = consumer.records().next();
    await client.close();
    assert.equal((await waiting).done, true);
  },
);

test("an unknown topic is an error within a second", limit, async () => {
  const { client } = setUp();
  for (const ask of [
    () => client.producer().send({ topic: "missing", value: "x" }),
    () => client.consumer({ topic: "missing" }).records().next(),
    () => client.partitionCount("missing"),
  ]) {
    const startedMs = performance.now();
    await assert.rejects(ask(), { code: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION });
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < 1_000, `${tookMs} ms`);
  }
});

test("mistyped options are refused by name before anything happens", limit, async () => {
  const { broker, client } = setUp();
  const { admin } = client;
  for (const [call, text] of [
    [
      () => admin.createTopic(wrong({ name: "t", partitonCount: 6 })),
      /"partitonCount": did you mean "partitions"/,
    ],
    [() => admin.createTopic(wrong({ topic: "t" })), /createTopic does not know "topic"/],
    [
      () => admin.createTopic(wrong({ name: "t", partitions: "6" })),
      /partitions of createTopic is "6": give a whole/,
    ],
    [() => admin.createTopic(wrong({})), /createTopic needs "name": give a string/],
    [() => admin.createTopic(wrong("t")), /createTopic takes one object with name, .*, not "t"/],
    [() => admin.createTopic(wrong(undefined)), /createTopic takes one object/],
    [() => admin.createTopic({ name: "t", partitions: -1 }), /partitions is -1/],
    [
      () => admin.createTopic(wrong({ name: "t", configs: { "retention.ms": 5 } })),
      /configs .* holds 5/,
    ],
    [() => admin.deleteTopic(wrong("t")), /deleteTopic takes one object with name/],
    [() => admin.deleteTopic({ name: "t", topicId: new Uint8Array(3) }), /topicId .* 16 bytes/],
    [() => admin.deleteTopic(wrong({ name: "t", topicId: "00" })), /topicId .* 16 bytes/],
    [
      () => admin.describeTopics(wrong(["t"])),
      /describeTopics takes one object with names, not a list/,
    ],
    [
      () => admin.createPartitions(wrong({ name: "t", count: 3 })),
      /createPartitions does not know "count"/,
    ],
    [() => admin.alterConfigs(wrong({ topic: "t", sets: {} })), /did you mean "set"/],
    [() => admin.describeConfigs(wrong({ name: "t" })), /describeConfigs does not know "name"/],
    [
      () => admin.listOffset(wrong({ topic: "t", partition: 0, at: "newest" })),
      /at of listOffset is "newest"/,
    ],
    [
      () => admin.deleteRecords(wrong({ topic: "t", partition: 0, before: 3n })),
      /did you mean "beforeOffset"/,
    ],
    [
      () => admin.electLeader(wrong({ topic: "t", partition: 0, unclean: true })),
      /unclean of electLeader is true: give an object/,
    ],
    [
      () => admin.alterPartitionReassignments(wrong({ moves: [{ topic: "t", partition: 0 }] })),
      /a move needs "replicas"/,
    ],
    [() => admin.setBrokerIntent(wrong({ broker: 3, intent: 1 })), /did you mean "brokerId"/],
    [
      () => admin.acquireMaintenance(wrong({ brokerId: 3, kind: 1 })),
      /acquireMaintenance needs "holder"/,
    ],
    [() => admin.renewMaintenance(wrong({ brokerId: 3 })), /renewMaintenance needs "token"/],
    [() => admin.releaseMaintenance(wrong({ broker: 3, force: true })), /did you mean "brokerId"/],
    [() => admin.describeLogs(wrong({ topic: "t" })), /did you mean "topics"/],
    [
      async () => admin.rebalances.plan(wrong({ movesPerBrokers: 3 })),
      /rebalances.plan does not know "movesPerBrokers": did you mean "movesPerBroker"/,
    ],
    [
      async () => admin.rebalances.plan({ movesPerBroker: 0 }),
      /movesPerBroker of rebalances.plan is 0/,
    ],
    [() => admin.rebalances.pause(wrong({ id: 3 })), /rebalances.pause does not know "id"/],
  ] as const) {
    await assert.rejects(call(), refused(text));
  }
  assert.deepEqual([broker.asked.length, broker.clusterIds.length], [0, 0]);
  for (const [make, text] of [
    [
      () => client.producer(wrong({ lingerMS: 5 })),
      /client.producer does not know "lingerMS": did you mean "lingerMs"/,
    ],
    [
      () => client.producer(wrong({ onError: 5 })),
      /onError of client.producer is 5: give a function/,
    ],
    [() => client.consumer(wrong({ topics: ["t"] })), /did you mean "topic"/],
    [() => client.consumer({ from: "earliest" }), /has from and no topic/],
    [
      () => client.consumer(wrong({ topic: "t", from: { offest: 1 } })),
      /from of client.consumer does not know "offest": did you mean "offset"/,
    ],
    [
      () => client.consumer(wrong({ topic: "t", from: {} })),
      /has 0 of offset, timestampMs and tail/,
    ],
    [
      () => client.consumer(wrong({ topic: "t", from: "newest" })),
      /from of client.consumer is "newest"/,
    ],
  ] as const) {
    assert.throws(make, refused(text));
  }
  const consumer = client.consumer();
  await assert.rejects(consumer.assign(wrong({ topic: "events" })), refused(/assign takes a list/));
  await assert.rejects(consumer.assign(wrong(["events"])), refused(/assign takes one object/));
  await assert.rejects(
    consumer.seek(wrong({ topic: "events", partition: 0, offset: 3 })),
    refused(/"offset"/),
  );
  assert.throws(() => consumer.pause(wrong("events")), refused(/pause takes one object/));
  await assert.rejects(
    consumer.records(wrong({ signl: 1 })).next(),
    refused(/did you mean "signal"/),
  );
});

test("mistyped records are refused, and a mistyped value is never a tombstone", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer();
  for (const [record, text] of [
    [{ topic: "events", vlaue: "x" }, /a record does not know "vlaue": did you mean "value"/],
    [{ topic: "events", value: "x", header: {} }, /did you mean "headers"/],
    [
      { topic: "events", value: 42 },
      /the value of a record is 42: give a string, .* valueSerializer/,
    ],
    [{ topic: "events", value: { id: 1 } }, /the value of a record is an object/],
    [{ topic: "events", value: new Uint16Array(1) }, /the value of a record is a Uint16Array/],
    [{ topic: "events", key: 7, value: "x" }, /the key of a record is 7: .* keySerializer/],
    [{ value: "x" }, /topic of a record is undefined/],
    ["x", /a record is an object such as \{ topic, value \}, not "x"/],
    [undefined, /a record is an object/],
  ] as const) {
    const isRefused = refused(text, ErrorCode.INVALID_RECORD);
    await assert.rejects(producer.send(wrong(record)), isRefused);
    assert.throws(() => producer.write(wrong(record)), isRefused);
  }
  for (let n = 0; n < 1_100; n += 1) producer.write({ topic: "events", value: "x" });
  const late = producer.send(wrong({ topic: "events", vlaue: "x" }));
  await assert.rejects(late, refused(/did you mean "value"/, ErrorCode.INVALID_RECORD));
  await producer.close();
  const stored = broker.seen.reduce((sum, { info }) => sum + info.recordCount, 0);
  assert.equal(stored, 1_100);
});

test("write takes every record; who does not wait is refused in the end", limit, async () => {
  const { broker, client } = setUp();
  broker.hold = true;
  const errors: unknown[] = [];
  const onError = (error: unknown): void => {
    errors.push(error);
  };
  const producer = client.producer({ bufferBytesMax: 2048, batchBytesMax: 200, onError });
  const write = (n: number): boolean => producer.write({ topic: "events", value: `value ${n}` });
  let taken = 0;
  while (taken < 1_000 && write(taken)) taken += 1;
  taken += 1;
  let isDrained = false;
  const drained = producer.drained().then(() => {
    isDrained = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(isDrained, false);
  const first = taken;
  assert.throws(
    () => {
      for (; taken < 1_000; taken += 1) assert.equal(write(taken), false);
    },
    refused(/await drained after a write that returned false/, ErrorCode.ADMISSION_REJECTED),
  );
  assert.ok(taken > first && producer.bufferedBytes <= 2048);
  broker.release();
  await drained;
  await producer.flush();
  const values = (await readTopic(client)).map((record) => record.text());
  assert.deepEqual(
    values,
    Array.from({ length: taken }, (_, n) => `value ${n}`),
  );
  broker.hold = true;
  for (let n = 0; n < 1_000 && write(n); n += 1);
  const after = producer.drained();
  producer.abort();
  await after;
  assert.ok(errors.length > 0 && errors.every((one) => hasCode(one, ErrorCode.CANCELLED)));
});

test("connect says what is wrong with an address or an option", limit, async () => {
  const dialer = new FakeBroker();
  for (const [options, text] of [
    [{ bootstrap: "localhost" }, /bootstrap has "localhost", without a port: .* "localhost:7400"/],
    [{ bootstrap: "::1" }, /"\[::1\]:7400"/],
    [{ bootstrap: "http://h:1" }, /with a scheme: .* "h:1"/],
    [{ bootstrap: ["h:1", 7] }, /bootstrap has 7: give strings/],
    [{ bootstrap: [] }, /bootstrap names no server/],
    [{}, /bootstrap is undefined: give "host:port", or a list/],
    [{ brokers: ["h:1"] }, /connect does not know "brokers": it knows bootstrap, /],
    [{ bootstrap: "h:1", adminTimeoutMs: "5" }, /adminTimeoutMs is "5": use a whole number/],
    [undefined, /connect takes one object with bootstrap/],
  ] as const) {
    const given = options === undefined ? undefined : { dialer, ...options };
    await assert.rejects(connect(wrong(given)), refused(text));
  }
  assert.equal(dialer.dialed.length, 0);
  const client = await connect({ bootstrap: "fake:1, fake:2", dialer });
  await client.close();
});
