import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { crcOf, encodeStoredPrefix, readStored } from "./batch.ts";
import { parseBody } from "./body.ts";
import { BatchBuilder, encodeBody } from "./builder.ts";
import { nodeCompressor } from "./node/compressor.ts";
import { findTimestamp } from "./records.ts";
import { type BatchLimits, validateBatch } from "./validate.ts";
import { WireWriter } from "./writer.ts";

const nowMs = 1_000_000;
const wide: BatchLimits = {
  ...{ bodyBytesMax: 1_000_000, recordCountMax: 100, inflatedBytesMax: 1_000_000, nowMs },
  ...{ timestampAfterMaxMs: 1000, timestampBeforeMaxMs: 5000 },
};

const bodyOf = (...timestamps: number[]): Buffer => {
  const builder = new BatchBuilder();
  for (const timestampMs of timestamps) builder.append({ value: Buffer.from("v"), timestampMs });
  return builder.finishPlain();
};

const codeOf = async (body: Uint8Array, limits: Partial<BatchLimits> = {}) => {
  try {
    await validateBatch(body, undefined, { ...wide, ...limits }, nodeCompressor);
    return "ok";
  } catch (thrown) {
    return MillraceError.from(thrown).codeName;
  }
};

test("timestamps: the bounds themselves are allowed, a millisecond more is not", async () => {
  assert.equal(await codeOf(bodyOf(nowMs + 1000)), "ok");
  assert.equal(await codeOf(bodyOf(nowMs + 1001)), "INVALID_TIMESTAMP");
  assert.equal(await codeOf(bodyOf(nowMs, nowMs - 5000)), "ok");
  assert.equal(await codeOf(bodyOf(nowMs, nowMs - 5001)), "INVALID_TIMESTAMP");
});

test("sizes and counts: the bounds themselves are allowed, one more is not", async () => {
  const body = bodyOf(nowMs, nowMs, nowMs);
  const { length } = body;
  assert.equal(await codeOf(body, { bodyBytesMax: length }), "ok");
  assert.equal(await codeOf(body, { bodyBytesMax: length - 1 }), "MESSAGE_TOO_LARGE");
  assert.equal(await codeOf(body, { recordCountMax: 3 }), "ok");
  assert.equal(await codeOf(body, { recordCountMax: 2 }), "INVALID_RECORD");
  const recordBytes = parseBody(body).records.length;
  assert.equal(await codeOf(body, { inflatedBytesMax: recordBytes }), "ok");
  assert.equal(await codeOf(body, { inflatedBytesMax: recordBytes - 1 }), "MESSAGE_TOO_LARGE");
});

test("a compressor's own error keeps its code; any other is a damaged batch", async () => {
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, (31 - 10) << 3, 0x19, 0, 0, 1, 2, 3]);
  const fields = { recordCount: 1, baseTimestampMs: nowMs, maxTimestampMs: nowMs };
  const body = encodeBody({ ...fields, compression: "zstd" }, frame);
  assert.equal(await codeOf(body), "UNSUPPORTED_COMPRESSION");
  const noise = encodeBody({ ...fields, compression: "zstd" }, Buffer.from("noise"));
  assert.equal(await codeOf(noise), "CORRUPT_MESSAGE");
});

test("what a producer must leave absent is refused by name", async () => {
  // Of a field that comes twice the last one counts.
  const having = (field: number, value: number): Buffer =>
    Buffer.concat([bodyOf(nowMs), Buffer.from([field * 8, value])]);
  const refusals: readonly [number, number, RegExp][] = [
    [2, 0, /has no records: send at least one/],
    [8, 1, /transactions are not supported yet/],
    [9, 1, /control batches are the system's own/],
    [10, 1, /last_offset_delta is 1: leave it absent/],
  ];
  for (const [field, value, why] of refusals) {
    await assert.rejects(
      async () => validateBatch(having(field, value), undefined, wide, nodeCompressor),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_RECORD) && why.test(thrown.message),
    );
  }
  assert.equal(await codeOf(having(10, 0)), "ok");
});

test("a batch that was damaged on the way is refused by its CRC", async () => {
  const body = bodyOf(nowMs);
  const { bodyCrc } = await validateBatch(body, crcOf(body), wide, nodeCompressor);
  assert.equal(bodyCrc, crcOf(body));
  await assert.rejects(
    async () => validateBatch(body, crcOf(body) ^ 1, wide, nodeCompressor),
    (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE) && /send it again/.test(thrown.message),
  );
});

test("compressed records may have the bound inflated, and are checked behind it", async () => {
  const build = () => {
    const builder = new BatchBuilder();
    builder.append({ value: Buffer.alloc(1000), timestampMs: nowMs });
    return builder;
  };
  const inflated = build().sizeBytes;
  const options = { compression: "gzip", compressor: nodeCompressor } as const;
  const body = await build().finish(options);
  assert.ok(body.length < inflated);
  assert.equal(await codeOf(body, { inflatedBytesMax: inflated }), "ok");
  assert.equal(await codeOf(body, { inflatedBytesMax: inflated - 1 }), "MESSAGE_TOO_LARGE");
  assert.equal(await codeOf(body, { nowMs: nowMs + 5001 }), "INVALID_TIMESTAMP");
});

test("an idempotent producer sets its id, epoch and sequence together", () => {
  for (let set = 0; set < 8; set += 1) {
    const writer = new WireWriter();
    writer.begin();
    writer.present(2, 1);
    for (const bit of [0, 1, 2]) if ((set >> bit) & 1) writer.present(5 + bit, 3);
    const body = writer.finish();
    if (set === 0 || set === 7) assert.equal(parseBody(body).producerId, set === 0 ? -1 : 3);
    else {
      assert.throws(
        () => parseBody(body),
        (thrown) => hasCode(thrown, ErrorCode.INVALID_RECORD) && /together/.test(thrown.message),
      );
    }
  }
});

test("a search by time finds the first record at or after it, not the nearest", () => {
  const { records, baseTimestampMs } = parseBody(bodyOf(100, 300, 200, 300));
  const find = (targetMs: number) => findTimestamp(records, baseTimestampMs, targetMs);
  assert.deepEqual(find(0), { offsetDelta: 0, timestampMs: 100 });
  assert.deepEqual(find(100), { offsetDelta: 0, timestampMs: 100 });
  assert.deepEqual(find(101), { offsetDelta: 1, timestampMs: 300 });
  assert.deepEqual(find(300), { offsetDelta: 1, timestampMs: 300 });
  assert.equal(find(301), undefined);
});

const storedOf = (body: Buffer): Buffer =>
  Buffer.concat([
    encodeStoredPrefix(
      { baseOffset: 2 ** 53 - 1, leaderEpoch: 7, appendTimeMs: 5, bodyCrc: 9 },
      body.length,
    ),
    body,
  ]);

test("a stored batch that is cut off anywhere is incomplete, and says what it needs", () => {
  const stored = storedOf(bodyOf(1));
  const whole = readStored(stored, 0);
  assert.ok(!("fault" in whole));
  assert.equal(whole.baseOffset, 2 ** 53 - 1);
  for (let end = 0; end < stored.length; end += 1) {
    const cut = readStored(stored.subarray(0, end), 0);
    assert.ok("fault" in cut && cut.fault === "incomplete", `cut at ${end}`);
    assert.ok(cut.needBytes > end, `cut at ${end} needs ${cut.needBytes}`);
    if (end > 40) assert.equal(cut.needBytes, stored.length);
  }
});

test("a stored batch has one encoding: lengths are minimal, numbers below 2^53", () => {
  const stored = storedOf(bodyOf(1));
  const padded = Buffer.concat([stored, Buffer.alloc(1)]);
  padded.copyWithin(3, 2, stored.length);
  padded[1] = (padded[1] ?? 0) | 0x80;
  padded[2] = 0;
  assert.deepEqual(readStored(padded, 0), { fault: "damaged", reason: "length is not minimal" });
  const large = Buffer.from(stored);
  const baseOffsetAt = 3;
  large[baseOffsetAt + 6] = 0x20;
  assert.deepEqual(readStored(large, 0), {
    fault: "damaged",
    reason: "header value out of range",
  });
});

test("where keys are needed, a batch with a record without one is refused, compressed or not", async () => {
  const batchOf = async (keys: readonly (string | undefined)[], compression: "none" | "gzip") => {
    const builder = new BatchBuilder();
    for (const key of keys) {
      const value = key === "deleted" ? undefined : Buffer.from("v");
      builder.append({
        key: key === undefined ? undefined : Buffer.from(key),
        value,
        timestampMs: nowMs,
      });
    }
    if (compression === "none") return builder.finishPlain();
    const packed = await builder.pack({ compression, compressor: nodeCompressor });
    return encodeBody(packed, packed.records);
  };
  const limits = { ...wide, needsKeys: true };
  for (const compression of ["none", "gzip"] as const) {
    const keyless = await batchOf(["a", undefined], compression);
    assert.equal(await codeOf(keyless, { needsKeys: true }), "INVALID_RECORD");
    assert.equal(await codeOf(keyless), "ok");
    const keyed = await batchOf(["a", "", "deleted", "\u00e9"], compression);
    const { keys } = await validateBatch(keyed, undefined, limits, nodeCompressor);
    // A character for each byte.
    assert.deepEqual(keys?.keys, ["a", "", "deleted", "\u00c3\u00a9"]);
    assert.deepEqual(keys.isNull, [false, false, true, false]);
    assert.equal((await validateBatch(keyed, undefined, wide, nodeCompressor)).keys, undefined);
  }
});
