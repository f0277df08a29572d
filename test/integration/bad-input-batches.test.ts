/**
 * Batches that lie, on Produce and on ProduceOnce: the same clear error from both, and nothing is
 * appended.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { create } from "@bufbuild/protobuf";
import { ErrorCode } from "@millrace/errors";
import { ProduceOnceRequestSchema, ProduceService } from "@millrace/proto/broker";
import { BatchBuilder, crcOf } from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import { methodOf } from "@millrace/rpc";
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

const good = 3n;
const ends = { "bombs-0": 0n, "seq-0": 4n, "t-0": 10n, "t-1": good };
const site = badInputSite(ends, { topics: ["bombs", "seq"] });
const produceOnce = methodOf(ProduceService.method.produceOnce);
const nowMs = Date.now();

/** A BatchBody field by field; what is undefined is absent. */
interface Body {
  readonly compression?: number | bigint;
  readonly count?: number | bigint;
  readonly base?: number | bigint;
  readonly max?: number | bigint;
  readonly producer?: readonly (number | bigint | undefined)[];
  readonly transactional?: number;
  readonly control?: number;
  readonly lastDelta?: number | bigint;
  readonly records?: Uint8Array;
}

const body = (fields: Body): Buffer => {
  const { compression, count, base, max, producer = [], transactional, control } = fields;
  const numbers = [compression, count, base, max, ...producer];
  const parts = numbers.map((value, i) => (value === undefined ? "" : field(i + 1, value)));
  if (transactional !== undefined) parts.push(field(8, transactional));
  if (control !== undefined) parts.push(field(9, control));
  if (fields.lastDelta !== undefined) parts.push(field(10, fields.lastDelta));
  if (fields.records !== undefined) parts.push(field(15, fields.records));
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
};

/** A record, its deltas as given. */
const record = (
  offsetDelta?: number | bigint,
  timeDelta = 0n,
  more: Uint8Array = Buffer.alloc(0),
): Buffer => {
  const zigzag = timeDelta >= 0n ? timeDelta * 2n : -timeDelta * 2n - 1n;
  const place = offsetDelta === undefined ? Buffer.alloc(0) : field(4, offsetDelta);
  return Buffer.concat([field(2, "v"), field(3, zigzag), place, more]);
};

const set = (...records: readonly Uint8Array[]): Buffer =>
  Buffer.concat(records.map((one) => field(1, one)));

const one = { count: 1, base: nowMs, max: nowMs, records: set(record(0)) };
const deltas = (...of: readonly (number | bigint)[]): Body => ({
  ...one,
  count: of.length,
  records: set(...of.map((delta) => record(delta))),
});
const stamped = (...producer: readonly (number | bigint | undefined)[]): Body => ({
  ...one,
  producer,
});

const { INVALID_RECORD, CORRUPT_MESSAGE, UNSUPPORTED_COMPRESSION, MESSAGE_TOO_LARGE } = ErrorCode;
const { INVALID_TIMESTAMP } = ErrorCode;
/** 80 MiB of zeros. */
const zeros = Buffer.alloc(80 * 1024 * 1024);
const gzipped = gzipSync(one.records);

/** An LZ4 frame whose one block says that it inflates without end. */
const lz4Noise = Buffer.from("04224d186040820000008000", "hex");

const bad: readonly (readonly [string, Body | Uint8Array, ErrorCode, RegExp?])[] = [
  ["a count of zero", { ...one, count: 0, records: set() }, INVALID_RECORD, /at least one/],
  ["records, and a count of zero", { ...one, count: 0 }, INVALID_RECORD, /at least one/],
  ["no count", { base: nowMs, max: nowMs, records: one.records }, INVALID_RECORD],
  ["a count above the records", { ...one, count: 2 }, INVALID_RECORD, /record_count is 2/],
  ["a count below the records", { ...deltas(0, 1), count: 1 }, INVALID_RECORD, /there are more/],
  [
    "a count of a million and one",
    { ...one, count: 1_000_001 },
    INVALID_RECORD,
    /at most 1,000,000/,
  ],
  ["a count of 2^63", { ...one, count: 2n ** 63n }, INVALID_RECORD, /record_count/],
  ["a negative count", { ...one, count: -1 }, INVALID_RECORD, /record_count/],
  ["offset deltas with a gap", deltas(0, 2), INVALID_RECORD, /offset_delta of record 1 is 2/],
  ["offset deltas twice the same", deltas(0, 0), INVALID_RECORD, /offset_delta of record 1 is 0/],
  ["offset deltas that fall", deltas(1, 0), INVALID_RECORD, /offset_delta of record 0 is 1/],
  ["offset deltas that begin at 5", deltas(5, 6), INVALID_RECORD, /offset_delta of record 0/],
  ["a negative offset delta", deltas(-1), INVALID_RECORD, /offset_delta/],
  ["a last offset that lies", { ...one, lastDelta: 7 }, INVALID_RECORD, /leave it absent/],
  ["a negative last offset", { ...one, lastDelta: -1 }, INVALID_RECORD, /last_offset_delta/],
  ["a negative base timestamp", { ...one, base: -1, max: -1 }, INVALID_RECORD, /base_timestamp_ms/],
  ["a negative maximum", { ...one, max: -1 }, INVALID_RECORD, /max_timestamp_ms/],
  ["a base timestamp of 2^62", { ...one, base: 2n ** 62n }, INVALID_RECORD, /base_timestamp_ms/],
  [
    "a record before 1970",
    { ...one, base: 5, max: 0, records: set(record(0, -6n)) },
    INVALID_RECORD,
    /timestamp of record 0/,
  ],
  [
    "a timestamp delta of 2^62",
    { ...one, records: set(record(0, 2n ** 62n)) },
    INVALID_RECORD,
    /timestamp of record 0/,
  ],
  ["a maximum that lies", { ...one, max: nowMs + 1 }, INVALID_RECORD, /max_timestamp_ms is/],
  [
    "a time of next year",
    { ...one, base: nowMs + 3e10, max: nowMs + 3e10 },
    INVALID_TIMESTAMP,
    /check the producer's clock/,
  ],
  ["a producer id alone", stamped(5), INVALID_RECORD, /together/],
  ["a producer without a sequence", stamped(5, 0), INVALID_RECORD, /together/],
  ["a sequence alone", stamped(undefined, undefined, 5), INVALID_RECORD, /together/],
  ["a negative producer id", stamped(-1, 0, 0), INVALID_RECORD, /producer_id/],
  ["a negative producer epoch", stamped(5, -1, 0), INVALID_RECORD, /producer_epoch/],
  ["a producer epoch of 40,000", stamped(5, 40_000, 0), INVALID_RECORD, /producer_epoch/],
  ["a negative sequence", stamped(5, 0, -1), INVALID_RECORD, /base_sequence/],
  ["a sequence of 2^31", stamped(5, 0, 2 ** 31), INVALID_RECORD, /base_sequence/],
  ["a transaction", { ...one, transactional: 1 }, INVALID_RECORD, /leave transactional absent/],
  ["a control batch", { ...one, control: 1 }, INVALID_RECORD, /leave control absent/],
  ["codec 5", { ...one, compression: 5 }, UNSUPPORTED_COMPRESSION, /gzip, zstd or lz4/],
  ["codec 99", { ...one, compression: 99 }, UNSUPPORTED_COMPRESSION, /compression 99/],
  ["codec -1", { ...one, compression: -1 }, UNSUPPORTED_COMPRESSION],
  ["codec 2^60", { ...one, compression: 2n ** 60n }, UNSUPPORTED_COMPRESSION],
  ["gzip that is none", { ...one, compression: 2 }, CORRUPT_MESSAGE, /one whole gzip frame/],
  ["zstd that is none", { ...one, compression: 3 }, CORRUPT_MESSAGE, /one whole zstd frame/],
  ["lz4 that is none", { ...one, compression: 4 }, CORRUPT_MESSAGE, /one whole lz4 frame/],
  ["lz4 of noise", { ...one, compression: 4, records: lz4Noise }, CORRUPT_MESSAGE],
  ["nothing, compressed", { ...one, compression: 2, records: Buffer.alloc(0) }, CORRUPT_MESSAGE],
  [
    "gzip that ends too early",
    { ...one, compression: 2, records: gzipped.subarray(0, -4) },
    CORRUPT_MESSAGE,
  ],
  [
    "two gzip members",
    { ...one, count: 2, compression: 2, records: Buffer.concat([gzipped, gzipped]) },
    CORRUPT_MESSAGE,
  ],
  [
    "a compressed count that lies",
    { ...one, count: 9, compression: 2, records: gzipped },
    INVALID_RECORD,
    /record_count is 9/,
  ],
  [
    "a length that runs past the records",
    { ...one, records: Buffer.from("0a7f1201", "hex") },
    CORRUPT_MESSAGE,
  ],
  [
    "a value that runs past its record",
    { ...one, count: 2, records: Buffer.concat([Buffer.from("0a0212", "hex"), one.records]) },
    CORRUPT_MESSAGE,
  ],
  [
    "a header that runs past its record",
    { ...one, records: set(record(0, 0n, Buffer.from("2a3f0a0168", "hex"))) },
    CORRUPT_MESSAGE,
  ],
  [
    "a header's value that runs past it",
    { ...one, records: set(record(0, 0n, field(5, Buffer.from("0a01681203", "hex")))) },
    CORRUPT_MESSAGE,
  ],
  [
    "a header without a name",
    { ...one, records: set(record(0, 0n, field(5, field(2, "x")))) },
    INVALID_RECORD,
  ],
  [
    "a header's name that is no UTF-8",
    { ...one, records: set(record(0, 0n, field(5, field(1, Buffer.from([0xff]))))) },
    CORRUPT_MESSAGE,
    /UTF-8/,
  ],
  ["a group in a record", { ...one, records: set(Buffer.from([0x0b])) }, CORRUPT_MESSAGE],
  ["records that are no record set", { ...one, records: Buffer.from("hello") }, CORRUPT_MESSAGE],
  ["no body", Buffer.alloc(0), INVALID_RECORD, /at least one/],
  ["text for a body", Buffer.from("no protobuf, this"), CORRUPT_MESSAGE],
  ["a body of 3,000 bytes", bodyOf("x".repeat(3000)), MESSAGE_TOO_LARGE, /raise it/],
];

/** The in-band error of one batch on a stream, which goes on. */
const inBand = async (bytes: Uint8Array, bodyCrc: number | undefined = crcOf(bytes)) => {
  const stream = site.channel.bidi(produce);
  stream.write({ ...blank, open });
  await stream.read();
  stream.write({ ...blank, requestId: 5, body: bytes, bodyCrc });
  stream.end();
  const reply = await stream.read();
  assert.equal(reply?.results[0]?.requestId, 5);
  assert.equal(reply?.results[0]?.windowBytes, bytes.length, "its bytes are given back");
  assert.equal(await stream.read(), undefined);
  return reply?.results[0]?.error;
};

const onceWith = (bytes: Uint8Array, more: object = {}) =>
  site.channel.unary(
    produceOnce,
    create(ProduceOnceRequestSchema, {
      topic: "t",
      batch: { body: Buffer.from(bytes), bodyCrc32c: crcOf(bytes) },
      ...more,
    }),
  );

for (const [what, fields, code, text] of bad) {
  test(`${what} is ${ErrorCode[code]}`, async () => {
    const bytes = fields instanceof Uint8Array ? fields : body(fields);
    checkClear(await inBand(bytes), code, text);
    await assert.rejects(onceWith(bytes), isClear(code, text));
  });
}

test("the same batch without a lie is taken, compressed or not", async () => {
  const compressed = { ...one, compression: 3, records: zstdCompressSync(one.records) };
  for (const fields of [one, compressed]) await onceWith(body(fields), { partition: 1 });
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.from("x"), timestampMs: nowMs });
  const lz4 = await builder.finish({ compression: "lz4", compressor: nodeCompressor });
  assert.equal((await onceWith(lz4, { partition: 1 })).baseOffset, good - 1n);
});

test("a wrong CRC is CORRUPT_MESSAGE", async () => {
  const bytes = bodyOf("x");
  checkClear(await inBand(bytes, 1), CORRUPT_MESSAGE, /send it again/);
  const batch = { body: bytes, bodyCrc32c: 1 };
  await assert.rejects(onceWith(bytes, { batch }), isClear(CORRUPT_MESSAGE, /send it again/));
});

test("compressed bombs are refused before they are whole, quickly", async () => {
  const lz4 = Buffer.from(await nodeCompressor.compress("lz4", zeros));
  for (const [i, records] of [gzipSync(zeros), zstdCompressSync(zeros), lz4].entries()) {
    const bytes = body({ ...one, compression: i + 2, records });
    const startMs = performance.now();
    const refused = isClear(
      MESSAGE_TOO_LARGE,
      /inflate to more than \d+ MiB: send smaller batches/,
    );
    await assert.rejects(onceWith(bytes, { topic: "bombs" }), refused);
    assert.ok(performance.now() - startMs < 3000, "a bomb holds nothing up for long");
    const toSmall = isClear(MESSAGE_TOO_LARGE, /raise it|inflate/);
    await assert.rejects(onceWith(bytes), toSmall);
  }
});

test("sequences that jump, and epochs that fall, are refused; a repetition is told", async () => {
  const to = { topic: "seq" };
  const bytes = (epoch: number, sequence: number) => body(stamped(77, epoch, sequence));
  const jump = isClear(ErrorCode.OUT_OF_ORDER_SEQUENCE, /expected|begin with 0/);
  for (const sequence of [0, 1, 2]) await onceWith(bytes(3, sequence), to);
  const again = await onceWith(bytes(3, 1), to);
  assert.deepEqual([again.duplicate, again.baseOffset], [true, 1n]);
  for (const sequence of [4, 2 ** 31 - 1]) {
    await assert.rejects(onceWith(bytes(3, sequence), to), jump);
  }
  await assert.rejects(onceWith(bytes(4, 7), to), jump);
  const fenced = isClear(ErrorCode.INVALID_PRODUCER_EPOCH, /another instance/);
  await assert.rejects(onceWith(bytes(2, 0), to), fenced);
  await onceWith(bytes(4, 0), to);
});

test("ProduceOnce makes no batch of records that no batch can hold", async () => {
  const cases: readonly (readonly [object, ErrorCode, RegExp?])[] = [
    [{ timestampDeltaMs: -5n }, INVALID_RECORD, /milliseconds since the Unix epoch/],
    [{ timestampDeltaMs: 2n ** 62n }, INVALID_RECORD, /milliseconds since the Unix epoch/],
    [{ timestampDeltaMs: BigInt(nowMs) + 10n ** 11n }, INVALID_TIMESTAMP],
    [{ headers: [{ value: Buffer.from("x") }] }, INVALID_RECORD, /header's name/],
    [{ headers: [{ name: "x".repeat(40_000) }] }, INVALID_RECORD, /header's name/],
    [{ value: Buffer.alloc(3000) }, MESSAGE_TOO_LARGE],
  ];
  for (const [fields, code, text] of cases) {
    const request = create(ProduceOnceRequestSchema, { topic: "t", records: [fields] });
    await assert.rejects(site.channel.unary(produceOnce, request), isClear(code, text));
  }
  const many = create(ProduceOnceRequestSchema, {
    topic: "t",
    records: Array.from({ length: 60_000 }, () => ({})),
  });
  const split = isClear(ErrorCode.INVALID_REQUEST, /split the request/);
  await assert.rejects(site.channel.unary(produceOnce, many), split);
});
