/** What the model lets a log forget of its producers when a snapshot of them rots. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crcOf } from "@millrace/record";
import { makeBatch } from "./batches.ts";
import { doubtLostProducers, type Files } from "./lost-producers.ts";
import { PartitionModel } from "./model.ts";

/**
 * Ten batches of one record each; producer 7 sent the even ones, producer 8 the odd ones, nobody
 * those from `plainFrom` on.
 */
const log = (plainFrom = 10): PartitionModel => {
  const model = new PartitionModel("t");
  for (let offset = 0; offset < 10; offset += 1) {
    const producerId = 7 + (offset % 2);
    const stamp = { producerId, producerEpoch: 0, baseSequence: offset >> 1 };
    model.append({
      baseOffset: offset,
      lastOffset: offset,
      leaderEpoch: 1,
      appendTimeMs: 0,
      batch: makeBatch(
        [{ value: `v${offset}`, timestampMs: 0 }],
        offset < plainFrom ? stamp : undefined,
      ),
      timestampsMs: [0],
      policy: "commit",
      acked: true,
    });
  }
  return model;
};

const nameOf = (offset: number): string =>
  `partitions/p/producers.${`${offset}`.padStart(20, "0")}`;

const snapshot = (rotten: boolean): Buffer => {
  const content = Buffer.from("MRPS....table");
  content.writeUInt32LE(crcOf(content.subarray(8)), 4);
  if (rotten) content[9] = (content[9] ?? 0) ^ 1;
  return content;
};

/** Snapshots at offsets, rotten or not, and one segment that has everything from `base` on. */
const files = (model: PartitionModel, rotten: Record<number, boolean>, base: number): Files => {
  const contents = new Map<string, Buffer>();
  for (const [at, is] of Object.entries(rotten)) contents.set(nameOf(Number(at)), snapshot(is));
  const kept = model.batches.filter(({ baseOffset }) => baseOffset >= base);
  contents.set(`partitions/p/${base}.log`, Buffer.concat(kept.map(({ batch }) => batch.body)));
  const gone = model.batches.map(({ batch }) => batch.body);
  contents.set("partitions/p/0.log.deleted", Buffer.concat(gone));
  return { paths: () => [...contents.keys()], content: (path) => contents.get(path) };
};

/** Producers that are certain after rot of the snapshots at `rotted`. */
const certain = (
  rotten: Record<number, boolean>,
  base: number,
  rotted = [10],
  model = log(),
): number[] => {
  model.durableEnd = model.endOffset;
  for (const offset of rotted) model.rottenSnapshots.add(offset);
  doubtLostProducers(files(model, rotten, base), "p", model);
  return model.producers.ids();
};

test("producers of deleted segments are in doubt once their snapshot has rotted", () => {
  assert.deepEqual(certain({ 10: true }, 10), []);
  // The snapshot before it does not know the batches in between.
  assert.deepEqual(certain({ 4: false, 10: true }, 10), []);
});

test("the log cannot tell who sent what is gone", () => {
  assert.deepEqual(certain({ 4: false, 10: true }, 10, [10], log(4)), []);
});

test("nothing is in doubt that a segment or another snapshot has", () => {
  assert.deepEqual(certain({ 10: true }, 0), [7, 8], "the segments are there");
  assert.deepEqual(certain({ 4: false, 10: true }, 4), [7, 8], "what is gone has a snapshot");
  assert.deepEqual(certain({ 4: true, 10: false }, 10, [4]), [7, 8], "a newer one has all");
});

test("a newer snapshot does not help where the log may end before it", () => {
  const cut = log();
  cut.truncation = { offset: 9 };
  assert.deepEqual(certain({ 4: true, 10: false }, 10, [4], cut), []);
});

test("a snapshot that was written again, or that something else broke, excuses nothing", () => {
  assert.deepEqual(certain({ 10: false }, 10), [7, 8]);
  assert.deepEqual(certain({ 10: true }, 10, []), [7, 8]);
});

test("a snapshot that the disk did not give is lost, whatever is written after it", () => {
  const idsAfter = (unread: string, base: number): number[] => {
    const model = log();
    doubtLostProducers(files(model, { 4: false, 10: false }, base), "p", model, [unread]);
    return model.producers.ids();
  };
  assert.deepEqual(idsAfter(nameOf(8), 8), []);
  assert.deepEqual(idsAfter(nameOf(8), 4), [7, 8], "the segments are there");
  assert.deepEqual(idsAfter(nameOf(8).replace("/p/", "/q/"), 8), [7, 8], "another partition's");
});
