/**
 * Bad requests to Fetch, FetchOnce, ListOffsets, DeleteRecords and metadata: clear errors, and no
 * harm.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode } from "@millrace/errors";
import {
  DeleteRecordsRequestSchema,
  FetchOnceRequestSchema,
  FetchService,
  ListOffsetsRequestSchema,
  LogService,
} from "@millrace/proto/broker";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { fetchResponseCodec, type WireFetchResponse } from "@millrace/record";
import { type ClientStream, methodOf, wireMethodOf } from "@millrace/rpc";
import {
  badInputSite,
  blank,
  bodyOf,
  checkClear,
  field,
  isClear,
  open,
  produce,
} from "./bad-input.ts";

const site = badInputSite({ "t-0": 10n, "t-1": 0n });
const fetchOnce = methodOf(FetchService.method.fetchOnce);
const listOffsets = methodOf(LogService.method.listOffsets);
const deleteRecords = methodOf(LogService.method.deleteRecords);
const getMetadata = methodOf(MetadataService.method.getMetadata);
const { INVALID_REQUEST, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION } = ErrorCode;
const { FENCED_LEADER_EPOCH, STREAM_PROTOCOL_VIOLATION, UNKNOWN_LEADER_EPOCH } = ErrorCode;

/** Requests by hand, replies decoded. */
const fetchRaw = wireMethodOf<Uint8Array, WireFetchResponse>(FetchService.method.fetch, {
  input: { encode: (bytes) => bytes, decode: (bytes) => bytes },
  output: fetchResponseCodec,
});

const huge = 2n ** 63n;
const opening = (more: Uint8Array = Buffer.alloc(0)): Buffer => field(1, more);

type Value = bigint | number | string | Uint8Array;

/** A FetchCursor by field number; topic `t` and a grant unless told otherwise. */
const cursor = (id: number, fields: Readonly<Record<number, Value>> = {}): Buffer => {
  const all: Record<number, Value> = { 1: id, 3: "t", 5: 4, 8: 10_000, ...fields };
  return field(
    3,
    Buffer.concat(Object.entries(all).map(([number, value]) => field(Number(number), value))),
  );
};

/** What each cursor got first: an error, or the number of its batch chunks. */
const firstOf = async (
  stream: ClientStream<Uint8Array, WireFetchResponse>,
  count: number,
): Promise<ReadonlyMap<number, WireFetchResponse>> => {
  const seen = new Map<number, WireFetchResponse>();
  while (seen.size < count) {
    const message = await stream.read();
    assert.ok(message !== undefined, "the stream ended");
    if (message.cursorId !== undefined && !seen.has(message.cursorId))
      seen.set(message.cursorId, message);
  }
  return seen;
};

const fetchStream = (...messages: readonly Uint8Array[]) => {
  const stream = site.channel.bidi(fetchRaw, { timeoutMs: 20_000 });
  for (const message of messages) stream.write(message);
  return stream;
};

/** How a stream of these messages fails. */
const failureOf = async (...messages: readonly Uint8Array[]): Promise<never> => {
  const stream = fetchStream(...messages);
  for (;;) if ((await stream.read()) === undefined) throw new Error("the stream ended well");
};

const cursors: readonly (readonly [string, Readonly<Record<number, Value>>, ErrorCode, RegExp?])[] =
  [
    ["an unknown topic", { 3: "none" }, UNKNOWN_TOPIC_OR_PARTITION, /create it/],
    ["a name of another script", { 3: "тема" }, UNKNOWN_TOPIC_OR_PARTITION, /тема/],
    ["a name with slashes", { 3: "../t/0" }, UNKNOWN_TOPIC_OR_PARTITION],
    ["a name of control characters", { 3: "\u0000\n\u001b[2J" }, UNKNOWN_TOPIC_OR_PARTITION],
    ["a name of 100,000 characters", { 3: "x".repeat(100_000) }, UNKNOWN_TOPIC_OR_PARTITION],
    ["partition 2", { 4: 2 }, UNKNOWN_TOPIC_OR_PARTITION, /it has 2/],
    ["partition 2^31-1", { 4: 2 ** 31 - 1 }, UNKNOWN_TOPIC_OR_PARTITION, /it has 2/],
    ["partition -1", { 4: -1 }, UNKNOWN_TOPIC_OR_PARTITION, /it has 2/],
    ["an unknown topic id", { 2: Buffer.alloc(16, 9) }, UNKNOWN_TOPIC_OR_PARTITION, /refresh/],
    ["a topic id of 5 bytes", { 2: Buffer.alloc(5) }, INVALID_REQUEST, /send 16/],
    ["an old leader epoch", { 6: 0 }, FENCED_LEADER_EPOCH, /refresh/],
    ["a leader epoch to come", { 6: 99 }, UNKNOWN_LEADER_EPOCH, /retry/],
    ["leader epoch -1", { 6: -1 }, UNKNOWN_LEADER_EPOCH],
    ["offset 0, which is gone", { 5: 0 }, OFFSET_OUT_OF_RANGE, /not between 4 and 10: reset/],
    ["offset 11, which is not there", { 5: 11 }, OFFSET_OUT_OF_RANGE, /not between 4 and 10/],
    ["offset 2^53", { 5: 2n ** 53n }, OFFSET_OUT_OF_RANGE, /not between 4 and 10/],
    ["offset 2^63", { 5: huge }, OFFSET_OUT_OF_RANGE, /not between 4 and 10/],
    ["offset -1", { 5: -1 }, OFFSET_OUT_OF_RANGE, /not between 4 and 10/],
    ["offset 5,000 without a grant", { 5: 5000, 8: 0 }, OFFSET_OUT_OF_RANGE, /not between/],
  ];

for (const [i, [what, fields, code, text]] of cursors.entries()) {
  test(`fetch: a cursor with ${what} fails with ${ErrorCode[code]}, alone`, async () => {
    const stream = fetchStream(
      Buffer.concat([opening(), cursor(i, fields), cursor(1000), cursor(1001, { 8: huge })]),
    );
    const seen = await firstOf(stream, 3);
    stream.cancel();
    checkClear(seen.get(i)?.error, code, text);
    for (const good of [1000, 1001]) assert.ok((seen.get(good)?.batches.length ?? 0) > 0);
    if (code === OFFSET_OUT_OF_RANGE) {
      assert.deepEqual([seen.get(i)?.logStartOffset, seen.get(i)?.highWatermark], [4, 10]);
    }
  });
}

const many = (count: number, from = 0): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => cursor(from + i, { 4: 1, 5: 0 })));

const violations: readonly (readonly [string, () => readonly Uint8Array[], ErrorCode, RegExp])[] = [
  ["no opening", () => [cursor(1)], STREAM_PROTOCOL_VIOLATION, /no open/],
  ["two openings", () => [opening(), opening()], STREAM_PROTOCOL_VIOLATION, /second open/],
  [
    "a cursor id twice in a message",
    () => [Buffer.concat([opening(), cursor(1), cursor(1)])],
    STREAM_PROTOCOL_VIOLATION,
    /cursor 1 is in use/,
  ],
  [
    "a cursor id twice on a stream",
    () => [opening(), cursor(1), cursor(1)],
    STREAM_PROTOCOL_VIOLATION,
    /cursor 1 is in use/,
  ],
  [
    "30,000 cursors in three messages",
    () => [opening(), many(9999), many(9999, 10_000), many(9999, 20_000)],
    STREAM_PROTOCOL_VIOLATION,
    /more than 10000 cursors/,
  ],
  [
    "20,000 cursors in one message",
    () => [opening(), many(20_000)],
    INVALID_REQUEST,
    /send several/,
  ],
  ["100,000 cursors", () => [opening(), many(100_000)], ErrorCode.MESSAGE_TOO_LARGE, /split it/],
  [
    "100,000 removals",
    () => [opening(), Buffer.concat([field(2, Buffer.alloc(100_000, 1))])],
    INVALID_REQUEST,
    /send several/,
  ],
  [
    "a client id of 250 bytes",
    () => [opening(field(1, "x".repeat(250)))],
    INVALID_REQUEST,
    /shorter/,
  ],
  ["isolation 7", () => [opening(field(4, 7))], INVALID_REQUEST, /isolation 7/],
  ["isolation -1", () => [opening(field(4, -1))], INVALID_REQUEST, /isolation -1/],
  [
    "another cluster's id",
    () => [opening(field(3, "other"))],
    ErrorCode.CLUSTER_ID_MISMATCH,
    /bootstrap/,
  ],
  [
    "a name that is no UTF-8",
    () => [opening(), cursor(1, { 3: Buffer.from([0xff]) })],
    INVALID_REQUEST,
    /UTF-8/,
  ],
];

for (const [what, messages, code, text] of violations) {
  test(`fetch: ${what} ends the stream with ${ErrorCode[code]}`, async () => {
    await assert.rejects(failureOf(...messages()), isClear(code, text));
  });
}

test("fetch: unknown cursors are removed and granted without effect; grants do not overflow", async () => {
  const stream = fetchStream(
    Buffer.concat([opening(field(2, huge)), field(2, Buffer.from([7, 8, 9]))]),
    Buffer.concat([cursor(1, { 8: 0 }), field(4, Buffer.concat([field(1, 77), field(2, 5)]))]),
    ...[huge, huge, 2n ** 64n - 1n].map((bytes) =>
      field(4, Buffer.concat([field(1, 1), field(2, bytes)])),
    ),
  );
  let nextOffset = 0;
  while (nextOffset < 10) nextOffset = (await stream.read())?.nextOffset ?? nextOffset;
  stream.write(Buffer.concat([field(2, Buffer.from([1])), cursor(2)]));
  assert.ok(((await firstOf(stream, 1)).get(2)?.batches.length ?? 0) > 0, "the stream goes on");
  stream.cancel();
});

test("fetch and produce: ids and windows of 2^63 are refused or cut down, never wrapped", async () => {
  const stream = site.channel.bidi(produce);
  const raw = site.channel.bidi(
    wireMethodOf<Uint8Array, ReturnType<typeof produce.output.decode>>(produce.desc, {
      input: { encode: (bytes) => bytes, decode: (bytes) => bytes },
      output: produce.output,
    }),
  );
  stream.cancel();
  raw.write(field(1, field(3, huge)));
  assert.equal((await raw.read())?.opened?.windowBytes, 16 * 1024 * 1024);
  raw.write(Buffer.concat([field(2, huge), field(4, "t"), field(15, field(6, bodyOf("x")))]));
  await assert.rejects(raw.read(), isClear(INVALID_REQUEST, /2\^53 or more: send a smaller one/));
});

test("produce: a client that heeds no window is answered in order, if slowly", async () => {
  const stream = site.channel.bidi(produce);
  stream.write({ ...blank, open: { ...open, windowBytes: 100 } });
  for (let i = 0; i < 200; i += 1)
    stream.write({ ...blank, topic: "none", requestId: i, body: Buffer.alloc(90) });
  stream.end();
  const answered: number[] = [];
  for (let reply = await stream.read(); reply !== undefined; reply = await stream.read())
    answered.push(...reply.results.map(({ requestId }) => requestId));
  assert.deepEqual(
    answered,
    Array.from({ length: 200 }, (_, i) => i),
  );
});

const fetches: readonly (readonly [string, object, ErrorCode, RegExp?])[] = [
  ["an unknown topic", { topic: "none" }, UNKNOWN_TOPIC_OR_PARTITION],
  ["partition 2^31-1", { partition: 2 ** 31 - 1 }, UNKNOWN_TOPIC_OR_PARTITION],
  ["partition 2^32-1", { partition: 2 ** 32 - 1 }, UNKNOWN_TOPIC_OR_PARTITION],
  ["a topic id of 17 bytes", { topicId: Buffer.alloc(17) }, INVALID_REQUEST],
  ["an old leader epoch", { leaderEpoch: 0 }, FENCED_LEADER_EPOCH],
  ["a leader epoch to come", { leaderEpoch: 2 ** 32 - 1 }, UNKNOWN_LEADER_EPOCH],
  ["an offset before the start", { offset: 3n }, OFFSET_OUT_OF_RANGE],
  ["an offset past the end", { offset: 11n }, OFFSET_OUT_OF_RANGE],
  ["offset 2^63", { offset: huge }, OFFSET_OUT_OF_RANGE],
  ["offset 2^64-1", { offset: 2n ** 64n - 1n }, OFFSET_OUT_OF_RANGE],
  ["a wait of 60,001 ms", { maxWaitMs: 60_001 }, INVALID_REQUEST, /at most 60000/],
  ["a negative wait", { maxWaitMs: 2 ** 32 - 1 }, INVALID_REQUEST, /at most 60000/],
  ["isolation 7", { isolation: 7 }, INVALID_REQUEST, /isolation 7/],
];

for (const [what, fields, code, text] of fetches) {
  test(`FetchOnce with ${what} is ${ErrorCode[code]}`, async () => {
    const request = create(FetchOnceRequestSchema, { topic: "t", offset: 4n, ...fields } as never);
    await assert.rejects(site.channel.unary(fetchOnce, request), isClear(code, text));
  });
}

test("FetchOnce takes huge sizes for as much as there is, at once", async () => {
  for (const maxBytes of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
    const sizes = { maxBytes, minBytes: maxBytes, maxWaitMs: 200 };
    const request = create(FetchOnceRequestSchema, { topic: "t", offset: 4n, ...sizes });
    const { batches, nextOffset } = await site.channel.unary(fetchOnce, request);
    assert.ok(batches.length > 0 && (nextOffset ?? 0n) > 4n);
  }
});

test("ListOffsets answers each bad question with its own error", async () => {
  const queries = [
    [{ topic: "none" }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ topic: "t/../t" }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ partition: 2 ** 31 - 1 }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ topicId: Buffer.alloc(3) }, INVALID_REQUEST],
    [{ topicId: Buffer.alloc(16, 3) }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ leaderEpoch: 0 }, FENCED_LEADER_EPOCH],
    [{ leaderEpoch: 77 }, UNKNOWN_LEADER_EPOCH],
    [{ spec: 99 }, INVALID_REQUEST],
    [{ spec: -1 }, INVALID_REQUEST],
  ] as const;
  const request = create(ListOffsetsRequestSchema, {
    queries: [
      ...queries.map(([fields]) => ({ topic: "t", ...fields }) as never),
      ...[-1n, -(2n ** 63n), 2n ** 63n - 1n].map((timestampMs) => ({
        ...{ topic: "t", spec: 4, timestampMs },
      })),
    ],
  });
  const { results } = await site.channel.unary(listOffsets, request);
  for (const [i, [, code]] of queries.entries()) checkClear(results[i]?.error, code);
  const times = results.slice(queries.length).map(({ offset, error }) => [offset, error]);
  assert.deepEqual(times, [
    [4n, undefined],
    [4n, undefined],
    [undefined, undefined],
  ]);
  const unknown = create(ListOffsetsRequestSchema, { isolation: 9 as never });
  await assert.rejects(site.channel.unary(listOffsets, unknown), isClear(INVALID_REQUEST));
});

test("DeleteRecords beyond the end deletes nothing", async () => {
  const partitions = [
    [{ beforeOffset: 11n }, OFFSET_OUT_OF_RANGE],
    [{ beforeOffset: 2n ** 53n }, OFFSET_OUT_OF_RANGE],
    [{ beforeOffset: 2n ** 64n - 1n }, OFFSET_OUT_OF_RANGE],
    [{ topic: "none" }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ topic: "" }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ partition: 2 ** 31 - 1 }, UNKNOWN_TOPIC_OR_PARTITION],
    [{ topicId: Buffer.alloc(15) }, INVALID_REQUEST],
  ] as const;
  const request = create(DeleteRecordsRequestSchema, {
    partitions: partitions.map(([fields]) => ({ topic: "t", ...fields })),
  });
  const { results } = await site.channel.unary(deleteRecords, request);
  for (const [i, [, code]] of partitions.entries()) checkClear(results[i]?.error, code);
  const lower = create(DeleteRecordsRequestSchema, {
    partitions: [{ topic: "t", beforeOffset: 1n }],
  });
  const { results: kept } = await site.channel.unary(deleteRecords, lower);
  assert.equal(kept[0]?.lowWatermark, 4n, "the start never falls");
});

test("calls of more than 10,000 partitions are INVALID_REQUEST", async () => {
  const tooMany = Array.from({ length: 10_001 }, () => ({ topic: "t" }));
  const text = /at most 10000/;
  await assert.rejects(
    site.channel.unary(listOffsets, create(ListOffsetsRequestSchema, { queries: tooMany })),
    isClear(INVALID_REQUEST, text),
  );
  await assert.rejects(
    site.channel.unary(deleteRecords, create(DeleteRecordsRequestSchema, { partitions: tooMany })),
    isClear(INVALID_REQUEST, text),
  );
});

test("there is no metadata of strange names", async () => {
  const names = ["../t", "", "тема", "\u0000", "x".repeat(10_000), "t"];
  const { topics } = await site.channel.unary(
    getMetadata,
    create(GetMetadataRequestSchema, { topics: names }),
  );
  assert.deepEqual(
    topics.map(({ name }) => name),
    ["t"],
  );
});

test("what never comes is told in time: a revision, an opening", { timeout: 30_000 }, async () => {
  const never = create(GetMetadataRequestSchema, { minRevision: 2n ** 64n - 1n });
  const stale = site.channel.unary(getMetadata, never);
  const silent = [site.channel.bidi(fetchRaw), site.channel.bidi(produce)];
  const text = /no opening message within 10000 ms: send one/;
  await Promise.all([
    assert.rejects(stale, isClear(ErrorCode.METADATA_STALE, /retry/)),
    ...silent.map((stream) =>
      assert.rejects(stream.read(), isClear(STREAM_PROTOCOL_VIOLATION, text)),
    ),
  ]);
});
