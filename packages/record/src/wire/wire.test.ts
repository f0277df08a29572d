import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  FetchRequestSchema,
  FetchResponseSchema,
  ProduceRequestSchema,
  ProduceResponseSchema,
} from "@millrace/proto/broker";
import { fetchRequestCodec, fetchResponseCodec } from "./fetch.ts";
import type {
  WireFetchRequest,
  WireFetchResponse,
  WireProduceRequest,
  WireProduceResponse,
} from "./messages.ts";
import { blankProduceRequest, produceRequestCodec, produceResponseCodec } from "./produce.ts";
import { type Dice, errorOf, safe, sameBytes, stored, u32 } from "./testing.ts";

const produceRequest = (dice: Dice): WireProduceRequest => {
  const body = dice.maybe(() => dice.bytes(200));
  return {
    open: dice.maybe(() => ({
      clientId: dice.text(),
      acks: dice.below(5),
      windowBytes: dice.number(safe),
      clusterId: dice.text(),
      requiredFeatures: dice.list(3, () => dice.text()),
    })),
    requestId: dice.number(safe),
    topicId: dice.below(2) === 0 ? Buffer.alloc(0) : dice.bytes(16),
    topic: dice.text(),
    partition: dice.number(u32),
    leaderEpoch: dice.maybe(() => dice.number(u32)),
    body,
    bodyCrc: body === undefined ? undefined : dice.maybe(() => dice.bits()),
    orderEpoch: dice.number(u32),
    expectedEndOffset: dice.maybe(() => dice.number(safe)),
    expectedLastOffsetForKey: dice.maybe(() => dice.number(2 ** 52) - 1),
  };
};

const produceResponse = (dice: Dice): WireProduceResponse => ({
  opened: dice.maybe(() => ({
    windowBytes: dice.number(safe),
    messageBytesMax: dice.number(safe),
    clusterId: dice.text(),
    brokerId: dice.number(u32),
    featureLevel: dice.number(u32),
    producerBatches: dice.number(u32),
  })),
  results: dice.list(4, () => ({
    requestId: dice.number(safe),
    baseOffset: dice.maybe(() => dice.number(safe)),
    appendTimeMs: dice.maybe(() => dice.number(safe)),
    logStartOffset: dice.maybe(() => dice.number(safe)),
    guarantee: dice.below(6),
    duplicate: dice.below(2) === 1,
    error: dice.maybe(() => errorOf(dice)),
    windowBytes: dice.number(safe),
  })),
  drain: dice.maybe(() => ({ graceMs: dice.number(u32), reason: dice.text() })),
});

const fetchRequest = (dice: Dice): WireFetchRequest => ({
  open: dice.maybe(() => ({
    clientId: dice.text(),
    messageBytesMax: dice.number(safe),
    clusterId: dice.text(),
    isolation: dice.below(3),
    requiredFeatures: dice.list(3, () => dice.text()),
  })),
  remove: dice.list(4, () => dice.number(u32)),
  add: dice.list(3, () => ({
    cursorId: dice.number(u32),
    topicId: dice.below(2) === 0 ? Buffer.alloc(0) : dice.bytes(16),
    topic: dice.text(),
    partition: dice.number(u32),
    offset: dice.number(safe),
    leaderEpoch: dice.maybe(() => dice.number(u32)),
    lastFetchedEpoch: dice.maybe(() => dice.number(u32)),
    grantBytes: dice.number(safe),
  })),
  grants: dice.list(4, () => ({ cursorId: dice.number(u32), bytes: dice.number(safe) })),
});

const fetchResponse = (dice: Dice): WireFetchResponse => {
  const batches = dice.list(3, () => stored(dice));
  return {
    opened: dice.maybe(() => ({
      heartbeatIntervalMs: dice.number(u32),
      clusterId: dice.text(),
      brokerId: dice.number(u32),
      cursorsMax: dice.number(u32),
      featureLevel: dice.number(u32),
    })),
    cursorId: dice.maybe(() => dice.number(u32)),
    highWatermark: dice.maybe(() => dice.number(safe)),
    logStartOffset: dice.maybe(() => dice.number(safe)),
    lastStableOffset: dice.maybe(() => dice.number(safe)),
    leaderEpoch: dice.maybe(() => dice.number(u32)),
    nextOffset: dice.maybe(() => dice.number(safe)),
    error: dice.maybe(() => errorOf(dice)),
    drain: dice.maybe(() => ({ graceMs: dice.number(u32), reason: dice.text() })),
    batches: batches.length === 0 ? [] : [Buffer.concat(batches)],
  };
};

sameBytes("ProduceRequest", produceRequestCodec, ProduceRequestSchema, produceRequest);
sameBytes("ProduceResponse", produceResponseCodec, ProduceResponseSchema, produceResponse);
sameBytes("FetchRequest", fetchRequestCodec, FetchRequestSchema, fetchRequest);
sameBytes("FetchResponse", fetchResponseCodec, FetchResponseSchema, fetchResponse);

test("unknown fields of a newer peer are passed over", () => {
  const known = toBinary(ProduceRequestSchema, create(ProduceRequestSchema, { topic: "t" }));
  const unknown = Buffer.from([0xc2, 0x3e, 3, 1, 2, 3, 0xc8, 0x3e, 5]);
  const decoded = produceRequestCodec.decode(Buffer.concat([unknown, known]));
  assert.equal(decoded.topic, "t");
});

test("a last offset of a key beyond all offsets is one that no log has", () => {
  for (const expectedLastOffsetForKey of [2n ** 62n, -(2n ** 63n)]) {
    const message = create(ProduceRequestSchema, { topic: "t", expectedLastOffsetForKey });
    const decoded = produceRequestCodec.decode(toBinary(ProduceRequestSchema, message));
    assert.equal(decoded.expectedLastOffsetForKey, safe);
  }
});

test("an expected end beyond all offsets is one that no log has, not another message", () => {
  const expectedEndOffset = 2n ** 64n - 1n;
  const message = create(ProduceRequestSchema, { topic: "t", expectedEndOffset });
  const decoded = produceRequestCodec.decode(toBinary(ProduceRequestSchema, message));
  assert.equal(decoded.expectedEndOffset, safe);
});

const blankError = {
  ...{ leaderHint: undefined, retryAfterMs: undefined, actualEndOffset: undefined },
  actualLastOffsetForKey: undefined,
  ...{ retriable: false, refreshMetadata: false, sideEffects: false },
};

/** Golden messages: what is on the wire may never change. */
const golden: readonly [string, () => Uint8Array, string][] = [
  [
    "ProduceRequest",
    () =>
      produceRequestCodec.encode({
        open: undefined,
        requestId: 7,
        topicId: Buffer.alloc(16, 1),
        topic: "",
        partition: 3,
        leaderEpoch: 0,
        body: Buffer.from("body"),
        bodyCrc: 0x01020304,
        orderEpoch: 0,
        expectedEndOffset: undefined,
        expectedLastOffsetForKey: undefined,
      }),
    "10071a1001010101010101010101010101010101280330007a0b2d040302013204626f6479",
  ],
  [
    "ProduceRequest with an expected end offset",
    () =>
      produceRequestCodec.encode({
        ...blankProduceRequest,
        requestId: 7,
        topic: "t",
        body: Buffer.from("body"),
        expectedEndOffset: 0,
      }),
    "100722017440007a063204626f6479",
  ],
  [
    "ProduceRequest that expects no record of its key",
    () =>
      produceRequestCodec.encode({
        ...blankProduceRequest,
        requestId: 7,
        topic: "t",
        body: Buffer.from("body"),
        expectedLastOffsetForKey: -1,
      }),
    "100722017448017a063204626f6479",
  ],
  [
    "ProduceRequest with an expected last offset of its key",
    () =>
      produceRequestCodec.encode({
        ...blankProduceRequest,
        requestId: 7,
        expectedLastOffsetForKey: 300,
      }),
    "100748d804",
  ],
  [
    "ProduceResponse",
    () =>
      produceResponseCodec.encode({
        opened: undefined,
        drain: undefined,
        results: [
          {
            requestId: 7,
            baseOffset: 0,
            appendTimeMs: 1000,
            logStartOffset: undefined,
            guarantee: 1,
            duplicate: false,
            error: undefined,
            windowBytes: 300,
          },
        ],
      }),
    "120c0807100018e807280140ac02",
  ],
  [
    "ProduceResponse with an error",
    () =>
      produceResponseCodec.encode({
        opened: undefined,
        drain: undefined,
        results: [
          {
            requestId: 7,
            baseOffset: undefined,
            appendTimeMs: undefined,
            logStartOffset: undefined,
            guarantee: 0,
            duplicate: false,
            error: {
              code: 300,
              message: "m",
              leaderHint: {
                brokerId: 2,
                leaderEpoch: 3,
                endpoint: { host: "h", port: 7400, listener: "l", tls: true, authority: "a" },
                metadataRevision: 9,
              },
              retryAfterMs: 0,
              retriable: true,
              refreshMetadata: true,
              sideEffects: true,
              actualEndOffset: undefined,
              actualLastOffsetForKey: undefined,
            },
            windowBytes: 0,
          },
        ],
      }),
    "122a08073a2608ac0212016d1a16080210031a0e0a016810e8391a016c20012a016120092000280130013801",
  ],
  [
    "ProduceResponse with the end of a log",
    () =>
      produceResponseCodec.encode({
        opened: undefined,
        drain: undefined,
        results: [
          {
            requestId: 7,
            baseOffset: undefined,
            appendTimeMs: undefined,
            logStartOffset: undefined,
            guarantee: 0,
            duplicate: false,
            error: { ...blankError, code: 49, message: "m", actualEndOffset: 300 },
            windowBytes: 0,
          },
        ],
      }),
    "120c08073a08083112016d40ac02",
  ],
  [
    "ProduceResponse with the last offset of a key",
    () =>
      produceResponseCodec.encode({
        opened: undefined,
        drain: undefined,
        results: [
          {
            requestId: 7,
            baseOffset: undefined,
            appendTimeMs: undefined,
            logStartOffset: undefined,
            guarantee: 0,
            duplicate: false,
            error: { ...blankError, code: 68, message: "m", actualLastOffsetForKey: -1 },
            windowBytes: 0,
          },
        ],
      }),
    "120b08073a07084412016d4801",
  ],
  [
    "FetchRequest",
    () =>
      fetchRequestCodec.encode({
        open: undefined,
        remove: [1, 300],
        add: [],
        grants: [{ cursorId: 2, bytes: 65536 }],
      }),
    "120301ac022206080210808004",
  ],
  [
    "FetchResponse",
    () =>
      fetchResponseCodec.encode({
        opened: undefined,
        cursorId: 2,
        highWatermark: 9,
        logStartOffset: 0,
        lastStableOffset: undefined,
        leaderEpoch: undefined,
        nextOffset: 9,
        error: undefined,
        drain: undefined,
        batches: [],
      }),
    "1002180920003809",
  ],
];

for (const [name, encode, hex] of golden) {
  test(`golden bytes of ${name}`, () => {
    assert.equal(Buffer.from(encode()).toString("hex"), hex);
  });
}

test("an opening that comes in many pieces is decoded in no time", () => {
  // Field 1: an opening with 10,000 names of one letter; then 400,000 empty ones that add to it.
  const names = Buffer.alloc(30_000, Buffer.from([0x2a, 0x01, 0x61]));
  const empty = Buffer.alloc(800_000, Buffer.from([0x0a, 0x00]));
  const pieces = Buffer.concat([Buffer.from([0x0a, 0xb0, 0xea, 0x01]), names, empty]);
  for (const codec of [fetchRequestCodec, produceRequestCodec]) {
    const before = process.cpuUsage();
    assert.equal(codec.decode(pieces).open?.requiredFeatures.length, 10_000);
    const { user } = process.cpuUsage(before);
    assert.ok(user < 1_000_000, `${user / 1000} ms`);
  }
});
