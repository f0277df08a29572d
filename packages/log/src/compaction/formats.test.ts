/** Golden bytes of what compaction writes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkRecords, decodeRecords, parseBody, readStored } from "@millrace/record";
import { Incarnation } from "@millrace/sim";
import { atOnce } from "../files/breathe.ts";
import { CleanedLog, readCleanerCheckpoint } from "../partition/cleaned-log.ts";
import { emptyBody, prefixOf } from "../segment/empty-batch.ts";
import { Segment } from "../segment/segment.ts";
import { keyedBatch } from "../testing-keys.ts";
import { simulate } from "../testing-sim.ts";
import { keptRecords } from "./kept-records.ts";

const place = { baseOffset: 5, lastOffset: 300, leaderEpoch: 3, appendTimeMs: 1000 };

test("golden bytes of batches without records", () => {
  const body = emptyBody(place);
  assert.equal(body.toString("hex"), "080110001800200050a7027a00");
  const stored = Buffer.concat([prefixOf(place, body), body]);
  assert.equal(
    stored.toString("hex"),
    "7a30090500000000000000150300000019e80300000000000025731e59ee2d4e8075cd320d080110001800200050a7027a00",
  );
  const found = readStored(stored, 0);
  assert.ok(!("fault" in found) && found.baseOffset === 5 && found.bodyEnd === stored.length);
  const info = parseBody(body);
  assert.deepEqual([info.recordCount, info.lastOffsetDelta, info.producerId], [0, 295, -1]);
  const producer = { producerId: 9, producerEpoch: 1, baseSequence: 70 };
  assert.equal(
    emptyBody(place, producer).toString("hex"),
    "0801100018002000280930013846" + "50a7027a00",
  );
});

test("what is left of a batch keeps its bytes and its offsets", async () => {
  const { info } = await keyedBatch([
    { key: "a", value: "1", timestampMs: 50 },
    { key: "b", value: null, timestampMs: 40 },
    { key: "a", value: "2", timestampMs: 30 },
    { key: "c", value: "", timestampMs: 20 },
  ]);
  const kept = (offsets: readonly number[]) =>
    atOnce(keptRecords(info.records, info, ({ offsetDelta }) => offsets.includes(offsetDelta)));
  assert.equal(kept([]), "none");
  assert.equal(kept([0, 1, 2, 3]), "all");
  const left = kept([1, 3]);
  assert.ok(typeof left === "object");
  assert.deepEqual([left.recordCount, left.maxTimestampMs], [2, 40]);
  assert.equal(left.records.toString("hex"), "0a070a0162181320010a090a01631200183b2003");
  const records = decodeRecords(left.records, info.baseTimestampMs);
  assert.deepEqual(
    records.map(({ offsetDelta, timestampMs }) => [offsetDelta, timestampMs]),
    [
      [1, 40],
      [3, 20],
    ],
  );
  // The tool that verifies logs takes it.
  const sparse = { ...info, recordCount: 2, maxTimestampMs: 40 };
  assert.equal(checkRecords(left.records, sparse), 20);
  for (const wrong of [{ lastOffsetDelta: 2 }, { lastOffsetDelta: 1 }, { recordCount: 1 }]) {
    assert.throws(() => checkRecords(left.records, { ...sparse, ...wrong }));
  }
});

test("golden bytes of a cleaner checkpoint, and what is believed of it", () =>
  simulate({}, async ({ disk, kernel }) => {
    const mounted = disk.mount(new Incarnation(kernel));
    const sized = (baseOffset: number, bytes: number, lastOffset: number): Segment => {
      const segment = new Segment("d", baseOffset);
      segment.append({ lastOffset, bytes, maxTimestampMs: 0, appendTimeMs: 0 }, 4096);
      return segment;
    };
    const segments = [sized(0, 10, 9), sized(10, 20, 29), sized(30, 40, 49), sized(50, 7, 59)];
    const cleaned = new CleanedLog();
    for (const segment of segments.slice(0, 2)) {
      cleaned.wrote(segment, { journalRound: 6n, logStartOffset: 2 });
    }
    cleaned.completed(45, segments, 1000);
    await mounted.makeDirectory("d");
    await cleaned.write(mounted, "d", 7n);
    assert.equal(
      disk.content("d/cleaner-checkpoint")?.toString("hex"),
      "4d524343995eb3a5090700000000000000102d1a05100a18e8071a07080a101418e8071a04081e1028201e28063002",
    );
    const message = await readCleanerCheckpoint(mounted, "d");
    assert.ok(message !== undefined);
    const loaded = (found: readonly Segment[]): [number, number[]] => {
      const again = new CleanedLog();
      again.load(message, found);
      return [again.upTo, found.map((segment) => again.cleanedMsOf(segment))];
    };
    // The third one was cleaned in part: its tombstones were not all seen.
    assert.deepEqual(loaded(segments), [45, [1000, 1000, 0, 0]]);
    assert.deepEqual(loaded(segments.slice(1)), [45, [1000, 0, 0]]);
    const other = segments.with(1, sized(10, 21, 29));
    assert.deepEqual(loaded(other), [10, [1000, 0, 0, 0]]);
    // The last one takes appends.
    assert.deepEqual(loaded(segments.slice(0, 3)), [30, [1000, 1000, 0]]);
    assert.ok(disk.flipBit("d/cleaner-checkpoint", 20, 1));
    assert.equal(await readCleanerCheckpoint(mounted, "d"), undefined);
  }));
