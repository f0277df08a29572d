import assert from "node:assert/strict";
import { test } from "node:test";
import { parseEndpoint } from "@millrace/errors";
import { groupStateTopic } from "@millrace/metadata";
import fc from "fast-check";
import { FakeView, partitionOf, topicOf } from "../testing/fake-view.ts";
import { assignShards, GroupShards, shardOf } from "./group-shards.ts";
import type { CoordinatorView } from "./view.ts";

const idSet = fc.uniqueArray(fc.nat(10_000), { minLength: 1, maxLength: 12 });
const countOfShards = fc.integer({ min: 1, max: 100 });

const movesBetween = (before: readonly number[], after: readonly number[]): number =>
  before.filter((id, shard) => id !== after[shard]).length;

test("every shard has a coordinator, and none has more than its share", () => {
  fc.assert(
    fc.property(idSet, countOfShards, (ids, count) => {
      const assigned = assignShards(count, ids);
      assert.equal(assigned.length, count);
      const share = Math.ceil(count / ids.length);
      for (const id of ids) {
        assert.ok(assigned.filter((one) => one === id).length <= share);
      }
      for (const id of assigned) assert.ok(ids.includes(id));
    }),
  );
});

test("the order in which coordinators are known decides nothing", () => {
  fc.assert(
    fc.property(idSet, countOfShards, fc.infiniteStream(fc.nat()), (ids, count, keys) => {
      const keyed = ids.map((id) => ({ id, key: keys.next().value ?? 0 }));
      const shuffled = keyed.toSorted((a, b) => a.key - b.key).map(({ id }) => id);
      assert.deepEqual(assignShards(count, shuffled), assignShards(count, ids));
    }),
  );
});

test("one that comes or goes moves little more than its own shards", () => {
  for (const count of [8, 32, 64]) {
    for (const others of [1, 2, 3, 5, 8]) {
      let moves = 0;
      let least = 0;
      for (let first = 0; first < 1000; first += 20) {
        const ids = Array.from({ length: others }, (_, one) => first + one);
        const before = assignShards(count, ids);
        const after = assignShards(count, [...ids, first + others]);
        const moved = movesBetween(before, after);
        assert.ok(moved <= 3 * Math.ceil(count / (others + 1)), `${moved} of ${count}`);
        moves += moved;
        least += after.filter((id) => id === first + others).length;
      }
      assert.ok(moves <= 1.6 * least, `${moves} moves where ${least} had to be`);
    }
  }
});

const coordinatorOf = (coordinatorId: number, isShuttingDown = false): CoordinatorView => ({
  ...{ coordinatorId, isShuttingDown, endpoint: parseEndpoint(`g${coordinatorId}:7400`) },
});

test("a coordinator that stops, or tells no address, serves nothing", () => {
  const partitions = Array.from({ length: 8 }, (_, one) => partitionOf(one));
  const view = new FakeView(1, [topicOf(groupStateTopic, partitions)]);
  const shards = new GroupShards();
  const served = () =>
    partitions.map((_, shard) => shards.coordinatorOf(view.current, shard, 8)?.coordinatorId);
  assert.deepEqual(new Set(served()), new Set([undefined]));
  view.change({ coordinators: [coordinatorOf(1), coordinatorOf(2)] });
  assert.deepEqual(new Set(served()), new Set([1, 2]));
  view.change({ coordinators: [coordinatorOf(1), coordinatorOf(2, true)] });
  assert.deepEqual(new Set(served()), new Set([1]));
  view.change({ coordinators: [{ ...coordinatorOf(1), endpoint: undefined }, coordinatorOf(2)] });
  assert.deepEqual(new Set(served()), new Set([2]));
  assert.equal(shards.coordinatorOfGroup(view.current, "g")?.coordinatorId, 2);
});

test("before there is a group, any coordinator is told, and afterwards the shard's own", () => {
  const view = new FakeView(1);
  const shards = new GroupShards();
  assert.equal(shards.coordinatorOfGroup(view.current, "g"), undefined);
  view.change({ coordinators: [1, 2, 3].map((id) => coordinatorOf(id)) });
  assert.ok(shards.coordinatorOfGroup(view.current, "g") !== undefined);
  const partitions = Array.from({ length: 8 }, (_, one) => partitionOf(one));
  view.change({ put: [topicOf(groupStateTopic, partitions)] });
  const own = assignShards(8, [1, 2, 3])[shardOf("g", 8)];
  assert.equal(shards.coordinatorOfGroup(view.current, "g")?.coordinatorId, own);
});
