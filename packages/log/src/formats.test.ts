/** Golden bytes of the formats, and small structures against simple models. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { CleanShutdownSchema } from "@millrace/proto/storage";
import fc from "fast-check";
import { frameChecksummed, magics, parseChecksummed } from "./files/checksummed-file.ts";
import { decodeRound, encodeRound, ROUND_ALIGN_BYTES } from "./journal/format.ts";
import { EpochCache } from "./partition/leader-epochs.ts";
import { TailCache } from "./partition/tail-cache.ts";
import {
  decodeIndex,
  encodeOffsetEntries,
  encodeTimeEntries,
  type IndexRow,
  rowForOffset,
  rowForTimestamp,
} from "./segment/index-format.ts";
import { topicA } from "./testing.ts";

const directoryId = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");

const round = (): Buffer =>
  Buffer.concat(
    encodeRound(directoryId, 9, 8, [
      {
        kind: "batch",
        topicId: topicA,
        partition: 2,
        offset: 5,
        headerCrc: 0xabcd,
        payload: [Buffer.from("hello")],
        payloadBytes: 5,
      },
      {
        kind: "logStart",
        topicId: topicA,
        partition: 2,
        offset: 3,
        payload: [],
        payloadBytes: 0,
      },
    ]),
  );

test("golden bytes of a journal round", () => {
  const bytes = round();
  assert.equal(bytes.length, ROUND_ALIGN_BYTES);
  assert.equal(
    bytes.subarray(0, 137).toString("hex"),
    "4d4a523100100000000102030405060708090a0b0c0d0e0f090000000000000008000000000000000200000005000000b33a2bc5" +
      "0100000002000000000102030405060708090a0b0c0d0e0f05000000cdab00000500000000000000" +
      "0300000002000000000102030405060708090a0b0c0d0e0f00000000000000000300000000000000" +
      "68656c6c6f",
  );
  const found = decodeRound(bytes, 0, directoryId);
  assert.deepEqual([found?.round, found?.durableRound, found?.bytes], [9, 8, 4096]);
  assert.deepEqual(
    found?.entries.map(({ change }) => change),
    [
      { kind: "batch", offset: 5, headerCrc: 0xabcd },
      { kind: "logStart", offset: 3 },
    ],
  );
});

test("golden bytes of a log that begins anew in a journal round", () => {
  const entry = { kind: "reset", offset: 7, payload: [], payloadBytes: 0 } as const;
  const bytes = Buffer.concat(
    encodeRound(directoryId, 9, 8, [{ ...entry, topicId: topicA, partition: 2 }]),
  );
  assert.equal(
    bytes.subarray(52, 92).toString("hex"),
    "0600000002000000000102030405060708090a0b0c0d0e0f00000000000000000700000000000000",
  );
  const found = decodeRound(bytes, 0, directoryId);
  assert.deepEqual(found?.entries[0]?.change, { kind: "reset", offset: 7 });
});

test("a flipped bit in a round's header or table is noticed; another directory's round is none", () => {
  const bytes = round();
  for (let bit = 0; bit < (52 + 80) * 8; bit += 1) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(decodeRound(flipped, 0, directoryId), undefined, `bit ${bit}`);
  }
  assert.equal(decodeRound(bytes, 0, Buffer.alloc(16)), undefined);
  assert.equal(decodeRound(bytes.subarray(0, 4000), 0, directoryId), undefined);
});

const rows: IndexRow[] = [
  { offset: 110, position: 4096, maxBeforeMs: 1000 },
  { offset: 120, position: 9000, maxBeforeMs: 2000 },
];

test("golden bytes of index entries; they are believed up to the first bad one", () => {
  const index = encodeOffsetEntries(100, rows);
  const times = encodeTimeEntries(100, [...rows, { offset: 130, position: 0, maxBeforeMs: 2500 }]);
  assert.equal(index.subarray(0, 12).toString("hex"), "0a0000000010000000000000");
  assert.equal(times.subarray(0, 12).toString("hex"), "e8030000000000000a000000");
  assert.deepEqual(decodeIndex(100, index, times, 130, 10_000), {
    rows,
    timeEntries: 2,
    maxTimestampMs: 2500,
  });
  assert.deepEqual(decodeIndex(100, index, times, 131, 10_000).maxTimestampMs, undefined);
  assert.deepEqual(decodeIndex(100, index, times, 120, 9000).rows, rows.slice(0, 1));
  assert.deepEqual(decodeIndex(99, index, times, 130, 10_000).rows, []);
  const damaged = Buffer.from(index);
  damaged[17] = 1;
  assert.deepEqual(decodeIndex(100, damaged, times, 130, 10_000).rows, rows.slice(0, 1));
  assert.equal(rowForOffset(rows, 109), undefined);
  assert.equal(rowForOffset(rows, 119), rows[0]);
  assert.equal(rowForTimestamp(rows, 1001), rows[0]);
  assert.equal(rowForTimestamp(rows, 1000), undefined);
});

test("golden bytes of a side file; any damage is noticed", () => {
  const message = create(CleanShutdownSchema, { nextJournalRound: 300n });
  const framed = frameChecksummed(magics.clean, CleanShutdownSchema, message);
  assert.equal(framed.toString("hex"), "4d52435398152ba610ac02");
  assert.equal(parseChecksummed(magics.clean, CleanShutdownSchema, framed)?.nextJournalRound, 300n);
  for (let bit = 0; bit < framed.length * 8; bit += 1) {
    const flipped = Buffer.from(framed);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(parseChecksummed(magics.clean, CleanShutdownSchema, flipped), undefined);
  }
});

test("the epoch cache answers as a list of epochs would", () => {
  const steps = fc.array(fc.tuple(fc.nat(3), fc.nat(5)), { maxLength: 12 });
  fc.assert(
    fc.property(steps, fc.nat(40), fc.nat(60), (list, cut, start) => {
      const cache = new EpochCache();
      const epochs: number[] = [];
      let epoch = 0;
      for (const [more, records] of list) {
        epoch += more;
        cache.assign(epoch, epochs.length);
        for (let i = 0; i < records; i += 1) epochs.push(epoch);
      }
      const end = Math.min(cut, epochs.length);
      cache.truncateFromEnd(end);
      epochs.length = end;
      cache.truncateFromStart(Math.min(start, end));
      for (const [offset, expected] of epochs.entries()) {
        if (offset >= Math.min(start, end)) assert.equal(cache.epochOf(offset), expected);
      }
      const last = epochs.at(-1);
      if (last === undefined || start >= end) return;
      const asked = cache.endOffsetFor(last, end);
      assert.equal(asked?.leaderEpoch, last);
      assert.equal(asked?.endOffset, end);
      assert.equal(cache.endOffsetFor(last + 100, end), undefined);
    }),
    { numRuns: 2000 },
  );
});

test("the tail cache holds the newest batches within its bound", () => {
  const step = fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 400 }), fc.boolean());
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 0, max: 3000 }),
      fc.integer({ min: 1, max: 1500 }),
      (list, bytesMax, readBytes) => {
        const cache = new TailCache(bytesMax);
        const tails = [cache.partition(), cache.partition(), cache.partition()];
        const logs: Buffer[][] = [[], [], []];
        for (const [i, [which, size, clear]] of list.entries()) {
          const tail = tails[which];
          const log = logs[which] ?? [];
          if (clear && size > 380) tail?.clear();
          const stored = Buffer.alloc(10 + size, i + 1);
          const baseOffset = log.length * 2;
          const [prefix, body] = [stored.subarray(0, 10), stored.subarray(10)];
          tail?.push({ baseOffset, lastOffset: baseOffset + 1, prefix, body });
          log.push(Buffer.from(stored));
          stored.fill(0);
          assert.ok(cache.bytes <= bytesMax, `${cache.bytes} of ${bytesMax}`);
        }
        for (const [which, log] of logs.entries()) {
          const end = log.length * 2;
          let cached = false;
          for (let offset = 0; offset < end; offset += 1) {
            const found = tails[which]?.read(offset, end, readBytes);
            if (cached) assert.ok(found !== undefined, "what is cached reaches to the end");
            cached = found !== undefined;
            if (found === undefined) continue;
            const read = log.slice(offset >> 1, found.nextOffset >> 1);
            assert.ok(read.length > 0);
            assert.deepEqual(Buffer.concat(found.chunks), Buffer.concat(read));
            assert.ok(read.length === 1 || found.bytes <= readBytes);
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("the tail cache holds what its bound has room for", () => {
  const cache = new TailCache(10_000);
  const tail = cache.partition();
  for (let i = 0; i < 100; i += 1) {
    const [prefix, body] = [Buffer.alloc(10), Buffer.alloc(862)];
    tail.push({ baseOffset: i, lastOffset: i, prefix, body });
  }
  // Ten of 1,000 bytes, each with its 128 for the directory.
  assert.equal(cache.bytes, 8720);
  assert.ok(tail.read(90, 100, 1) !== undefined);
  assert.equal(tail.read(89, 100, 1), undefined);
  tail.push({
    baseOffset: 100,
    lastOffset: 100,
    prefix: Buffer.alloc(10),
    body: Buffer.alloc(9900),
  });
  assert.equal(tail.read(99, 101, 1), undefined);
  assert.equal(cache.bytes, 0);
});
