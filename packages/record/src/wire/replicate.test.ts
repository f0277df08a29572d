import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type Message,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  ReplicaAppendSchema,
  ReplicaDivergenceSchema,
  ReplicaDurableSchema,
  ReplicaRefusalSchema,
  ReplicaSubscriptionSchema,
  ReplicateOpenedSchema,
  ReplicateOpenSchema,
  ReplicateRequestSchema,
  ReplicateResponseSchema,
} from "@millrace/proto/broker";
import { ELEMENTS_MAX, SUBSCRIPTION_ELEMENTS_MAX } from "./common.ts";
import {
  blankReplicateRequest,
  blankReplicateResponse,
  replicateRequestCodec,
  replicateResponseCodec,
} from "./replicate.ts";
import type {
  WireReplicaAppend,
  WireReplicaRefusal,
  WireReplicateRequest,
  WireReplicateResponse,
} from "./replicate-messages.ts";
import { Dice, errorOf, safe, sameBytes, stored, u32, type WireCodec } from "./testing.ts";

const requestOf = (dice: Dice): WireReplicateRequest => ({
  open: dice.maybe(() => ({
    clusterId: dice.text(),
    brokerId: dice.number(u32),
    brokerEpoch: dice.number(safe),
    leaderBrokerId: dice.number(u32),
    windowBytes: dice.number(safe),
    requiredFeatures: dice.list(3, () => dice.text()),
  })),
  unsubscribe: dice.list(4, () => dice.number(u32)),
  subscribe: dice.list(3, () => ({
    subscriptionId: dice.number(u32),
    topicId: dice.below(4) === 0 ? Buffer.alloc(0) : dice.bytes(16),
    partition: dice.number(u32),
    leaderEpoch: dice.number(u32),
    logEndOffset: dice.number(safe),
    lastEpoch: dice.maybe(() => dice.number(u32)),
  })),
  durable: dice.list(4, () => ({
    subscriptionId: dice.number(u32),
    durableEndOffset: dice.number(safe),
  })),
  windowBytes: dice.number(safe),
});

const refusalOf = (dice: Dice): WireReplicaRefusal => ({
  subscriptionId: dice.number(u32),
  error: dice.maybe(() => errorOf(dice)),
});

const responseOf = (dice: Dice): WireReplicateResponse => ({
  opened: dice.maybe(() => ({
    windowBytes: dice.number(safe),
    heartbeatIntervalMs: dice.number(u32),
    brokerEpoch: dice.number(safe),
    featureLevel: dice.number(u32),
  })),
  appends: dice.list(3, () => ({
    subscriptionId: dice.number(u32),
    highWatermark: dice.number(safe),
    logStartOffset: dice.number(safe),
    batches: dice.list(3, () => stored(dice)),
  })),
  diverge: dice.list(2, () => ({
    subscriptionId: dice.number(u32),
    leaderEpoch: dice.number(u32),
    endOffset: dice.number(safe),
    logStartOffset: dice.number(safe),
  })),
  refuse: dice.list(2, () => refusalOf(dice)),
});

sameBytes("ReplicateRequest", replicateRequestCodec, ReplicateRequestSchema, requestOf);
sameBytes("ReplicateResponse", replicateResponseCodec, ReplicateResponseSchema, responseOf);

/** Messages of the tests below, which need fewer. */
const someMessages = 5_000;

/** A length-delimited field. */
const fieldOf = (field: number, content: Uint8Array): Buffer =>
  Buffer.concat([tagOf(field, 2), varintOf(BigInt(content.length)), content]);

const varintOf = (value: bigint): Buffer => {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
};

const tagOf = (field: number, wireType: number): Buffer => varintOf(BigInt(field * 8 + wireType));

const appendOf = (batches: readonly Uint8Array[], subscriptionId = 1): WireReplicaAppend => ({
  subscriptionId,
  highWatermark: 0,
  logStartOffset: 0,
  batches,
});

const decodedAs = <T>(codec: WireCodec<T>, schema: DescMessage, bytes: Uint8Array): void => {
  const hand = Buffer.from(codec.encode(codec.decode(bytes)));
  const generated = toBinary(schema, fromBinary(schema, bytes, { readUnknownFields: false }));
  assert.equal(hand.toString("hex"), Buffer.from(generated).toString("hex"));
};

/** The values of a field of a plain object, as the generated code has them. */
const valuesOf = (field: DescField, value: unknown): unknown[] => {
  const { message } = field;
  if (message === undefined)
    return [field.scalar === ScalarType.UINT64 ? BigInt(Number(value)) : value];
  if (value instanceof Uint8Array) return fromBinary(ReplicaAppendSchema, value).batches;
  return [generatedOf(message, value)];
};

/** The generated message that has the fields of a plain object, by their names. */
const generatedOf = (schema: DescMessage, plain: unknown): Message => {
  const given = new Map<string, unknown>(Object.entries(plain ?? {}));
  const fields = schema.fields.flatMap((field) => {
    const value = given.get(field.localName);
    if (value === undefined) return [];
    if (Array.isArray(value))
      return [[field.localName, value.flatMap((one) => valuesOf(field, one))]];
    return [[field.localName, valuesOf(field, value)[0]]];
  });
  return create(schema, Object.fromEntries(fields));
};

test("every field is written and read under its name", () => {
  const dice = new Dice(0x13579b);
  const check = <T>(codec: WireCodec<T>, schema: DescMessage, message: T): void => {
    const generated = Buffer.from(toBinary(schema, generatedOf(schema, message)));
    assert.equal(Buffer.from(codec.encode(message)).toString("hex"), generated.toString("hex"));
    const decoded = generatedOf(schema, codec.decode(generated));
    assert.ok(generated.equals(toBinary(schema, decoded)), generated.toString("hex"));
  };
  for (let i = 0; i < someMessages; i += 1) {
    check(replicateRequestCodec, ReplicateRequestSchema, requestOf(dice));
    check(replicateResponseCodec, ReplicateResponseSchema, responseOf(dice));
  }
});

test("parts are the encoded message, with the batches as they are", () => {
  const dice = new Dice(0x1234567);
  for (let i = 0; i < someMessages; i += 1) {
    const message = responseOf(dice);
    const parts = replicateResponseCodec.parts(message);
    assert.ok(Buffer.concat(parts).equals(replicateResponseCodec.encode(message)), `message ${i}`);
    const chunks = message.appends.flatMap(({ batches }) => batches);
    const spliced = parts.filter((part) => chunks.some((chunk) => chunk === part));
    assert.equal(spliced.length, chunks.length, `message ${i} copies batches`);
    assert.ok(spliced.every((part, at) => part === chunks[at]));
  }
});

test("the length of an append counts its batches, at every length of the length", () => {
  for (const edge of [2 ** 7, 2 ** 14, 2 ** 21]) {
    for (let bytes = edge - 60; bytes < edge + 8; bytes += 1) {
      // One field 6 of a RecordBatch: its body.
      const batch = fieldOf(15, fieldOf(6, Buffer.alloc(bytes)));
      const message = {
        ...blankReplicateResponse,
        appends: [appendOf([batch]), appendOf([]), appendOf([batch, batch], 2)],
      };
      const hand = Buffer.from(replicateResponseCodec.encode(message));
      const decoded = fromBinary(ReplicateResponseSchema, hand);
      assert.deepEqual(
        decoded.appends.map(
          ({ subscriptionId, batches }) => `${subscriptionId}: ${batches.length}`,
        ),
        ["1: 1", "1: 0", "2: 2"],
      );
      assert.ok(hand.equals(toBinary(ReplicateResponseSchema, decoded)));
    }
  }
});

test("a batch at the end of its append ends there, whatever follows the append", () => {
  const batch = stored(new Dice(7));
  // A field 15 of the response, which this version does not know, looks like one more batch.
  const bytes = Buffer.concat([fieldOf(2, batch), fieldOf(15, Buffer.from([8, 1])), batch]);
  const { appends } = replicateResponseCodec.decode(bytes);
  assert.deepEqual(appends, [{ ...appendOf([batch]), subscriptionId: 0 }]);
});

test("a batch that another field follows ends before it", () => {
  const [first, second, third] = [1, 2, 3].map((seed) => stored(new Dice(seed)));
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  const highWatermark = Buffer.from([16, 9]);
  const append = Buffer.concat([first, second, highWatermark, third]);
  const decoded = replicateResponseCodec.decode(fieldOf(2, append));
  const batches = [Buffer.concat([first, second]), third];
  const expected = { ...appendOf(batches), subscriptionId: 0, highWatermark: 9 };
  assert.deepEqual(decoded.appends, [expected]);
  decodedAs(replicateResponseCodec, ReplicateResponseSchema, fieldOf(2, append));
});

test("a batch that is longer than its append is refused, though the message goes on", () => {
  const append = Buffer.from([8, 1, 0x7a, 5, 1, 2]);
  const bytes = Buffer.concat([fieldOf(2, append), fieldOf(100, Buffer.alloc(50))]);
  refused(replicateResponseCodec, bytes, /ends inside a field/);
});

test("repeated sub-messages are merged, lists are joined, as protobuf says", () => {
  const dice = new Dice(0x777);
  for (let i = 0; i < someMessages; i += 1) {
    const requests = [requestOf(dice), requestOf(dice)].map(replicateRequestCodec.encode);
    decodedAs(replicateRequestCodec, ReplicateRequestSchema, Buffer.concat(requests));
    const responses = [responseOf(dice), responseOf(dice)].map(replicateResponseCodec.encode);
    decodedAs(replicateResponseCodec, ReplicateResponseSchema, Buffer.concat(responses));
    const refusals = [refusalOf(dice), refusalOf(dice)].map((refusal) =>
      withoutHeader(
        replicateResponseCodec.encode({ ...blankReplicateResponse, refuse: [refusal] }),
      ),
    );
    const twice = fieldOf(4, Buffer.concat(refusals));
    decodedAs(replicateResponseCodec, ReplicateResponseSchema, twice);
  }
});

/** The content of a message's only field, which is length-delimited. */
const withoutHeader = (bytes: Uint8Array): Uint8Array =>
  bytes.subarray((bytes[1] ?? 0) < 128 ? 2 : 3);

test("a list that is not packed is read as a packed one", () => {
  const bytes = Buffer.from([16, 5, 18, 2, 6, 7, 16, 8]);
  assert.deepEqual(replicateRequestCodec.decode(bytes).unsubscribe, [5, 6, 7, 8]);
});

/** Sub-messages with every field set, by the codec and field that holds them. */
const filled: readonly [WireCodec<unknown>, number, Uint8Array][] = [
  [
    replicateRequestCodec as WireCodec<unknown>,
    1,
    toBinary(
      ReplicateOpenSchema,
      create(ReplicateOpenSchema, {
        ...{ clusterId: "c", brokerId: 1, brokerEpoch: 2n, leaderBrokerId: 3 },
        ...{ windowBytes: 4n, requiredFeatures: ["f"] },
      }),
    ),
  ],
  [
    replicateRequestCodec as WireCodec<unknown>,
    3,
    toBinary(
      ReplicaSubscriptionSchema,
      create(ReplicaSubscriptionSchema, {
        ...{ subscriptionId: 1, topicId: Buffer.alloc(16, 7), partition: 2, leaderEpoch: 3 },
        ...{ logEndOffset: 4n, lastEpoch: 0 },
      }),
    ),
  ],
  [
    replicateRequestCodec as WireCodec<unknown>,
    4,
    toBinary(
      ReplicaDurableSchema,
      create(ReplicaDurableSchema, { subscriptionId: 1, durableEndOffset: 2n }),
    ),
  ],
  [
    replicateResponseCodec as WireCodec<unknown>,
    1,
    toBinary(
      ReplicateOpenedSchema,
      create(ReplicateOpenedSchema, {
        ...{ windowBytes: 1n, heartbeatIntervalMs: 2, brokerEpoch: 3n, featureLevel: 4 },
      }),
    ),
  ],
  [
    replicateResponseCodec as WireCodec<unknown>,
    2,
    toBinary(
      ReplicaAppendSchema,
      create(ReplicaAppendSchema, {
        ...{ subscriptionId: 1, highWatermark: 2n, logStartOffset: 3n, batches: [{}, {}] },
      }),
    ),
  ],
  [
    replicateResponseCodec as WireCodec<unknown>,
    3,
    toBinary(
      ReplicaDivergenceSchema,
      create(ReplicaDivergenceSchema, {
        ...{ subscriptionId: 1, leaderEpoch: 2, endOffset: 3n, logStartOffset: 4n },
      }),
    ),
  ],
  [
    replicateResponseCodec as WireCodec<unknown>,
    4,
    toBinary(
      ReplicaRefusalSchema,
      create(ReplicaRefusalSchema, { subscriptionId: 1, error: { message: "m" } }),
    ),
  ],
];

test("unknown fields of a newer peer are passed over, in every message", () => {
  const unknown = [
    [...tagOf(1000, 0), 5],
    [...tagOf(1001, 1), ...Buffer.alloc(8)],
    [...tagOf(1002, 2), 3, 1, 2, 3],
    [...tagOf(1003, 5), ...Buffer.alloc(4)],
    // Fields of every message and list, with a wire type that they do not have.
    ...[1, 2, 3, 4, 5, 6, 15].map((field) => [...tagOf(field, 5), ...Buffer.alloc(4)]),
    [...tagOf(15, 0), 1],
  ].map((bytes) => Buffer.from(bytes));
  for (const [codec, field, content] of filled) {
    const expected = codec.decode(fieldOf(field, content));
    for (const extra of unknown) {
      const around = Buffer.concat([extra, content, extra]);
      assert.deepEqual(codec.decode(fieldOf(field, around)), expected, extra.toString("hex"));
      const outside = Buffer.concat([extra, fieldOf(field, content), extra]);
      assert.deepEqual(codec.decode(outside), expected, extra.toString("hex"));
    }
  }
});

const refused = (codec: WireCodec<unknown>, bytes: Uint8Array, reason: RegExp): void =>
  assert.throws(
    () => codec.decode(bytes),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST) && reason.test(thrown.message),
    Buffer.from(bytes.subarray(0, 50)).toString("hex"),
  );

test("malformed bytes are refused as INVALID_REQUEST, in every message", () => {
  const malformed: readonly [readonly number[], RegExp][] = [
    [[0x80], /ends inside a number/],
    [[8, 0x80], /ends inside a number|ends inside a field/],
    [[...tagOf(1000, 2), 5, 1], /ends inside a field/],
    [[...tagOf(1000, 1), 1], /ends inside a field/],
    [[0, 1], /field number/],
    [[...tagOf(1000, 3)], /wire type 3/],
    [[...tagOf(1000, 0), ...Buffer.alloc(10, 0x80), 1], /longer than 10 bytes/],
  ];
  for (const [codec, field, content] of filled) {
    for (const [bad, reason] of malformed) {
      const bytes = Buffer.concat([content, Buffer.from(bad)]);
      refused(codec, fieldOf(field, bytes), reason);
      refused(codec, Buffer.from(bad), reason);
    }
    for (let length = 1; length < content.length; length += 1) {
      refused(codec, fieldOf(field, content).subarray(0, length + 1), /ends inside a field/);
    }
  }
  const notText = Buffer.from([0xff]);
  refused(replicateRequestCodec, fieldOf(1, fieldOf(1, notText)), /not UTF-8/);
  refused(replicateRequestCodec, fieldOf(1, fieldOf(6, notText)), /not UTF-8/);
});

test("epochs, offsets and sizes of 2^53 or more are refused; a wish for more is the most", () => {
  const large = varintOf(2n ** 53n);
  const value = (field: number): Buffer => Buffer.concat([tagOf(field, 0), large]);
  const tooLarge = /2\^53 or more/;
  refused(replicateRequestCodec, value(5), tooLarge);
  refused(replicateRequestCodec, fieldOf(1, value(3)), tooLarge);
  refused(replicateRequestCodec, fieldOf(3, value(5)), tooLarge);
  refused(replicateRequestCodec, fieldOf(4, value(2)), tooLarge);
  for (const [message, fields] of [
    [1, [1, 3]],
    [2, [2, 3]],
    [3, [3, 4]],
  ] as const) {
    for (const field of fields) {
      refused(replicateResponseCodec, fieldOf(message, value(field)), tooLarge);
    }
  }
  const { open } = replicateRequestCodec.decode(fieldOf(1, value(5)));
  assert.equal(open?.windowBytes, safe);
});

const repeated = (element: Buffer, count: number): Buffer => {
  const bytes = Buffer.alloc(element.length * count);
  return bytes.fill(element);
};

test("lists are bounded, those with an element per subscription less tightly", () => {
  assert.equal(SUBSCRIPTION_ELEMENTS_MAX, 100_000);
  const bounded: readonly [WireCodec<unknown>, number, number][] = [
    [replicateRequestCodec, 2, ELEMENTS_MAX],
    [replicateRequestCodec, 3, ELEMENTS_MAX],
    [replicateRequestCodec, 4, SUBSCRIPTION_ELEMENTS_MAX],
    [replicateResponseCodec, 2, SUBSCRIPTION_ELEMENTS_MAX],
    [replicateResponseCodec, 3, ELEMENTS_MAX],
    [replicateResponseCodec, 4, ELEMENTS_MAX],
  ] as [WireCodec<unknown>, number, number][];
  for (const [codec, field, max] of bounded) {
    const content = codec === replicateRequestCodec && field === 2 ? [1] : [];
    const element = fieldOf(field, Buffer.from(content));
    const most = Buffer.from(codec.encode(codec.decode(repeated(element, max))));
    assert.ok(most.length >= max, `field ${field}`);
    refused(codec, repeated(element, max + 1), new RegExp(`more than ${max} elements`));
  }
  const feature = fieldOf(6, Buffer.alloc(0));
  const open = fieldOf(1, repeated(feature, ELEMENTS_MAX));
  const { requiredFeatures } = replicateRequestCodec.decode(open).open ?? {};
  assert.equal(requiredFeatures?.length, ELEMENTS_MAX);
  refused(replicateRequestCodec, Buffer.concat([open, fieldOf(1, feature)]), /more than 10000/);
  const pieces = repeated(Buffer.from([0x7a, 0, 8, 1]), ELEMENTS_MAX);
  const [append] = replicateResponseCodec.decode(fieldOf(2, pieces)).appends;
  assert.equal(append?.batches.length, ELEMENTS_MAX);
  const more = Buffer.concat([pieces, Buffer.from([0x7a, 0])]);
  refused(replicateResponseCodec, fieldOf(2, more), /more than 10000/);
});

/** All byte arrays in a decoded message. */
const bytesIn = (value: unknown): Uint8Array[] => {
  if (value instanceof Uint8Array) return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(bytesIn);
};

test("what is decoded holds no memory but that of its message", () => {
  const dice = new Dice(0xabcdef);
  for (let i = 0; i < someMessages; i += 1) {
    for (const [codec, encoded] of [
      [replicateRequestCodec, replicateRequestCodec.encode(requestOf(dice))],
      [replicateResponseCodec, replicateResponseCodec.encode(responseOf(dice))],
    ] as const) {
      const message = Uint8Array.from(encoded);
      for (const view of bytesIn(codec.decode(message))) {
        if (view.buffer !== message.buffer) assert.equal(view.buffer.byteLength, 0);
      }
    }
  }
});

test("blank messages say nothing", () => {
  assert.equal(replicateRequestCodec.encode(blankReplicateRequest).length, 0);
  assert.equal(replicateResponseCodec.encode(blankReplicateResponse).length, 0);
  const open = undefined;
  const request = { open, unsubscribe: [], subscribe: [], durable: [], windowBytes: 0 };
  assert.deepEqual(blankReplicateRequest, request);
  const response = { opened: undefined, appends: [], diverge: [], refuse: [] };
  assert.deepEqual(blankReplicateResponse, response);
});

test("golden bytes: what is on the wire may never change", () => {
  const request = replicateRequestCodec.encode({
    open: undefined,
    unsubscribe: [1, 300],
    subscribe: [
      {
        ...{ subscriptionId: 2, topicId: Buffer.alloc(16, 1), partition: 3, leaderEpoch: 4 },
        ...{ logEndOffset: 0, lastEpoch: 0 },
      },
    ],
    durable: [{ subscriptionId: 2, durableEndOffset: 300 }],
    windowBytes: 65_536,
  });
  assert.equal(
    request.toString("hex"),
    "120301ac021a1a08021210010101010101010101010101010101011803200430002205080210ac0228808004",
  );
  const response = replicateResponseCodec.encode({
    ...blankReplicateResponse,
    appends: [
      { ...appendOf([Buffer.from([0x7a, 1, 0]), Buffer.from([0x7a, 0])]), highWatermark: 9 },
    ],
    diverge: [{ subscriptionId: 2, leaderEpoch: 3, endOffset: 4, logStartOffset: 0 }],
  });
  assert.equal(Buffer.from(response).toString("hex"), "1209080110097a01007a001a06080210031804");
});
