/** Compacted topics over real sockets: GetLatest, and appends on the condition of a key. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Client,
  type ConsumedRecord,
  connect,
  LastOffsetMismatchError,
} from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  FetchService,
  GetLatestRequestSchema,
  ProduceOnceRequestSchema,
  ProduceService,
} from "@millrace/proto/broker";
import { BatchBuilder, type WireProduceResult } from "@millrace/record";
import { methodOf } from "@millrace/rpc";
import { badInputSite, blank, checkClear, isClear, open, produce } from "./bad-input.ts";

const getLatest = methodOf(FetchService.method.getLatest);
const produceOnce = methodOf(ProduceService.method.produceOnce);
const limit = { timeout: 60_000 };

let client: Client;
const prepare = async (endpoint: string): Promise<void> => {
  client = await connect({ bootstrap: endpoint });
  const configs = { "cleanup.policy": "compact" };
  await client.admin.createTopic({ name: "users", partitions: 3, configs });
  for (const name of ["cities", "race", "raw"]) await client.admin.createTopic({ name, configs });
  const wide = { ...configs, "max.message.bytes": "2000000" };
  await client.admin.createTopic({ name: "wide", configs: wide });
};
after(() => client.close());

const site = badInputSite(
  {
    ...{ "cities-0": 5n, "race-0": 40n, "raw-0": 5n, "t-0": 10n, "t-1": 0n },
    ...{ "users-0": 1n, "users-1": 4n, "users-2": 6n, "wide-0": 30n },
  },
  { prepare },
);

const ask = (request: MessageInitShape<typeof GetLatestRequestSchema>) =>
  site.channel.unary(getLatest, create(GetLatestRequestSchema, request));

const listOf = async (records: AsyncIterable<ConsumedRecord>): Promise<ConsumedRecord[]> => {
  const list: ConsumedRecord[] = [];
  for await (const record of records) list.push(record);
  return list;
};

const bytes = (text: string): Buffer => Buffer.from(text);

/** A batch of records of these keys; undefined: without one. */
const bodyOf = (...keys: readonly (string | undefined)[]): Buffer => {
  const builder = new BatchBuilder();
  for (const key of keys) {
    builder.append({ key: key === undefined ? undefined : bytes(key), timestampMs: Date.now() });
  }
  return builder.finishPlain();
};

test("the latest record of a key, of many keys, and of those that begin with something", async () => {
  await using producer = client.producer();
  for (let i = 0; i < 11; i += 1) {
    await producer.send({ topic: "users", key: `user-${i % 9}`, value: `v${i}` });
  }
  const found = await client.getLatest({ topic: "users", key: "user-1" });
  assert.deepEqual([found?.text(), found?.keyText(), found?.topic], ["v10", "user-1", "users"]);
  const { partition = -1, offset = -1n } = found ?? {};
  assert.equal(
    (await client.getLatest({ topic: "users", key: "user-1", partition }))?.offset,
    offset,
  );
  assert.equal(await client.getLatest({ topic: "users", key: "user-9" }), undefined);
  assert.equal(
    await client.getLatest({ topic: "users", key: "user-1", partition: (partition + 1) % 3 }),
    undefined,
  );
  for (const pageRecordsMax of [1, 2, 1000]) {
    const all: (string | null)[] = [];
    let before: [number, string] = [-1, ""];
    for await (const one of client.latest({ topic: "users", prefix: "user-", pageRecordsMax })) {
      const here: [number, string] = [one.partition, one.keyText() ?? ""];
      assert.ok(here[0] > before[0] || here[1] > before[1], "in order");
      before = here;
      all.push(one.text());
    }
    assert.deepEqual(all.sort(), ["v10", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"]);
  }
  const none = client.latest({ topic: "users", prefix: "x" });
  assert.deepEqual(await listOf(none), []);
});

test("a key that was deleted has a record without a value, and is not listed", async () => {
  await using producer = client.producer();
  const topic = "cities";
  await producer.send({ topic, key: "a", value: "1" });
  await producer.send({ topic, key: "b", value: "2", headers: { h: "x" } });
  const { offset } = await producer.send({ topic, key: "a", value: null });
  const deleted = await client.getLatest({ topic, key: "a", minOffset: offset + 1n });
  assert.deepEqual([deleted?.value, deleted?.offset], [null, offset]);
  const listed = await listOf(client.latest({ topic }));
  assert.deepEqual(
    listed.map((one) => one.keyText()),
    ["b"],
  );
  assert.equal(listed[0]?.header("h"), "x");
  await producer.send({ topic, key: "", value: "of an empty key" });
  assert.equal((await client.getLatest({ topic, key: "" }))?.text(), "of an empty key");
  await producer.send({ topic, key: Buffer.from([0xff, 0]), value: "of bytes" });
  const odd = await client.getLatest({ topic, key: Buffer.from([0xff, 0]) });
  assert.deepEqual(odd?.key, Buffer.from([0xff, 0]));
});

test("by the .proto alone: the answer says how far it goes, and pages go on", async () => {
  const keys = ["b", "nobody"].map(bytes);
  const { indexedOffset, leaderEpoch, partition, records } = await ask({ topic: "cities", keys });
  assert.deepEqual([partition, indexedOffset, leaderEpoch > 0], [0, 5n, true]);
  assert.deepEqual(
    records.map(({ key, record }) => [Buffer.from(key).toString(), record?.offset]),
    [
      ["b", 1n],
      ["nobody", undefined],
    ],
  );
  const first = await ask({ topic: "cities", keyPrefix: bytes(""), limit: 1 });
  assert.equal(first.records.length, 1);
  const second = await ask({
    ...{ topic: "cities", keyPrefix: bytes(""), limit: 2, pageToken: first.nextPageToken },
  });
  assert.deepEqual([second.records.length, second.nextPageToken.length], [2, 0]);
});

test("answers stay below the size of a message", limit, async () => {
  await using producer = client.producer({ compression: "gzip" });
  const value = "x".repeat(300_000);
  const names = Array.from({ length: 30 }, (_, i) => `w${10 + i}`);
  for (const key of names) await producer.send({ topic: "wide", key, value });
  const some = await ask({ topic: "wide", keys: names.map(bytes) });
  assert.equal(some.records.length, 13, "of 300 kB each");
  assert.equal(some.nextPageToken.length, 0);
  const all = await listOf(client.latest({ topic: "wide" }));
  assert.deepEqual(
    all.map((one) => one.keyText()),
    names,
  );
});

test("what cannot be asked is refused, and says what to do", async () => {
  const key = bytes("k");
  const topic = "users";
  const wrong: [MessageInitShape<typeof GetLatestRequestSchema>, ErrorCode, RegExp][] = [
    [{ topic }, ErrorCode.INVALID_REQUEST, /no keys and no key_prefix: send/],
    [{ topic, keys: [key], keyPrefix: key }, ErrorCode.INVALID_REQUEST, /keys and a key_prefix/],
    [{ topic, keys: Array(1001).fill(key) }, ErrorCode.INVALID_REQUEST, /1001 keys in one call/],
    [{ topic, keys: ["a", "b", "c", "d"].map(bytes) }, ErrorCode.INVALID_REQUEST, /several part/],
    [{ topic, keyPrefix: key }, ErrorCode.INVALID_REQUEST, /in all 3 partitions/],
    [{ topic, keyPrefix: key, partition: 0, limit: 1001 }, ErrorCode.INVALID_REQUEST, /limit is/],
    [
      { topic, keyPrefix: key, partition: 0, pageToken: bytes("\u0001j") },
      ErrorCode.INVALID_REQUEST,
      /an/,
    ],
    [{ topic, keyPrefix: key, partition: 0, pageToken: key }, ErrorCode.INVALID_REQUEST, /an/],
    [{ topic, keys: [key], pageToken: key }, ErrorCode.INVALID_REQUEST, /page_token goes with/],
    [{ topic, keys: [key], maxWaitMs: 60_001 }, ErrorCode.INVALID_REQUEST, /max_wait_ms is 60001/],
    [{ topic, keys: [key], partition: 3 }, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, /no partition 3/],
    [{ topic: "nothing", keys: [key] }, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, /no topic/],
    [{ topic, keys: [key], leaderEpoch: 999 }, ErrorCode.UNKNOWN_LEADER_EPOCH, /newer than/],
    [{ topic: "t", partition: 0, keys: [key] }, ErrorCode.POLICY_VIOLATION, /policy to compact/],
    [{ topic, keys: [key], minOffset: 99n }, ErrorCode.OFFSET_OUT_OF_RANGE, /min_offset 99/],
    [{ topic, keys: [key], minOffset: 2n ** 60n }, ErrorCode.OFFSET_OUT_OF_RANGE, /past the end/],
  ];
  for (const [request, code, text] of wrong) {
    await assert.rejects(ask(request), isClear(code, text), text.source);
  }
});

test("a compacted topic takes no record without a key, whole batches, in any way", async () => {
  const refused = /record 1 of the batch has no key/;
  const [one, two] = await results("raw", [
    { body: bodyOf("a", undefined) },
    { body: bodyOf("a") },
  ]);
  checkClear(one?.error, ErrorCode.INVALID_RECORD, refused);
  assert.equal(two?.baseOffset, 0, "of the batch before it, nothing was taken");
  const records = [{ key: bytes("a") }, { value: bytes("v") }];
  const once = create(ProduceOnceRequestSchema, { topic: "raw", records });
  await assert.rejects(
    site.channel.unary(produceOnce, once),
    isClear(ErrorCode.INVALID_RECORD, refused),
  );
  await using producer = client.producer({ compression: "lz4" });
  await assert.rejects(producer.send({ topic: "raw", value: "v" }), { codeName: "INVALID_RECORD" });
});

/** Requests sent together on a stream that requires the feature; by request. */
const results = async (
  topic: string,
  requests: readonly {
    body: Buffer;
    expectedLastOffsetForKey?: number;
    expectedEndOffset?: number;
  }[],
  acks = 0,
): Promise<(WireProduceResult | undefined)[]> => {
  const stream = site.channel.bidi(produce);
  stream.write({ ...blank, open: { ...open, acks, requiredFeatures: ["latest-by-key"] } });
  requests.forEach((request, requestId) => {
    stream.write({ ...blank, topic, requestId, ...request });
  });
  stream.end();
  const found: WireProduceResult[] = [];
  for (let reply = await stream.read(); reply !== undefined; reply = await stream.read()) {
    for (const result of reply.results) found[result.requestId] = result;
  }
  return Array.from(requests, (_, i) => found[i]);
};

test("a stream appends where the key's last record is the expected one, or says which it is", async () => {
  const said = (result: WireProduceResult | undefined): string => {
    const { error, baseOffset } = result ?? {};
    return error === undefined
      ? `at ${baseOffset}`
      : `${ErrorCode[error.code]} ${error.actualLastOffsetForKey}`;
  };
  const row = await results("raw", [
    { body: bodyOf("a"), expectedLastOffsetForKey: -1 },
    { body: bodyOf("a"), expectedLastOffsetForKey: 0 },
    { body: bodyOf("a"), expectedLastOffsetForKey: 0 },
    { body: bodyOf("b"), expectedLastOffsetForKey: 1 },
    { body: bodyOf("b", "b"), expectedLastOffsetForKey: -1 },
    { body: bodyOf("c"), expectedLastOffsetForKey: Number.MAX_SAFE_INTEGER },
  ]);
  assert.deepEqual(row.map(said), [
    "LAST_OFFSET_MISMATCH 0",
    "at 1",
    "LAST_OFFSET_MISMATCH 1",
    "LAST_OFFSET_MISMATCH -1",
    "at 2",
    "LAST_OFFSET_MISMATCH -1",
  ]);
  const { retriable, refreshMetadata, sideEffects } = row[0]?.error ?? {};
  assert.deepEqual([retriable, refreshMetadata, sideEffects], [false, false, false]);
  checkClear(row[0]?.error, ErrorCode.LAST_OFFSET_MISMATCH, /offset 0, the append expects none/);
});

test("a condition that cannot be met, or judged, is refused before any effect", async () => {
  const body = bodyOf("a");
  const wrong = async (request: Parameters<typeof results>[1][number], acks = 0, topic = "raw") =>
    (await results(topic, [request], acks))[0]?.error;
  for (const acks of [2, 3]) {
    const error = await wrong({ body, expectedLastOffsetForKey: 1 }, acks);
    checkClear(error, ErrorCode.INVALID_REQUEST, /expected_last_offset_for_key needs acks all/);
  }
  const both = await wrong({ body, expectedLastOffsetForKey: 1, expectedEndOffset: 4 });
  checkClear(both, ErrorCode.INVALID_REQUEST, /send one of them/);
  const below = await wrong({ body, expectedLastOffsetForKey: -2 });
  checkClear(below, ErrorCode.INVALID_REQUEST, /is -2: send an offset, or -1/);
  const several = await wrong({ body: bodyOf("a", "b"), expectedLastOffsetForKey: 1 });
  checkClear(several, ErrorCode.INVALID_REQUEST, /records of several keys/);
  const plain = await wrong({ body, expectedLastOffsetForKey: -1 }, 0, "t");
  checkClear(plain, ErrorCode.POLICY_VIOLATION, /not compacted: set/);
});

test("ProduceOnce does the same, and its status says which record is the last one", async () => {
  const once = (expectedLastOffsetForKey: bigint, key: string) => {
    const request = { topic: "raw", records: [{ key: bytes(key) }], expectedLastOffsetForKey };
    return site.channel.unary(produceOnce, create(ProduceOnceRequestSchema, request));
  };
  for (const [expected, key, actual] of [
    [5n, "a", 1n],
    [0n, "nobody", -1n],
  ] as const) {
    await assert.rejects(once(expected, key), (thrown) => {
      const error = MillraceError.from(thrown);
      checkClear(error, ErrorCode.LAST_OFFSET_MISMATCH);
      const fact = error.facts?.["actual_last_offset_for_key"];
      assert.deepEqual([error.actualLastOffsetForKey, fact], [actual, String(actual)]);
      return true;
    });
  }
  assert.equal((await once(1n, "a")).baseOffset, 4n);
});

test("of writers that race on a key, exactly one wins each round", limit, async () => {
  const topic = "race";
  const rounds = 20;
  const writers = await Promise.all(
    Array.from({ length: 4 }, () => connect({ bootstrap: site.endpoint })),
  );
  try {
    const producers = writers.map((one) => one.producer());
    let expected = -1n;
    for (let round = 0; round < rounds; round += 1) {
      const outcomes = await Promise.allSettled(
        producers.map((one, i) =>
          one.send({
            topic,
            key: "k",
            value: `${round} by ${i}`,
            expectedLastOffsetForKey: expected,
          }),
        ),
      );
      const won = outcomes.filter((one) => one.status === "fulfilled").map(({ value }) => value);
      assert.equal(won.length, 1);
      for (const one of outcomes) {
        if (one.status === "fulfilled") continue;
        assert.ok(one.reason instanceof LastOffsetMismatchError, String(one.reason));
        assert.equal(one.reason.actualLastOffsetForKey, won[0]?.offset);
      }
      expected = won[0]?.offset ?? -2n;
      // Other keys do not matter.
      await producers[round % 4]?.send({ topic, key: "other", value: "v" });
      assert.equal((await client.getLatest({ topic, key: "k" }))?.offset, expected);
    }
  } finally {
    for (const one of writers) await one.close();
  }
});
