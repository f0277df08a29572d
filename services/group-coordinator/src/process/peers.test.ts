import assert from "node:assert/strict";
import { test } from "node:test";
import { peersOf, watchedPeers } from "./peers.ts";

test("each coordinator is watched over by others, and by no more than needed", () => {
  const ids = [2, 3, 5, 7, 11, 13];
  const watchers = new Map(ids.map((id) => [id, 0]));
  for (const own of ids) {
    const peers = peersOf(own, ids);
    assert.equal(new Set(peers).size, watchedPeers);
    assert.ok(!peers.includes(own));
    for (const id of peers) watchers.set(id, (watchers.get(id) ?? 0) + 1);
  }
  assert.deepEqual(
    [...watchers.values()],
    ids.map(() => watchedPeers),
  );
});

test("few coordinators watch over one another, and one alone over nobody", () => {
  assert.deepEqual(peersOf(2, [1, 2, 3]), [3, 1]);
  assert.deepEqual(peersOf(2, [2]), []);
  // It is not registered yet, or not any more.
  assert.deepEqual(peersOf(2, [1]), [1]);
});
