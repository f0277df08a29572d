import assert from "node:assert/strict";
import { test } from "node:test";
import { diskKinds, faultKinds, isLinkKind, isRoomKind, planOf, type Step } from "./plan.ts";

const stepsOf = (seed: number, count: number): Step[] => [...planOf(seed).take(count)];

test("a seed makes one plan, another seed another", () => {
  assert.deepEqual(stepsOf(1, 50), stepsOf(1, 50));
  assert.notDeepEqual(stepsOf(1, 50), stepsOf(2, 50));
});

test("no kind comes again before every other kind has come", () => {
  const kinds = stepsOf(3, 2 * faultKinds.length).map(({ kind }) => kind);
  for (const from of [0, faultKinds.length]) {
    const round = kinds.slice(from, from + faultKinds.length);
    assert.deepEqual(round.toSorted(), faultKinds.toSorted());
  }
});

test("a plan has the kinds that it is given alone", () => {
  const some = ["kill etcd", "stall link"] as const;
  const kinds = new Set([...planOf(3, some).take(10)].map(({ kind }) => kind));
  assert.deepEqual([...kinds].toSorted(), some);
});

test("pauses and cuts last 1 to 12 s, an outage of etcd 20 s, everything else no time", () => {
  for (const { durationMs, kind, other, pick, quietMs } of stepsOf(4, 1000)) {
    if (kind === "etcd down") assert.equal(durationMs, 20_000);
    else if (kind.startsWith("pause") || isLinkKind(kind) || isRoomKind(kind)) {
      assert.ok(durationMs >= 1000 && durationMs <= 12_000);
    } else assert.equal(durationMs, 0, kind);
    for (const fraction of [pick, other]) assert.ok(fraction >= 0 && fraction < 1);
    assert.ok(quietMs >= 1000 && quietMs <= 5000);
  }
});

test("a fault of a disk ends with a whole cluster: the next one may take another replica", () => {
  for (const { heals } of planOf(5, diskKinds).take(100)) assert.equal(heals, true);
});
