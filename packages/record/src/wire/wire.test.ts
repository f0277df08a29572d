import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import {
  FetchRequestSchema,
  FetchResponseSchema,
  ProduceRequestSchema,
  ProduceResponseSchema,
} from "@millrace/proto/broker";
import { encodeStoredPrefix } from "../batch.ts";
import { fetchRequestCodec, fetchResponseCodec } from "./fetch.ts";
import type {
  WireFetchRequest,
  WireFetchResponse,
  WirePartitionError,
  WireProduceRequest,
  WireProduceResponse,
} from "./messages.ts";
import { produceRequestCodec, produceResponseCodec } from "./produce.ts";

/** Messages of each kind: over a million in all. */
const rounds = Number(process.env["MILLRACE_CODEC_MESSAGES"] ?? 260_000);

/** A small seeded generator: the same messages in every run. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  bits(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  below(bound: number): number {
    return this.bits() % bound;
  }

  /** Small, large and boundary values alike. */
  number(max: number): number {
    const kind = this.below(5);
    if (kind === 0) return 0;
    if (kind === 1) return this.below(Math.min(max, 300) + 1);
    if (kind === 2) return max;
    if (kind === 3) return Math.min(max, 2 ** this.below(53) - 1);
    return Math.floor((this.bits() / 2 ** 32) * max);
  }

  maybe<T>(make: () => T): T | undefined {
    return this.below(2) === 0 ? undefined : make();
  }

  bytes(lengthMax: number): Buffer {
    const bytes = Buffer.alloc(this.below(lengthMax + 1));
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = this.bits();
    return bytes;
  }

  text(): string {
    const texts = ["", "t", "events.v1", "müll", "a".repeat(130), "日本語"];
    return texts[this.below(texts.length)] ?? "";
  }

  list<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.below(max + 1) }, make);
  }
}

const u32 = 0xffff_ffff;
const safe = Number.MAX_SAFE_INTEGER;

const errorOf = (dice: Dice): WirePartitionError => ({
  code: dice.below(40),
  message: dice.text(),
  retryAfterMs: dice.maybe(() => dice.number(u32)),
  retriable: dice.below(2) === 1,
  refreshMetadata: dice.below(2) === 1,
  sideEffects: dice.below(2) === 1,
  leaderHint: dice.maybe(() => ({
    brokerId: dice.number(u32),
    leaderEpoch: dice.number(u32),
    endpoint: dice.maybe(() => ({
      host: dice.text(),
      port: dice.number(65_535),
      listener: dice.text(),
      tls: dice.below(2) === 1,
      authority: dice.text(),
    })),
    metadataRevision: dice.number(safe),
  })),
});

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
  };
};

const produceResponse = (dice: Dice): WireProduceResponse => ({
  opened: dice.maybe(() => ({
    windowBytes: dice.number(safe),
    messageBytesMax: dice.number(safe),
    clusterId: dice.text(),
    brokerId: dice.number(u32),
    featureLevel: dice.number(u32),
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

const stored = (dice: Dice): Buffer => {
  const body = dice.bytes(300);
  const fields = {
    baseOffset: dice.number(safe),
    leaderEpoch: dice.number(u32),
    appendTimeMs: dice.number(safe),
    bodyCrc: dice.bits(),
  };
  return Buffer.concat([encodeStoredPrefix(fields, body.length), body]);
};

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

interface WireCodec<T> {
  encode(message: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/**
 * hand encode → generated decode → generated encode must give the same bytes; and the hand decoder
 * the same message.
 */
const sameBytes = <T, D extends DescMessage>(
  name: string,
  codec: WireCodec<T>,
  schema: D,
  make: (dice: Dice) => T,
): void => {
  test(`${name}: ${rounds} random messages, byte for byte as the generated code`, () => {
    const dice = new Dice(0x2545f491);
    for (let i = 0; i < rounds; i += 1) {
      const message = make(dice);
      const hand = Buffer.from(codec.encode(message));
      const parsed: MessageShape<D> = fromBinary(schema, hand);
      assert.equal(parsed.$unknown, undefined);
      const generated = toBinary(schema, parsed);
      if (Buffer.compare(hand, generated) !== 0) {
        assert.fail(
          `message ${i}: ${hand.toString("hex")} is not ${Buffer.from(generated).toString("hex")}`,
        );
      }
      const again = Buffer.from(codec.encode(codec.decode(generated)));
      if (Buffer.compare(hand, again) !== 0) assert.fail(`message ${i} is decoded wrongly`);
    }
  });

  test(`${name}: damaged bytes are refused with a clear error, or read as something`, () => {
    const dice = new Dice(0x9e3779b9);
    for (let i = 0; i < Math.min(rounds, 50_000); i += 1) {
      const bytes = Buffer.from(codec.encode(make(dice)));
      for (let flips = 1 + dice.below(4); flips > 0 && bytes.length > 0; flips -= 1) {
        bytes[dice.below(bytes.length)] = dice.below(256);
      }
      const cut = bytes.subarray(
        0,
        dice.below(2) === 0 ? bytes.length : dice.below(bytes.length + 1),
      );
      try {
        codec.decode(cut);
      } catch (thrown) {
        assert.ok(thrown instanceof MillraceError, String(thrown));
      }
    }
  });
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
      }),
    "10071a1001010101010101010101010101010101280330007a0b2d040302013204626f6479",
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
            },
            windowBytes: 0,
          },
        ],
      }),
    "122a08073a2608ac0212016d1a16080210031a0e0a016810e8391a016c20012a016120092000280130013801",
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
  // Field 1: an opening with 10,000 names of one letter; then 45,000 empty ones that add to it.
  const names = Buffer.alloc(30_000, Buffer.from([0x2a, 0x01, 0x61]));
  const empty = Buffer.alloc(90_000, Buffer.from([0x0a, 0x00]));
  const pieces = Buffer.concat([Buffer.from([0x0a, 0xb0, 0xea, 0x01]), names, empty]);
  for (const codec of [fetchRequestCodec, produceRequestCodec]) {
    const before = process.cpuUsage();
    assert.equal(codec.decode(pieces).open?.requiredFeatures.length, 10_000);
    const { user } = process.cpuUsage(before);
    assert.ok(user < 300_000, `${user / 1000} ms`);
  }
});
