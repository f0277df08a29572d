/**
 * What clients may send that is wrong, at the gRPC level: a clear error, and the server goes on.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, errorSpec, hasCode, MillraceError } from "@millrace/errors";
import {
  FetchOnceRequestSchema,
  FetchService,
  ListOffsetsRequestSchema,
  LogService,
  ProduceOnceRequestSchema,
  ProduceService,
} from "@millrace/proto/broker";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { crcOf, encodeBody, type WireProduceRequest } from "@millrace/record";
import { methodOf, wireMethodOf } from "@millrace/rpc";
import { badInputSite, blank, bodyOf, fetch, open, produce } from "./bad-input.ts";

const produceOnce = methodOf(ProduceService.method.produceOnce);
const fetchOnce = methodOf(FetchService.method.fetchOnce);
const listOffsets = methodOf(LogService.method.listOffsets);

// Of all that is sent here it takes the good batches alone.
const site = badInputSite({ "t-0": 14n, "t-1": 0n });

/** The in-band error of one request on a good stream. */
const resultOf = async (request: Partial<WireProduceRequest>): Promise<number> => {
  const stream = site.channel.bidi(produce);
  stream.write({ ...blank, open });
  await stream.read();
  stream.write({ ...blank, requestId: 5, body: bodyOf("x"), ...request });
  stream.end();
  const reply = await stream.read();
  assert.equal(reply?.results[0]?.requestId, request.requestId ?? 5);
  assert.equal(await stream.read(), undefined);
  return reply?.results[0]?.error?.code ?? ErrorCode.UNSPECIFIED;
};

const lyingCount = encodeBody(
  { compression: "none", recordCount: 3, baseTimestampMs: 1, maxTimestampMs: 1 },
  Buffer.from("0a021801", "hex"),
);

const inBand: readonly [string, Partial<WireProduceRequest>, ErrorCode][] = [
  ["a good batch", {}, ErrorCode.UNSPECIFIED],
  ["an unknown topic", { topic: "none" }, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
  [
    "a topic name of control characters",
    { topic: "\u0000\n" },
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  ],
  ["an unknown partition", { partition: 2 }, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
  ["an unknown topic id", { topicId: Buffer.alloc(16, 9) }, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
  ["a topic id of 5 bytes", { topicId: Buffer.alloc(5) }, ErrorCode.INVALID_REQUEST],
  ["a newer leader epoch", { leaderEpoch: 99 }, ErrorCode.UNKNOWN_LEADER_EPOCH],
  ["an older leader epoch", { leaderEpoch: 0 }, ErrorCode.FENCED_LEADER_EPOCH],
  ["a wrong CRC", { bodyCrc: 1 }, ErrorCode.CORRUPT_MESSAGE],
  ["an empty body", { body: Buffer.alloc(0) }, ErrorCode.INVALID_RECORD],
  ["random bytes", { body: Buffer.from("no protobuf, this") }, ErrorCode.CORRUPT_MESSAGE],
  ["a count that lies", { body: lyingCount, bodyCrc: crcOf(lyingCount) }, ErrorCode.INVALID_RECORD],
  [
    "a batch above max.message.bytes",
    { body: bodyOf("x".repeat(3000)) },
    ErrorCode.MESSAGE_TOO_LARGE,
  ],
  ["a time of next year", { body: bodyOf("x", Date.now() + 3e10) }, ErrorCode.INVALID_TIMESTAMP],
];

for (const [what, request, code] of inBand) {
  test(`produce: ${what} is ${errorSpec(code).name}, in band`, async () => {
    assert.equal(await resultOf(request), code);
  });
}

const violations: readonly [string, readonly Partial<WireProduceRequest>[]][] = [
  ["no opening", [{ body: bodyOf("x") }]],
  ["two openings", [{ open }, { open }]],
  ["a request without a batch", [{ open }, { requestId: 1 }]],
  ["an opening with a batch", [{ open, body: bodyOf("x") }]],
];

for (const [what, messages] of violations) {
  test(`produce: ${what} ends the stream with STREAM_PROTOCOL_VIOLATION`, async () => {
    const stream = site.channel.bidi(produce);
    for (const message of messages) stream.write({ ...blank, ...message });
    await assert.rejects(
      async () => {
        while ((await stream.read()) !== undefined);
        throw new Error("the stream ended well");
      },
      (thrown) => hasCode(thrown, ErrorCode.STREAM_PROTOCOL_VIOLATION),
    );
  });
}

test("produce: what follows a failure in the same order epoch is refused, and a higher one goes on", async () => {
  const stream = site.channel.bidi(produce);
  const send = (requestId: number, partition: number, orderEpoch: number, body: Buffer): void => {
    stream.write({ ...blank, requestId, partition, orderEpoch, body });
  };
  stream.write({ ...blank, open });
  send(1, 0, 1, bodyOf("a"));
  send(2, 0, 1, Buffer.from("no batch"));
  send(3, 0, 1, bodyOf("b"));
  send(4, 0, 2, bodyOf("c"));
  send(5, 0, 1, bodyOf("d"));
  send(6, 0, 0, bodyOf("e"));
  const codes = new Map<number, string>();
  while (codes.size < 6) {
    const message = await stream.read();
    for (const { requestId, error } of message?.results ?? []) {
      codes.set(requestId, error === undefined ? "ok" : (ErrorCode[error.code] ?? ""));
    }
  }
  const refused = "PRECEDING_REQUEST_FAILED";
  const outcomes = [1, 2, 3, 4, 5, 6].map((id) => codes.get(id));
  assert.deepEqual(outcomes, ["ok", "CORRUPT_MESSAGE", refused, "ok", refused, "ok"]);
  stream.cancel();
});

test("produce: another cluster's id is CLUSTER_ID_MISMATCH", async () => {
  const stream = site.channel.bidi(produce);
  stream.write({ ...blank, open: { ...open, clusterId: "another" } });
  await assert.rejects(stream.read(), (thrown) => hasCode(thrown, ErrorCode.CLUSTER_ID_MISMATCH));
});

test("produce: bytes that are no message end the call, not the server", async () => {
  const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes };
  const stream = site.channel.bidi(
    wireMethodOf(ProduceService.method.produce, { input: raw, output: raw }),
  );
  stream.write(Buffer.from([0xff, 0xff, 0xff, 0x01, 0x02]));
  await assert.rejects(stream.read(), MillraceError);
});

test("ProduceOnce refuses what makes no sense", async () => {
  const records = [{ value: Buffer.from("x") }];
  const batch = { body: bodyOf("x") };
  const cases = [
    [{ topic: "t" }, ErrorCode.INVALID_REQUEST],
    [{ topic: "t", records, batch }, ErrorCode.INVALID_REQUEST],
    [{ topic: "t", records, acks: 77 }, ErrorCode.INVALID_REQUEST],
    [{ topic: "", records }, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
    [{ topic: "t", records, clientId: "x".repeat(300) }, ErrorCode.INVALID_REQUEST],
  ] as const;
  for (const [fields, code] of cases) {
    const request = create(ProduceOnceRequestSchema, fields as never);
    await assert.rejects(site.channel.unary(produceOnce, request), (thrown) =>
      hasCode(thrown, code),
    );
  }
});

test("a stream that requires an unknown feature is refused, before anything else is looked at", async () => {
  const isUnsupported = (thrown: unknown): boolean =>
    hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION) &&
    /no feature "time-travel"/.test(thrown.message);
  // All of it is wrong, but what it is about may look different where the feature is known.
  const wrong = { clientId: "x".repeat(300), clusterId: "another" };
  const requiredFeatures = ["time-travel", "another"];
  const produces = site.channel.bidi(produce);
  const opening = { ...open, ...wrong, acks: 99, requiredFeatures };
  produces.write({ ...blank, open: opening, body: bodyOf("x") });
  await assert.rejects(produces.read(), isUnsupported);
  const fetches = site.channel.bidi(fetch);
  fetches.write({
    ...{ remove: [], add: [], grants: [] },
    open: { ...wrong, messageBytesMax: 0, isolation: 99, requiredFeatures },
  });
  await assert.rejects(fetches.read(), isUnsupported);
});

test("both streams and the metadata tell the feature level", async () => {
  const produces = site.channel.bidi(produce);
  produces.write({ ...blank, open });
  assert.equal((await produces.read())?.opened?.featureLevel, 4);
  produces.cancel();
  const fetches = site.channel.bidi(fetch);
  const opening = { clientId: "", messageBytesMax: 0, clusterId: "", isolation: 0 };
  fetches.write({
    ...{ remove: [], add: [], grants: [] },
    open: { ...opening, requiredFeatures: [] },
  });
  assert.equal((await fetches.read())?.opened?.featureLevel, 4);
  fetches.cancel();
  const getMetadata = methodOf(MetadataService.method.getMetadata);
  const answer = await site.channel.unary(getMetadata, create(GetMetadataRequestSchema));
  assert.equal(answer.featureLevel, 4);
});

test("fetch before the start or past the end is OFFSET_OUT_OF_RANGE", async () => {
  for (const offset of [0n, 3n, 5000n, 2n ** 63n]) {
    const request = create(FetchOnceRequestSchema, { topic: "t", offset });
    await assert.rejects(site.channel.unary(fetchOnce, request), (thrown) =>
      hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE),
    );
  }
  const stream = site.channel.bidi(fetch);
  const cursor = {
    topicId: new Uint8Array(0),
    topic: "t",
    partition: 0,
    leaderEpoch: undefined,
    lastFetchedEpoch: undefined,
    grantBytes: 1000,
  };
  stream.write({
    open: { clientId: "", messageBytesMax: 0, clusterId: "", isolation: 0, requiredFeatures: [] },
    remove: [],
    add: [
      { ...cursor, cursorId: 1, offset: 1 },
      { ...cursor, cursorId: 2, offset: 4 },
      { ...cursor, cursorId: 3, offset: 0, topic: "none" },
    ],
    grants: [],
  });
  const seen = new Map<number, string>();
  while (seen.size < 3) {
    const message = await stream.read();
    if (message?.cursorId === undefined) continue;
    const { error } = message;
    if (error !== undefined) seen.set(message.cursorId, errorSpec(error.code).name);
    else if (message.batches.length > 0) seen.set(message.cursorId, "data");
  }
  stream.cancel();
  assert.deepEqual(
    [seen.get(1), seen.get(2), seen.get(3)],
    ["OFFSET_OUT_OF_RANGE", "data", "UNKNOWN_TOPIC_OR_PARTITION"],
  );
});

test("ListOffsets answers per partition", async () => {
  const request = create(ListOffsetsRequestSchema, {
    queries: [
      { topic: "t", partition: 0, spec: 1 },
      { topic: "t", partition: 7, spec: 1 },
      { topic: "t", partition: 0, spec: 99 as never },
    ],
  });
  const { results } = await site.channel.unary(listOffsets, request);
  assert.equal(results[0]?.offset, 4n);
  assert.equal(results[1]?.error?.code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  assert.equal(results[2]?.error?.code, ErrorCode.INVALID_REQUEST);
});
