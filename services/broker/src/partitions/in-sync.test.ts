import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type InSyncChange,
  type InSyncReplica,
  InSyncReplicas,
  type InSyncView,
} from "./in-sync.ts";

const leader = 0;
const of = (brokerId: number, brokerEpoch = 1): InSyncReplica => ({ brokerId, brokerEpoch });

const viewOf = (
  isr: readonly InSyncReplica[],
  modRevision = 1,
  registered: readonly (number | undefined)[] = [1, 1, 1],
  replicas: readonly number[] = [0, 1, 2],
): InSyncView => ({ modRevision, replicas, isr, registered: (id) => registered[id] });

const all = [of(0), of(1), of(2)];
const ids = (change: InSyncChange | undefined): readonly number[] | undefined =>
  change?.isr.map(({ brokerId }) => brokerId).sort((a, b) => a - b);

test("what every replica in sync has made durable is committed", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0), of(1)]), 0);
  assert.equal(inSync.committedEnd(10), 0);
  assert.equal(inSync.report(of(1), 6, 10, 1), true);
  // Not in sync: it does not count.
  assert.equal(inSync.report(of(2), 2, 10, 1), true);
  assert.equal(inSync.committedEnd(10), 6);
  assert.equal(inSync.committedEnd(4), 4);
});

test("a leader alone commits what it has", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0)]), 0);
  assert.equal(inSync.committedEnd(7), 7);
});

test("a follower never has less than it said", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0), of(1)]), 0);
  inSync.report(of(1), 6, 10, 1);
  inSync.report(of(1), 3, 10, 2);
  assert.equal(inSync.durableEnd(of(1)), 6);
});

test("claims of strangers, of earlier registrations and of more than there is count for nothing", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf(all, 1, [1, 2, 1]), 0);
  assert.equal(inSync.report(of(3), 5, 10, 1), false);
  assert.equal(inSync.report(of(0), 5, 10, 1), false);
  assert.equal(inSync.report(of(1, 1), 5, 10, 1), false);
  assert.equal(inSync.report(of(2), 11, 10, 1), false);
  assert.equal(inSync.durableEnd(of(2)), 0);
  assert.equal(inSync.report(of(1, 2), 5, 10, 1), true);
});

test("what a broker had before it registered anew counts for nothing", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0), of(1)]), 0);
  inSync.report(of(1), 10, 10, 1);
  assert.equal(inSync.committedEnd(10), 10);
  // It is still in the record, under its old registration.
  inSync.take(viewOf([of(0), of(1)], 1, [1, 5, 1]));
  assert.equal(inSync.committedEnd(12), 0);
  // Its new one may be known from itself before the view has it.
  assert.equal(inSync.report(of(1, 7), 3, 12, 2), true);
  assert.equal(inSync.report(of(1, 5), 12, 12, 2), false);
  assert.equal(inSync.durableEnd(of(1, 7)), 3);
  assert.equal(inSync.committedEnd(12), 0);
});

test("who lags leaves, who has nothing to catch up with does not", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf(all), 0);
  inSync.report(of(1), 10, 10, 100);
  inSync.report(of(2), 4, 10, 100);
  assert.equal(inSync.due(4, 10, 1000, 1000), undefined);
  assert.deepEqual(ids(inSync.due(4, 10, 1000, 1001)), [0, 1]);
  // Silence is no lag as long as it has everything.
  assert.deepEqual(ids(inSync.due(4, 10, 1000, 99_999)), [0, 1]);
  // What is appended after a minute of silence has to be copied first.
  assert.deepEqual(ids(inSync.due(4, 11, 1000, 100_001)), [0, 1]);
  assert.deepEqual(ids(inSync.due(4, 11, 1000, 100_999)), [0, 1]);
  assert.deepEqual(ids(inSync.due(4, 11, 1000, 101_000)), [0]);
});

test("a follower that keeps up with a leader that goes on does not lag", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0), of(1)]), 0);
  for (let i = 1; i <= 50; i += 1) {
    // It has what the leader had at its report before.
    inSync.report(of(1), 10 * (i - 1), 10 * i, 100 * i);
    assert.equal(inSync.due(0, 10 * i, 150, 100 * i), undefined);
  }
  assert.deepEqual(ids(inSync.due(0, 500, 150, 5051)), [0]);
});

test("a follower joins with all that is committed and all from before the epoch", () => {
  const inSync = new InSyncReplicas(leader, 8, viewOf([of(0)]), 0);
  inSync.report(of(1), 5, 10, 1);
  inSync.report(of(2), 7, 10, 1);
  assert.equal(inSync.due(5, 10, 1000, 2), undefined);
  inSync.report(of(1), 8, 10, 3);
  assert.deepEqual(ids(inSync.due(5, 10, 1000, 3)), [0, 1]);
  assert.equal(inSync.due(9, 10, 1000, 3), undefined);
});

test("a fenced follower does not join, nor one whose registration the view does not have", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0)], 1, [1, undefined, 1]), 0);
  inSync.report(of(1), 10, 10, 1);
  inSync.report(of(2, 3), 10, 10, 1);
  assert.equal(inSync.due(0, 10, 1000, 2), undefined);
  inSync.take(viewOf([of(0)], 1, [1, 1, 3]));
  assert.deepEqual(inSync.due(0, 10, 1000, 2)?.isr, [of(0), of(1), of(2, 3)]);
});

test("a member that has registered anew and caught up takes its own place", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf(all, 1, [1, 4, 1]), 0);
  inSync.report(of(1, 4), 10, 10, 1);
  inSync.report(of(2), 10, 10, 1);
  assert.deepEqual(inSync.due(0, 10, 1000, 2)?.isr, [of(0), of(2), of(1, 4)]);
});

test("who joins counts from the request on, who leaves until the commit", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0), of(2)]), 0);
  inSync.report(of(1), 6, 10, 1);
  inSync.report(of(2), 9, 10, 1);
  const change = { modRevision: 1, isr: [of(0), of(1)] };
  assert.equal(inSync.committedEnd(10), 9);
  inSync.begin(change);
  assert.equal(inSync.committedEnd(10), 6);
  assert.equal(inSync.due(6, 10, 0, 99), undefined);
  // The answer is lost: nobody knows.
  inSync.end(change, "unknown");
  assert.equal(inSync.committedEnd(10), 6);
  assert.equal(inSync.due(6, 10, 0, 99), change, "it is asked for again as it was");
  inSync.take(viewOf([of(0), of(1)], 2));
  inSync.report(of(1), 10, 10, 2);
  assert.equal(inSync.committedEnd(10), 10);
});

test("a change that was refused, or overtaken, counts no more", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0)]), 0);
  const change = { modRevision: 1, isr: [of(0), of(1)] };
  inSync.begin(change);
  assert.equal(inSync.committedEnd(10), 0);
  inSync.end(change, "refused");
  assert.equal(inSync.committedEnd(10), 10);
  inSync.begin(change);
  // A change of other registrations says nothing of it.
  inSync.take(viewOf([of(0)], 1, [1, 1, 2]));
  assert.equal(inSync.committedEnd(10), 0);
  inSync.take(viewOf([of(0)], 2));
  assert.equal(inSync.committedEnd(10), 10);
});

test("a refusal does not end a change of which an earlier request may be made yet", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0)]), 0);
  const change = { modRevision: 1, isr: [of(0), of(1)] };
  inSync.begin(change);
  inSync.end(change, "unknown");
  inSync.begin(change);
  inSync.end(change, "refused");
  assert.equal(inSync.committedEnd(10), 0);
  assert.equal(inSync.due(0, 10, 0, 99), change);
  // Under its new registration nobody can make it.
  inSync.take(viewOf([of(0)], 1, [1, 2, 1]));
  assert.equal(inSync.committedEnd(10), 10);
});

test("a change that was made is not asked for again, and counts until it is seen", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0)]), 0);
  const change = { modRevision: 1, isr: [of(0), of(1)] };
  inSync.begin(change);
  inSync.end(change, "made");
  assert.equal(inSync.due(0, 10, 0, 99), undefined);
  assert.equal(inSync.committedEnd(10), 0);
  inSync.take(viewOf([of(0), of(1)], 2));
  inSync.report(of(1), 7, 10, 3);
  assert.equal(inSync.committedEnd(10), 7);
});

test("a change that was made and that no view shows is asked for again, and counts", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0)]), 0);
  const change = { modRevision: 1, isr: [of(0), of(1)] };
  inSync.begin(change);
  inSync.end(change, "made");
  assert.equal(inSync.due(0, 10, 0, 100), undefined);
  assert.equal(inSync.due(0, 10, 0, 10_100), undefined);
  // The store has gone back, and has not told the controller that answered.
  assert.equal(inSync.due(0, 10, 0, 10_101), change);
  inSync.begin(change);
  assert.equal(inSync.due(0, 10, 0, 10_102), undefined, "it is under way");
  // Or the view is late, and somebody has changed the record since.
  inSync.end(change, "refused");
  assert.equal(inSync.committedEnd(10), 0);
  assert.equal(inSync.due(0, 10, 0, 10_103), change);
});

test("nothing is asked for while a member is not registered: the controller takes it out", () => {
  const inSync = new InSyncReplicas(leader, 0, viewOf([of(0), of(1)], 1, [1, undefined, 1]), 0);
  inSync.report(of(1), 10, 10, 1);
  inSync.report(of(2), 10, 10, 1);
  assert.equal(inSync.due(0, 10, 1000, 2), undefined);
  inSync.take(viewOf([of(0)], 2, [1, undefined, 1]));
  assert.deepEqual(ids(inSync.due(0, 10, 1000, 2)), [0, 2]);
});

/** A step of the world around a leader. */
const step = fc.oneof(
  fc.record({ kind: fc.constant("append" as const), count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({
    kind: fc.constant("store" as const),
    broker: fc.constantFrom(1, 2),
    count: fc.integer({ min: 1, max: 9 }),
  }),
  fc.record({
    kind: fc.constantFrom("report" as const, "restart" as const),
    broker: fc.constantFrom(1, 2),
  }),
  fc.record({ kind: fc.constantFrom("ask" as const, "answer" as const, "lose" as const) }),
  fc.record({ kind: fc.constant("make" as const), request: fc.nat() }),
  fc.record({ kind: fc.constantFrom("see" as const, "fence" as const) }),
);

test("whatever is committed, every replica in the record has it", () => {
  let committedMax = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 40, maxLength: 160 }), (steps) => {
      let nowMs = 0;
      let leaderEnd = 0;
      let highWatermark = 0;
      // What the store says, which the leader sees later.
      let record: { modRevision: number; isr: readonly InSyncReplica[] } = {
        modRevision: 1,
        isr: all,
      };
      const epochs = [1, 1, 1];
      const durable = new Map<string, number>();
      const key = ({ brokerId, brokerEpoch }: InSyncReplica): string =>
        `${brokerId}@${brokerEpoch}`;
      const present = (id: number): InSyncReplica => of(id, epochs[id]);
      const look = (): InSyncView => viewOf(record.isr, record.modRevision, [...epochs]);
      const inSync = new InSyncReplicas(leader, 0, look(), 0);
      // Requests on their way: late ones, too, of which the leader knows nothing any more.
      const onTheWay: { readonly change: InSyncChange; isMade: boolean | undefined }[] = [];
      let asked: (typeof onTheWay)[number] | undefined;
      for (const one of steps) {
        nowMs += 10;
        if (one.kind === "append") leaderEnd += one.count;
        else if (one.kind === "store") {
          const name = key(present(one.broker));
          durable.set(name, Math.min(leaderEnd, (durable.get(name) ?? 0) + one.count));
        } else if (one.kind === "report") {
          const replica = present(one.broker);
          inSync.report(replica, durable.get(key(replica)) ?? 0, leaderEnd, nowMs);
        } else if (one.kind === "restart") {
          // With an empty disk, to be hard on it.
          epochs[one.broker] = (epochs[one.broker] ?? 0) + 1;
        } else if (one.kind === "ask" && asked === undefined) {
          const change = inSync.due(highWatermark, leaderEnd, 50, nowMs);
          if (change !== undefined) {
            inSync.begin(change);
            asked = { change, isMade: undefined };
            onTheWay.push(asked);
          }
        } else if (one.kind === "make" && onTheWay.length > 0) {
          const [request] = onTheWay.splice(one.request % onTheWay.length, 1);
          assert.ok(request !== undefined);
          const { isr, modRevision } = request.change;
          const eligible = isr.every(
            ({ brokerId, brokerEpoch }) => epochs[brokerId] === brokerEpoch,
          );
          request.isMade = modRevision === record.modRevision && eligible;
          if (request.isMade) record = { modRevision: modRevision + 1, isr };
        } else if (one.kind === "answer" && asked?.isMade !== undefined) {
          inSync.end(asked.change, asked.isMade ? "made" : "refused");
          asked = undefined;
        } else if (one.kind === "lose" && asked !== undefined) {
          inSync.end(asked.change, "unknown");
          asked = undefined;
        } else if (one.kind === "fence") {
          // The controller takes everybody out who has registered anew.
          const isr = record.isr.filter(
            ({ brokerId, brokerEpoch }) => epochs[brokerId] === brokerEpoch,
          );
          if (isr.length < record.isr.length) record = { modRevision: record.modRevision + 1, isr };
        } else if (one.kind === "see") inSync.take(look());
        highWatermark = Math.max(highWatermark, inSync.committedEnd(leaderEnd));
        committedMax = Math.max(committedMax, highWatermark);
        for (const replica of record.isr) {
          const { brokerId, brokerEpoch } = replica;
          // One that has registered anew since is not elected.
          if (brokerId === leader || epochs[brokerId] !== brokerEpoch) continue;
          assert.ok((durable.get(key(replica)) ?? 0) >= highWatermark, key(replica));
        }
      }
    }),
    { numRuns: 1000 },
  );
  // It is not true for want of progress.
  assert.ok(committedMax > 5);
});
