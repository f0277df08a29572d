import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf } from "@millrace/record";
import fc from "fast-check";
import { type Place, SortedOffsets } from "./sorted-offsets.ts";

const key = fc.uint8Array({ maxLength: 3 }).map(keyOf);
const offset = fc.nat(1000);
const command = fc.oneof(
  fc.record({ kind: fc.constant("raise"), key, offset, isTombstone: fc.boolean() }),
  fc.record({ kind: fc.constant("delete"), key, offset }),
  fc.record({ kind: fc.constant("drop"), offset }),
);

const all = (sorted: SortedOffsets, from = ""): [string, Place][] => {
  const found: [string, Place][] = [];
  sorted.scan(from, (one, place) => found.push([one, place]) > 0);
  return found;
};

/** In the order of bytes, by Node's own comparison. */
const inOrder = (model: ReadonlyMap<string, Place>): [string, Place][] =>
  [...model].sort(([a], [b]) => Buffer.compare(Buffer.from(a, "latin1"), Buffer.from(b, "latin1")));

/** Does the same to a plain map. */
class Model {
  readonly sorted = new SortedOffsets();
  readonly map = new Map<string, Place>();

  raise(one: string, at: number, isTombstone: boolean): void {
    this.sorted.raise(one, at, isTombstone);
    const known = this.map.get(one);
    if (known === undefined || known.offset < at) this.map.set(one, { offset: at, isTombstone });
  }

  delete(one: string, at: number): void {
    this.sorted.delete(one, at);
    if (this.map.get(one)?.offset === at) this.map.delete(one);
  }

  dropBelow(start: number): void {
    for (let leaf = this.sorted.leaves - 1; leaf >= 0; leaf -= 1) {
      this.sorted.dropBelow(start, leaf);
    }
    for (const [one, place] of this.map) if (place.offset < start) this.map.delete(one);
  }

  check(): void {
    assert.deepEqual(all(this.sorted), inOrder(this.map));
    assert.equal(this.sorted.size, this.map.size);
    // A place and the end of each key, and its bytes; a leaf, and as much again to spare.
    const least = [...this.map.keys()].reduce((sum, one) => sum + 12 + one.length, 0);
    const most = this.map.size === 0 ? 0 : 4 * least + this.sorted.leaves * 1_024;
    const { bytes } = this.sorted;
    assert.ok(bytes >= least && bytes <= most, `${bytes} bytes, of ${least} to ${most}`);
  }

  /** What was counted as memory has to come to nothing. */
  empty(): void {
    for (const [one, { offset }] of this.map) this.delete(one, offset);
    this.check();
    assert.equal(this.sorted.leaves, 1);
  }
}

test("it holds what a map holds, in the order of bytes", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), key, (commands, from) => {
      const model = new Model();
      for (const one of commands) {
        if (one.kind === "drop") model.dropBelow(one.offset);
        else if ("isTombstone" in one) model.raise(one.key, one.offset, one.isTombstone);
        else if ("key" in one) model.delete(one.key, one.offset);
      }
      model.check();
      for (const [one, place] of model.map) assert.deepEqual(model.sorted.get(one), place);
      assert.equal(model.sorted.get("none of these"), undefined);
      const behind = inOrder(model.map).filter(([one]) => one >= from);
      assert.deepEqual(all(model.sorted, from), behind);
      model.empty();
    }),
  );
});

/** Keys in an order that leaves no order in them. */
const scattered = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `k${(Math.imul(i, 2_654_435_761) >>> 0) % 1_000_003}`);

const ordered = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => String(i).padStart(6, "0"));

test("leaves are split, filled and joined, and lose nothing", () => {
  for (const keys of [scattered(5_000), ordered(5_000), ordered(5_000).reverse()]) {
    const model = new Model();
    keys.forEach((one, i) => {
      model.raise(one, i, i % 3 === 0);
    });
    model.check();
    assert.ok(model.sorted.leaves >= 5_000 / 256, "no leaf is larger than it may be");
    keys.forEach((one, i) => {
      if (i % 50 !== 0) model.delete(one, i);
    });
    model.check();
    assert.ok(model.sorted.leaves < 8, `${model.sorted.leaves} leaves for 100 keys`);
    model.dropBelow(4_000);
    model.check();
    model.raise("a new one", 9_000, false);
    model.check();
    model.empty();
  }
});

test("long keys are in smaller leaves", () => {
  const model = new Model();
  for (let i = 0; i < 200; i += 1) model.raise(`${"k".repeat(2_000)}${(i * 37) % 200}`, i, false);
  model.check();
  assert.ok(model.sorted.leaves >= 7, `${model.sorted.leaves} leaves for 400 kB`);
  model.dropBelow(190);
  model.check();
  model.empty();
});

test("keys that come in order fill their leaves", () => {
  const sorted = new SortedOffsets();
  ordered(5_120).forEach((one, i) => {
    sorted.raise(one, i, false);
  });
  assert.equal(sorted.leaves, 20);
});

test("an older record does not take the place of a later one, nor is that deleted for it", () => {
  const sorted = new SortedOffsets();
  sorted.raise("a", 7, true);
  sorted.raise("a", 3, false);
  sorted.delete("a", 3);
  assert.deepEqual(sorted.get("a"), { offset: 7, isTombstone: true });
  sorted.raise("a", 0, false);
  assert.deepEqual(sorted.get("a"), { offset: 7, isTombstone: true });
  sorted.raise("b", 0, true);
  assert.deepEqual(sorted.get("b"), { offset: 0, isTombstone: true });
});
