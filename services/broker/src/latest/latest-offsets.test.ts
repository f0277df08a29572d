/** What a leader knows of keys, against a plain log that is read from its start each time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LatestOffsets } from "./latest-offsets.ts";
import { fewKeysBytes } from "./testing.ts";

interface Line {
  readonly key: string;
  readonly isNull: boolean;
}

const line: fc.Arbitrary<Line> = fc.record({
  key: fc.constantFrom("a", "b", "c", "d"),
  isNull: fc.boolean(),
});
const command = fc.oneof(
  { weight: 4, arbitrary: fc.array(line, { minLength: 1, maxLength: 5 }) },
  // Batches that become committed, and records that are taken over at a time.
  {
    weight: 3,
    arbitrary: fc.record({ batches: fc.nat(3), atOnce: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 1, arbitrary: fc.constant("load" as const) },
  // Another leader cuts what is not committed, and leads, or this one again.
  { weight: 1, arbitrary: fc.constant("leader change" as const) },
);

/** The log as a list, and what an index is to say of it. */
class World {
  lines: Line[] = [];
  ends: number[] = [];
  highWatermark = 0;
  index = new LatestOffsets(0);
  /** What the index has not read yet. */
  unread: [Line, number][] = [];

  append(batch: readonly Line[]): void {
    const keys = batch.map(({ key }) => key);
    const isNull = batch.map((one) => one.isNull);
    this.index.append(this.lines.length, { keys, isNull });
    this.lines.push(...batch);
    this.ends.push(this.lines.length);
  }

  commit(batches: number, atOnce: number): void {
    for (const end of this.ends.splice(0, batches)) this.highWatermark = end;
    while (!this.index.commit(this.highWatermark, atOnce)) {
      assert.ok(this.index.committedEnd < this.highWatermark);
      this.check(this.index.committedEnd);
    }
    assert.equal(this.index.committedEnd, this.highWatermark);
  }

  /** Every leader begins with what is committed, in any order. */
  changeLeader(): void {
    this.lines.length = this.highWatermark;
    this.ends = [];
    this.index = new LatestOffsets(this.highWatermark);
    this.unread = this.lines.map((one, offset): [Line, number] => [one, offset]).reverse();
  }

  load(): void {
    for (const [{ isNull, key }, offset] of this.unread.splice(0)) {
      this.index.load(key, offset, isNull);
    }
  }

  last(key: string, end: number): { offset: number; isTombstone: boolean } | undefined {
    const offset = this.lines.slice(0, end).findLastIndex((one) => one.key === key);
    return offset < 0 ? undefined : { offset, isTombstone: this.lines[offset]?.isNull === true };
  }

  check(committedEnd: number): void {
    if (this.unread.length > 0) return;
    const expected: unknown[] = [];
    for (const key of ["a", "b", "c", "d", "e"]) {
      const committed = this.last(key, committedEnd);
      assert.deepEqual(this.index.latest(key), committed, `${key} below ${committedEnd}`);
      const appended = this.last(key, this.lines.length);
      assert.equal(this.index.lastAppended(key), appended?.offset, key);
      if (committed !== undefined) expected.push([key, committed]);
    }
    const found: unknown[] = [];
    this.index.scan("", (key, place) => found.push([key, place]) > 0);
    assert.deepEqual(found, expected);
    assert.equal(this.index.size, expected.length);
  }
}

test("it says what the log says, through appends, commits, cuts and changes of the leader", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const world = new World();
      for (const one of commands) {
        if (one === "load") world.load();
        else if (one === "leader change") world.changeLeader();
        else if ("batches" in one) world.commit(one.batches, one.atOnce);
        else world.append(one);
        world.check(world.highWatermark);
      }
      world.load();
      world.check(world.highWatermark);
      world.commit(100, 2);
      world.check(world.lines.length);
      const bytes = world.index.size === 0 ? 0 : fewKeysBytes;
      const left = [world.index.bytes, world.index.waiting];
      assert.deepEqual(left, [bytes, 0], "nothing is left of what has waited");
    }),
  );
});

test("what waits counts as memory, and a batch is committed as a whole", () => {
  const index = new LatestOffsets(10);
  index.append(10, { keys: ["a", "bb"], isNull: [false, false] });
  assert.equal(index.bytes, 2 * 128 + 3);
  assert.deepEqual([index.commit(11, 100), index.latest("a")], [true, undefined]);
  assert.deepEqual([index.committedEnd, index.lastAppended("a")], [10, 10]);
  assert.equal(index.commit(12, 100), true);
  assert.deepEqual([index.committedEnd, index.bytes], [12, fewKeysBytes]);
});
