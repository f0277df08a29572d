/** Appends that expect where the log ends, by what the .proto says alone, over real sockets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { ProduceOnceRequestSchema, ProduceService } from "@millrace/proto/broker";
import { BatchBuilder, type WireProduceResult } from "@millrace/record";
import { methodOf } from "@millrace/rpc";
import { badInputSite, blank, bodyOf, checkClear, open, produce } from "./bad-input.ts";

const produceOnce = methodOf(ProduceService.method.produceOnce);
const site = badInputSite(
  { "once-0": 1n, "stream-0": 4n, "sequences-0": 3n, "t-0": 10n, "t-1": 0n },
  { topics: ["once", "stream", "sequences"] },
);

/** Requests of one partition, sent together on a stream that requires the feature; by request. */
const results = async (
  topic: string,
  requests: readonly { body: Buffer; expectedEndOffset?: number; orderEpoch?: number }[],
  acks = 0,
): Promise<(WireProduceResult | undefined)[]> => {
  const stream = site.channel.bidi(produce);
  stream.write({ ...blank, open: { ...open, acks, requiredFeatures: ["conditional-append"] } });
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

/** What is known of a result, short. */
const said = (result: WireProduceResult | undefined): string => {
  const { error, baseOffset, duplicate } = result ?? {};
  if (error === undefined) return duplicate === true ? `again ${baseOffset}` : `at ${baseOffset}`;
  return [ErrorCode[error.code], error.actualEndOffset].filter((x) => x !== undefined).join(" ");
};

test("a stream appends where the writer expects, or says where the log ends", async () => {
  const [first, rival, , late] = await results("stream", [
    { body: bodyOf("a"), expectedEndOffset: 0 },
    { body: bodyOf("b"), expectedEndOffset: 0 },
    { body: bodyOf("c") },
    { body: bodyOf("d"), expectedEndOffset: 2 },
  ]);
  assert.deepEqual([said(first), said(late)], ["at 0", "at 2"]);
  assert.equal(said(rival), "END_OFFSET_MISMATCH 1");
  checkClear(rival?.error, ErrorCode.END_OFFSET_MISMATCH, /ends at offset 1, the append expects 0/);
  const { retriable, refreshMetadata, sideEffects } = rival?.error ?? {};
  assert.deepEqual([retriable, refreshMetadata, sideEffects], [false, false, false]);
});

test("requests in a row expect each the end that the one before makes, and fail behind one that fails", async () => {
  const orderEpoch = 1;
  const row = await results("stream", [
    { body: bodyOf("e"), expectedEndOffset: 3, orderEpoch },
    { body: bodyOf("f"), expectedEndOffset: 3, orderEpoch },
    { body: bodyOf("g"), expectedEndOffset: 4, orderEpoch },
  ]);
  const refused = "PRECEDING_REQUEST_FAILED";
  assert.deepEqual(row.map(said), ["at 3", "END_OFFSET_MISMATCH 4", refused]);
});

test("a batch that comes again is recognised, although the end has moved", async () => {
  const bodyWith = (baseSequence: number, value: string): Buffer => {
    const builder = new BatchBuilder();
    builder.append({ value: Buffer.from(value), timestampMs: Date.now() });
    return builder.finishPlain({ producerId: 12, producerEpoch: 0, baseSequence });
  };
  const [first, second] = [bodyWith(0, "a"), bodyWith(1, "b")];
  const { length } = await results("sequences", [{ body: first, expectedEndOffset: 0 }]);
  assert.equal(length, 1);
  const again = await results("sequences", [
    { body: bodyOf("another writer's") },
    { body: first, expectedEndOffset: 0 },
    { body: second, expectedEndOffset: 1 },
    { body: second, expectedEndOffset: 2 },
    { body: first, expectedEndOffset: 9 },
  ]);
  assert.deepEqual(again.map(said), [
    "at 1",
    "again 0",
    "END_OFFSET_MISMATCH 2",
    "at 2",
    "again 0",
  ]);
});

test("what a leader acknowledges alone cannot be expected anywhere", async () => {
  for (const acks of [2, 3]) {
    const [refused] = await results("stream", [{ body: bodyOf("x"), expectedEndOffset: 4 }], acks);
    checkClear(refused?.error, ErrorCode.INVALID_REQUEST, /needs acks all, not (leader|none)/);
  }
});

test("ProduceOnce does the same, and its status says where the log ends", async () => {
  const records = [{ value: Buffer.from("v") }];
  const once = (fields: { expectedEndOffset: bigint; acks?: number }) =>
    site.channel.unary(
      produceOnce,
      create(ProduceOnceRequestSchema, { topic: "once", records, ...fields }),
    );
  assert.equal((await once({ expectedEndOffset: 0n })).baseOffset, 0n);
  for (const expectedEndOffset of [0n, 2n, 2n ** 53n, 2n ** 64n - 1n]) {
    await assert.rejects(once({ expectedEndOffset }), (thrown) => {
      const error = MillraceError.from(thrown);
      checkClear(error, ErrorCode.END_OFFSET_MISMATCH);
      assert.deepEqual([error.actualEndOffset, error.facts?.["actual_end_offset"]], [1n, "1"]);
      return true;
    });
  }
  await assert.rejects(once({ expectedEndOffset: 1n, acks: 2 }), (thrown) =>
    hasCode(thrown, ErrorCode.INVALID_REQUEST),
  );
});
