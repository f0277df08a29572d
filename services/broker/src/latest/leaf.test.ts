/** A leaf against a plain list that is sorted anew each time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf } from "@millrace/record";
import fc from "fast-check";
import { Leaf } from "./leaf.ts";

/** Few different bytes, so that many keys begin alike; the least and the largest among them. */
const key = fc
  .array(fc.constantFrom(0, 0x61, 0x80, 0xff), { maxLength: 9 })
  .map((bytes) => keyOf(Uint8Array.from(bytes)));
const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("set"), key, value: fc.integer() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove"), key, value: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut"), key, value: fc.boolean() }) },
);

type Entry = readonly [string, number];

const entriesOf = (leaf: Leaf): Entry[] =>
  Array.from({ length: leaf.length }, (_, at): Entry => [leaf.keyAt(at), leaf.valueAt(at)]);

const bytesIn = (one: string): Buffer => Buffer.from(one, "latin1");

const sorted = (model: ReadonlyMap<string, number>): Entry[] =>
  [...model].sort(([a], [b]) => Buffer.compare(bytesIn(a), bytesIn(b)));

const set = (leaf: Leaf, model: Map<string, number>, one: string, value: number): void => {
  const { at, isThere } = leaf.find(one);
  assert.equal(isThere, model.has(one), one);
  if (isThere) leaf.setValue(at, value);
  else leaf.insert(at, one, value);
  model.set(one, value);
};

/** Cuts it in two, and puts both together again: the two halves of all that it has. */
const cutAndJoin = (leaf: Leaf, at: number): void => {
  const all = entriesOf(leaf);
  const right = leaf.split(at);
  assert.deepEqual([entriesOf(leaf), entriesOf(right)], [all.slice(0, at), all.slice(at)]);
  assert.ok(leaf.joins(right));
  leaf.join(right);
};

test("it holds what a sorted list holds", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 80 }), key, (commands, missing) => {
      const leaf = new Leaf();
      const model = new Map<string, number>();
      for (const { key: one, value } of commands) {
        if (typeof value === "boolean") cutAndJoin(leaf, leaf.find(one).at);
        else if (model.size > 60 || (value >= 0 && value <= 3 && model.has(one))) {
          leaf.removeIf((_, at) => leaf.keyAt(at) === one);
          model.delete(one);
        } else set(leaf, model, one, value);
        assert.deepEqual(entriesOf(leaf), sorted(model));
      }
      const { at } = leaf.find(missing);
      const before = sorted(model).filter(([one]) => one < missing);
      assert.equal(at, before.length);
      leaf.removeIf(() => true);
      assert.deepEqual([leaf.length, leaf.memoryBytes], [0, 0]);
    }),
  );
});

test("it has room for so many keys of so many bytes, or for one that is larger", () => {
  const many = new Leaf();
  for (let i = 0; many.hasRoomFor("k"); i += 1) many.insert(i, String(i).padStart(3, "0"), i);
  assert.equal(many.length, 256);
  const large = new Leaf();
  for (let i = 0; large.hasRoomFor("x".repeat(4_095)); i += 1) {
    large.insert(i, String(i).padStart(4_096, "0"), i);
  }
  assert.equal(large.length, 16);
  const huge = new Leaf();
  huge.insert(0, "x".repeat(1_000_000), 1);
  assert.equal(huge.keyAt(0).length, 1_000_000);
  assert.deepEqual(
    [huge.hasRoomFor("y"), huge.joins(many), huge.joins(new Leaf())],
    [true, false, true],
  );
  huge.insert(1, "y", 2);
  assert.deepEqual([huge.hasRoomFor("z"), huge.split(1).keyAt(0), huge.length], [false, "y", 1]);
});

test("memory of keys that are gone is given back", () => {
  const leaf = new Leaf();
  for (let i = 0; i < 256; i += 1) leaf.insert(i, String(i).padStart(100, "0"), i);
  const { memoryBytes } = leaf;
  assert.ok(memoryBytes > 256 * 112, `${memoryBytes} bytes`);
  leaf.removeIf((value) => value % 16 !== 0);
  assert.ok(leaf.memoryBytes < memoryBytes / 4, `${leaf.memoryBytes} of ${memoryBytes} bytes`);
  assert.deepEqual(
    [leaf.length, leaf.keyAt(15), leaf.valueAt(15)],
    [16, "240".padStart(100, "0"), 240],
  );
});
