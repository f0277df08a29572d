/** The rules of a group, as transcripts: what is said to it, what it records, what it tells. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toCommit } from "../testing/client.ts";
import { reading, some, Transcript, t0 } from "../testing/transcript.ts";

/** `a` has both partitions, and then has to give one to `b`. */
const handingOver = (): Transcript => {
  const group = new Transcript();
  group.join("a", 1);
  group.report("a", 1, 2, some(0, 1));
  assert.deepEqual(group.join("b", 2), [
    "b is in",
    "epoch 2",
    "tell b/2: 1 []",
    "a has [1] at 2 gives back [0]",
    "tell a/1: 3 [1]",
  ]);
  return group;
};

test("a member that joins is told what it has, and then what it gets", () => {
  const group = new Transcript();
  assert.deepEqual(group.join("a", 1), [
    "a is in",
    "epoch 1",
    "tell a/1: 1 []",
    "a has [0,1] at 1",
    "tell a/1: 2 [0,1] from 0@- 1@-",
  ]);
  assert.deepEqual(group.report("a", 1, 2, some(0, 1)), []);
});

test("a partition goes on once its owner has reported without it, and not before", () => {
  const group = handingOver();
  // Of the assignment before.
  assert.deepEqual(group.report("a", 1, 2, some(1)), []);
  // Still at it.
  assert.deepEqual(group.report("a", 1, 3, some(0, 1)), []);
  assert.deepEqual(group.commit("a", 1, 0, 7), ["offset 0: 7"]);
  assert.deepEqual(group.report("a", 1, 3, some(1)), [
    "a has [1] at 2",
    "b has [0] at 2",
    "tell b/2: 2 [0] from 0@7",
  ]);
  assert.deepEqual(group.commit("a", 1, 0, 8), ["PARTITION_NOT_ASSIGNED"]);
  assert.deepEqual(group.commit("b", 2, 1, 8), ["PARTITION_NOT_ASSIGNED"]);
});

test("a member that keeps what was taken is expelled after its rebalance timeout", () => {
  const group = handingOver();
  group.monoMs += 900;
  group.shard.heard({ group: "g", memberId: "a", session: 1 }, group.now);
  group.shard.heard({ group: "g", memberId: "b", session: 2 }, group.now);
  assert.deepEqual(group.pass(900), []);
  group.shard.heard({ group: "g", memberId: "a", session: 1 }, group.now);
  group.shard.heard({ group: "g", memberId: "b", session: 2 }, group.now);
  assert.deepEqual(group.pass(199), []);
  assert.deepEqual(group.pass(1), [
    "a is gone",
    "epoch 3",
    "b has [0] at 2",
    "tell a/1: end",
    "tell b/2: 2 [0] from 0@-",
    "b has [0,1] at 3",
    "tell b/2: 3 [0,1] from 1@-",
  ]);
  assert.deepEqual(group.commit("a", 1, 0, 7), ["UNKNOWN_MEMBER_ID"]);
});

test("a rebalance timeout may be shorter than the session timeout", () => {
  const group = new Transcript();
  group.join("a", 1, reading({ rebalanceTimeoutMs: 500 }));
  group.report("a", 1, 2, some(0, 1));
  group.join("b", 2);
  assert.deepEqual(group.pass(499), []);
  assert.equal(group.pass(1)[0], "a is gone");
});

test("a member that is silent is expelled after its session timeout, with a stream or without", () => {
  for (const breaks of [false, true]) {
    const group = new Transcript();
    group.join("a", 1);
    group.monoMs += 500;
    if (breaks) group.lost("a", 1);
    assert.deepEqual(group.pass(499), []);
    const ends = ["a is gone", "epoch 2"];
    if (breaks) {
      assert.deepEqual(group.pass(500), []);
      assert.deepEqual(group.pass(1), ends);
    } else {
      assert.deepEqual(group.pass(1), [...ends, "tell a/1: end"]);
    }
  }
});

test("a member that owns what it was not given is expelled", () => {
  const group = handingOver();
  assert.deepEqual(group.report("b", 2, 1, some(0)).slice(0, 2), ["b is gone", "epoch 3"]);
  const other = handingOver();
  // No such assignment was made.
  assert.deepEqual(other.report("b", 2, 2, some()).slice(0, 2), ["b is gone", "epoch 3"]);
});

test("a member comes back with what it owns, and what it dropped goes on", () => {
  const group = handingOver();
  group.lost("a", 1);
  assert.deepEqual(group.comeBack("a", 3, 2, some(1)), [
    "a is in",
    "a has [1] at 2",
    "b has [0] at 2",
    "tell b/2: 2 [0] from 0@-",
    "tell a/3: 1 [1]",
  ]);
});

test("a member that comes back without a partition that it has is told where to go on", () => {
  const group = new Transcript();
  group.join("a", 1);
  group.commit("a", 1, 1, 5);
  group.lost("a", 1);
  assert.deepEqual(group.comeBack("a", 3, 1, some(0)), ["a is in", "tell a/3: 1 [0,1] from 1@5"]);
});

test("a new stream takes the place of the old one", () => {
  const group = handingOver();
  const lines = group.comeBack("a", 3, 2, some(0, 1));
  assert.ok(lines.includes("tell a/1: end"), lines.join("; "));
  assert.deepEqual(group.commit("a", 1, 1, 5), ["UNKNOWN_MEMBER_ID"]);
  assert.deepEqual(group.report("a", 3, 1, some(1)).at(-1), "tell b/2: 2 [0] from 0@-");
});

test("who comes back must own what it was given, under an epoch that was", () => {
  const group = handingOver();
  group.lost("b", 2);
  assert.deepEqual(group.comeBack("b", 3, 0, some(0)), ["FENCED_MEMBER_EPOCH"]);
  assert.deepEqual(group.comeBack("b", 3, 3, some()), ["FENCED_MEMBER_EPOCH"]);
  assert.deepEqual(group.comeBack("x", 3, 1, some()), ["UNKNOWN_MEMBER_ID"]);
  const named = reading({ instanceId: "i" });
  assert.deepEqual(group.comeBack("b", 3, 0, some(), named), ["INVALID_REQUEST"]);
  assert.deepEqual(group.comeBack("b", 3, 0, some()), ["b is in", "tell b/3: 1 []"]);
});

test("a member that leaves gives all of it back at once", () => {
  const group = handingOver();
  assert.deepEqual(group.leave("a", 1), [
    "a is gone",
    "epoch 3",
    "b has [0] at 2",
    "tell b/2: 2 [0] from 0@-",
    "b has [0,1] at 3",
    "tell b/2: 3 [0,1] from 1@-",
  ]);
  assert.deepEqual(group.leave("b", 2), ["b is gone", "epoch 4"]);
  assert.equal(group.shard.groups.get("g")?.state, "empty");
});

test("a static member under a new id has what its predecessor had, and nobody else notices", () => {
  const group = new Transcript();
  const named = reading({ instanceId: "i" });
  group.join("a", 1, named);
  group.join("b", 2);
  group.report("a", 1, 3, some(1));
  assert.deepEqual(group.join("c", 3, named), ["UNRELEASED_INSTANCE_ID"]);
  assert.deepEqual(group.leave("a", 1, true), []);
  assert.deepEqual(group.join("c", 3, named), [
    "a is gone",
    "c is in",
    "c has [1] at 2",
    "tell c/3: 1 [1] from 1@-",
  ]);
  assert.equal(group.shard.groups.get("g")?.state, "stable");
  assert.deepEqual(group.comeBack("a", 4, 2, some(1), named), ["FENCED_INSTANCE_ID"]);
  // Another subscription is another epoch.
  group.lost("c", 3);
  const other = reading({ instanceId: "i", topics: [] });
  assert.ok(group.join("d", 5, other).includes("epoch 3"));
});

test("a static member that does not come back in time is expelled", () => {
  const group = new Transcript();
  group.join("a", 1, reading({ instanceId: "i" }));
  group.leave("a", 1, true);
  assert.deepEqual(group.pass(999), []);
  assert.deepEqual(group.pass(1), ["a is gone", "epoch 2"]);
  // The name is free.
  assert.equal(group.join("b", 2, reading({ instanceId: "i" }))[0], "b is in");
});

test("a static member whose successor joins while a target is being made keeps its partitions", () => {
  const group = new Transcript();
  const named = reading({ instanceId: "i" });
  group.join("a", 1, named);
  group.lost("a", 1);
  const joining = { memberId: "b", session: 2, subscription: reading(), returning: undefined };
  group.lines(group.shard.join("g", joining, group.now).changes);
  const request = group.shard.nextTarget();
  assert.ok(request !== undefined);
  const successor = { memberId: "c", session: 3, subscription: named, returning: undefined };
  group.lines(group.shard.join("g", successor, group.now).changes);
  // Made for the member that is gone: it says nothing of the one that is there.
  const target = new Map([
    ["a", some(1)],
    ["b", some(0)],
  ]);
  assert.deepEqual(group.lines(group.shard.takeTarget(request, target, group.now)), []);
  assert.deepEqual(group.targets(), ["c has [1] at 3 gives back [0]", "tell c/3: 2 [1]"]);
});

test("a reset is told to the owner, whose commits count again once it went on there", () => {
  const group = new Transcript();
  group.join("a", 1);
  group.commit("a", 1, 0, 5);
  const reset = (offset: number) =>
    group.says((shard, now) => shard.reset("g", [toCommit(t0, 0, offset)], now));
  assert.deepEqual(reset(2), [
    "offset 0: 2",
    "a has [0,1] at 1 resets [0]",
    "tell a/1: 3 [0,1] from 0@2",
  ]);
  assert.deepEqual(group.commit("a", 1, 0, 6), ["POSITION_RESET"]);
  assert.deepEqual(group.report("a", 1, 2, some(0, 1)), []);
  assert.deepEqual(group.commit("a", 1, 0, 6), ["POSITION_RESET"]);
  assert.deepEqual(group.commit("a", 1, 1, 9), ["offset 1: 9"]);
  assert.deepEqual(group.report("a", 1, 3, some(0, 1)), ["a has [0,1] at 1"]);
  assert.deepEqual(group.commit("a", 1, 0, 3), ["offset 0: 3"]);
  // Also of one that comes back without having heard of it.
  reset(1);
  group.lost("a", 1);
  assert.deepEqual(group.comeBack("a", 2, 1, some(0, 1)), [
    "a is in",
    "tell a/2: 1 [0,1] from 0@1",
  ]);
  assert.deepEqual(group.commit("a", 2, 0, 6), ["POSITION_RESET"]);
});

test("a reset of a partition on its way back is not undone by the one that gives it back", () => {
  const group = handingOver();
  group.says((shard, now) => shard.reset("g", [toCommit(t0, 0, 2)], now));
  assert.deepEqual(group.commit("a", 1, 0, 7), ["POSITION_RESET"]);
  assert.equal(group.report("a", 1, 4, some(1)).at(-1), "tell b/2: 2 [0] from 0@2");
  assert.deepEqual(group.commit("b", 2, 0, 3), ["offset 0: 3"]);
});

test("what cannot be committed is refused by itself", () => {
  const group = new Transcript();
  group.join("a", 1);
  const stream = { group: "g", memberId: "a", session: 1 };
  const large = { ...toCommit(t0, 0, 1), metadata: new Uint8Array(9) };
  const offsets = [toCommit(t0, 1, 4), toCommit(t0, 2, 4), large];
  const { answer, changes } = group.shard.commit(stream, offsets, group.now);
  assert.deepEqual(group.lines(changes), ["offset 1: 4"]);
  assert.deepEqual(
    answer.map(({ code, partition }) => [partition, code]),
    [
      [2, 36],
      [0, 59],
    ],
  );
});

test("commits from outside are for groups without members, and make one", () => {
  const group = new Transcript();
  const commit = (offset: number) =>
    group.says((shard, now) => shard.commitFromOutside("g", [toCommit(t0, 0, offset)], now));
  assert.deepEqual(commit(5), ["offset 0: 5"]);
  assert.equal(group.join("a", 1).at(-1), "tell a/1: 2 [0,1] from 0@5 1@-");
  assert.deepEqual(commit(6), ["NON_EMPTY_GROUP"]);
  assert.deepEqual(
    group.says((shard) => shard.delete("g")),
    ["NON_EMPTY_GROUP"],
  );
  group.leave("a", 1);
  assert.deepEqual(
    group.says((shard) => shard.delete("g")),
    ["offset 0: none", "no group"],
  );
  assert.deepEqual(
    group.says((shard) => shard.delete("g")),
    ["GROUP_ID_NOT_FOUND"],
  );
});

test("a group has at most so many members, and a static one that comes back is none more", () => {
  const group = new Transcript();
  group.join("a", 1, reading({ instanceId: "i" }));
  group.join("b", 2);
  group.join("c", 3);
  assert.deepEqual(group.join("d", 4), ["GROUP_MAX_SIZE_REACHED"]);
  group.lost("a", 1);
  assert.equal(group.join("d", 4, reading({ instanceId: "i" }))[0], "a is gone");
});

test("partitions that are added are given, and those of a topic that is gone are taken", () => {
  const group = new Transcript();
  group.join("a", 1);
  group.report("a", 1, 2, some(0, 1));
  const change = (count: number) => group.says((shard) => shard.topicsChanged(group.topics(count)));
  assert.deepEqual(change(2), []);
  assert.deepEqual(change(3), ["epoch 2", "a has [0,1,2] at 2", "tell a/1: 3 [0,1,2] from 2@-"]);
  assert.deepEqual(change(0), ["epoch 3", "a has [] at 3 gives back [0,1,2]", "tell a/1: 4 []"]);
});

test("another coordinator knows who has what, and waits for all of them", () => {
  const group = handingOver();
  group.commit("a", 1, 0, 7);
  assert.deepEqual(group.failOver(), []);
  assert.deepEqual(group.pass(999), []);
  // `b` waits for what `a` has not given back.
  assert.deepEqual(group.comeBack("b", 5, 0, some()), ["b is in", "tell b/5: 1 []"]);
  assert.deepEqual(group.comeBack("a", 6, 2, some(0, 1)), ["a is in", "tell a/6: 1 [1]"]);
  assert.equal(group.report("a", 6, 1, some(1)).at(-1), "tell b/5: 2 [0] from 0@7");
});

test("members that do not come to the next coordinator are expelled", () => {
  const group = handingOver();
  group.failOver();
  assert.deepEqual(group.pass(1000), ["a is gone", "epoch 3", "b is gone", "epoch 4"]);
});

test("the later of two records says who has a partition that both have", () => {
  const group = handingOver();
  group.report("a", 1, 3, some(1));
  // The record of `a` without it was in a batch that a crash took.
  const index = group.records.findLastIndex(
    (record) => record.kind === "assignment" && record.memberId === "a",
  );
  group.records.splice(index, 1);
  group.failOver();
  assert.equal(group.shard.groups.get("g")?.ownerOf(t0, 0), "b");
  assert.deepEqual(group.comeBack("a", 6, 2, some(0)), ["FENCED_MEMBER_EPOCH"]);
});

test("offsets are forgotten after the retention time, unless a member reads the topic", () => {
  const group = new Transcript();
  const look = () => group.says((shard, now) => shard.expire(now, 2));
  // The first look may find that a pass has ended.
  const expire = () => [...look(), ...look()];
  group.join("a", 1);
  group.commit("a", 1, 0, 5);
  group.monoMs += 10_001;
  assert.deepEqual(expire(), []);
  group.leave("a", 1);
  group.monoMs += 10_000;
  assert.deepEqual(expire(), []);
  group.monoMs += 1;
  assert.deepEqual(expire(), ["offset 0: none", "no group"]);
  assert.equal(group.shard.groups.size, 0);
});

test("the assignor that most members ask for is used", () => {
  const group = new Transcript();
  const of = () => group.shard.groups.get("g")?.assignor;
  group.join("a", 1, reading({ assignor: "range" }));
  assert.equal(of(), "range");
  assert.ok(group.join("b", 2, reading({ assignor: "uniform" })).length > 0);
  assert.equal(of(), "uniform");
});
