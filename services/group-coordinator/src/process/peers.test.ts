import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { encodeRecord, keys } from "@millrace/metadata";
import { CoordinatorRecordSchema } from "@millrace/proto/storage";
import { endpointIn, peersOf, watchedPeers } from "./peers.ts";

test("one that stops, or does not listen yet, is not watched over", () => {
  const at = (fields: { internalEndpoint?: string; shuttingDown?: boolean }) => {
    const record = create(CoordinatorRecordSchema, { coordinatorId: 2, ...fields });
    const revisions = { createRevision: 1, modRevision: 1, version: 1, lease: undefined };
    const value = encodeRecord.coordinator(record);
    return endpointIn({ key: keys.coordinator(2), value, ...revisions });
  };
  const internalEndpoint = "g2:7401";
  assert.equal(at({ internalEndpoint })?.port, 7401);
  assert.equal(at({ internalEndpoint, shuttingDown: true }), undefined);
  assert.equal(at({}), undefined);
});

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
