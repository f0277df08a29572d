import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  BatchBodySchema,
  Compression,
  RecordSetSchema,
  SegmentSchema,
} from "@millrace/proto/storage";
import fc from "fast-check";
import { bodyCrcMatches, crcOf, encodeStoredPrefix, readStored, storedBytes } from "./batch.ts";
import { parseBody } from "./body.ts";
import { BatchBuilder, type RecordInput } from "./builder.ts";
import { nodeCompressor } from "./node/compressor.ts";
import { decodeRecords } from "./records.ts";
import { type BatchLimits, validateBatch } from "./validate.ts";

const limits: BatchLimits = {
  bodyBytesMax: 1_000_000,
  recordCountMax: 10_000,
  inflatedBytesMax: 2_000_000,
  timestampAfterMaxMs: 1000,
  timestampBeforeMaxMs: Number.MAX_SAFE_INTEGER,
  nowMs: 2_000_000,
};

const bytes = fc.uint8Array({ maxLength: 60 });
const recordInput: fc.Arbitrary<RecordInput> = fc.record({
  key: fc.option(bytes, { nil: undefined }),
  value: fc.option(bytes, { nil: null }),
  timestampMs: fc.integer({ min: 0, max: 2_000_000 }),
  headers: fc.array(
    fc.record({
      name: fc.string({ minLength: 1, maxLength: 10 }),
      value: fc.option(bytes, { nil: undefined }),
    }),
    { maxLength: 3 },
  ),
});

const build = (records: readonly RecordInput[]): Buffer => {
  const builder = new BatchBuilder(64);
  for (const record of records) builder.append(record);
  return builder.finishPlain();
};

test("what is built, generated code reads; every codec brings the records back", async () => {
  const kinds = ["none", "gzip", "zstd", "lz4"] as const;
  await fc.assert(
    fc.asyncProperty(
      fc.array(recordInput, { minLength: 1, maxLength: 20 }),
      fc.constantFrom(...kinds),
      async (records, compression) => {
        const builder = new BatchBuilder(64);
        for (const record of records) builder.append(record);
        const body = await builder.finish({ compression, compressor: nodeCompressor });
        const { info } = await validateBatch(body, crcOf(body), limits, nodeCompressor);
        const set =
          compression === "none"
            ? info.records
            : await nodeCompressor.decompress(compression, info.records, 1_000_000);
        const generated = fromBinary(RecordSetSchema, set);
        assert.deepEqual(Buffer.from(toBinary(RecordSetSchema, generated)), Buffer.from(set));
        const decoded = decodeRecords(set, info.baseTimestampMs);
        assert.equal(decoded.length, records.length);
        for (const [i, record] of records.entries()) {
          const found = decoded[i];
          assert.equal(found?.timestampMs, record.timestampMs);
          assert.deepEqual(found?.key?.length, record.key?.length);
          assert.deepEqual(Buffer.from(found?.value ?? []), Buffer.from(record.value ?? []));
          assert.equal(found?.value === undefined, record.value === null);
          assert.equal(found?.headers.length, record.headers?.length);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("a stored batch is an element of a Segment, byte for byte", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.maxSafeNat(),
      fc.nat(),
      (body, offset, epoch) => {
        const fields = {
          baseOffset: offset,
          leaderEpoch: epoch,
          appendTimeMs: 7,
          bodyCrc: crcOf(body),
        };
        const prefix = encodeStoredPrefix(fields, body.length);
        const stored = Buffer.concat([prefix, body]);
        assert.equal(stored.length, storedBytes(body.length));
        const segment = fromBinary(SegmentSchema, stored);
        assert.deepEqual(Buffer.from(toBinary(SegmentSchema, segment)), stored);
        assert.equal(segment.batches[0]?.baseOffset, BigInt(offset));
        const read = readStored(stored, 0);
        assert.ok(!("fault" in read));
        assert.deepEqual(
          [read.baseOffset, read.leaderEpoch, read.bodyEnd],
          [offset, epoch, stored.length],
        );
        assert.ok(bodyCrcMatches(stored, read));
        const flipped = Buffer.from(stored);
        const at = offset % stored.length;
        flipped[at] = (flipped[at] ?? 0) ^ 1;
        const damaged = readStored(flipped, 0);
        assert.ok("fault" in damaged || !bodyCrcMatches(flipped, damaged));
      },
    ),
    { numRuns: 2000 },
  );
});

test("golden bytes of a batch", () => {
  const body = build([
    { key: Buffer.from("k"), value: Buffer.from("v"), timestampMs: 1000 },
    { value: null, timestampMs: 1001, headers: [{ name: "h", value: Buffer.from("x") }] },
  ]);
  // compression, record_count, base and max timestamp, then the RecordSet of two records.
  assert.equal(
    body.toString("hex"),
    "0801100218e80720e907" + "7a1a" + "0a0a0a016b12017618002000" + "0a0c180220012a060a0168120178",
  );
});

const refusals: readonly [string, () => Uint8Array, number | undefined, ErrorCode][] = [
  ["a wrong CRC", () => build([{ timestampMs: 1 }]), 1, ErrorCode.CORRUPT_MESSAGE],
  ["no records", () => new Uint8Array(0), undefined, ErrorCode.INVALID_RECORD],
  ["random bytes", () => Buffer.from("not protobuf at all"), undefined, ErrorCode.CORRUPT_MESSAGE],
  [
    "a count that lies",
    () => {
      const message = fromBinary(BatchBodySchema, build([{ timestampMs: 1 }]));
      return toBinary(BatchBodySchema, { ...message, recordCount: 2, lastOffsetDelta: 1 });
    },
    undefined,
    ErrorCode.INVALID_RECORD,
  ],
  [
    "a largest timestamp that lies",
    () => {
      const message = fromBinary(BatchBodySchema, build([{ timestampMs: 5 }]));
      return toBinary(BatchBodySchema, { ...message, maxTimestampMs: 4n });
    },
    undefined,
    ErrorCode.INVALID_RECORD,
  ],
  [
    "an unknown compression",
    () => {
      const message = fromBinary(BatchBodySchema, build([{ timestampMs: 5 }]));
      return toBinary(BatchBodySchema, { ...message, compression: 9 as Compression });
    },
    undefined,
    ErrorCode.UNSUPPORTED_COMPRESSION,
  ],
  [
    "a compression that is none",
    () => {
      const message = fromBinary(BatchBodySchema, build([{ timestampMs: 5 }]));
      return toBinary(BatchBodySchema, { ...message, compression: Compression.ZSTD });
    },
    undefined,
    ErrorCode.CORRUPT_MESSAGE,
  ],
  [
    "a time far ahead",
    () => build([{ timestampMs: 3_000_000 }]),
    undefined,
    ErrorCode.INVALID_TIMESTAMP,
  ],
  [
    "a body above the limit",
    () => build([{ value: Buffer.alloc(1_000_001), timestampMs: 1 }]),
    undefined,
    ErrorCode.MESSAGE_TOO_LARGE,
  ],
];

for (const [what, make, crc, code] of refusals) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(
      async () => validateBatch(make(), crc, limits, nodeCompressor),
      (thrown) => hasCode(thrown, code),
    );
  });
}

test("refused: a bomb", async () => {
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.alloc(3_000_000), timestampMs: 1 });
  for (const compression of ["gzip", "zstd", "lz4"] as const) {
    const body = await builder.finish({ compression, compressor: nodeCompressor });
    assert.ok(body.length < 20_000);
    await assert.rejects(
      async () => validateBatch(body, undefined, limits, nodeCompressor),
      (thrown) => hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE),
    );
  }
});

test("random bodies never do more than throw our error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (body) => {
      try {
        parseBody(body);
      } catch (thrown) {
        assert.ok(hasCode(thrown, ErrorCode.CORRUPT_MESSAGE) || thrown instanceof Error);
      }
    }),
    { numRuns: 5000 },
  );
});
