/** Drains: what is planned, and where it leads, over states that are drawn at random. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { keys } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import { BrokerIntentRecordSchema, PartitionRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import fc from "fast-check";
import type { ClusterState, PartitionState } from "./cluster-state.ts";
import { desired } from "./desired.ts";
import { planDrains } from "./drain.ts";
import { limits } from "./limits.ts";
import { noMaintenance } from "./maintenance/leases.ts";
import { isBeingReassigned } from "./reassignment.ts";

const topicId = topicIdOf(Buffer.alloc(16, 1));

interface Drawn {
  readonly intents: Readonly<Record<number, BrokerIntent>>;
  readonly racks?: Readonly<Record<number, string>>;
  readonly replicas: readonly (readonly number[])[];
  /** Brokers 0 to `brokers - 1` are registered. */
  readonly brokers: number;
}

const stateOf = ({ intents, racks = {}, replicas, brokers }: Drawn): ClusterState => {
  const partitions = replicas.map((ids, partition): [string, PartitionState] => {
    const record = create(PartitionRecordSchema, {
      ...{ topicId: topicIdBytes(topicId), partition, replicas: [...ids], isr: [...ids] },
      ...{ leader: ids[0] ?? 0, leaderEpoch: 1, isrBrokerEpochs: ids.map((id) => BigInt(id + 1)) },
    });
    return [keys.partition(topicId, partition), { record, topicId, modRevision: 7 }];
  });
  const records = Object.entries(intents).map(([id, intent]) =>
    create(BrokerIntentRecordSchema, { brokerId: Number(id), intent }),
  );
  const ids = Array.from({ length: brokers }, (_, id) => id);
  const topic = {
    ...{ id: topicId, name: "t", modRevision: 4, partitionCount: replicas.length },
    ...{ minInsyncReplicas: 1, minIsrEpoch: 0 },
  };
  return {
    ...{ revision: 100, brokers: new Map(ids.map((id) => [id, id + 1])) },
    ...{ shuttingDown: new Set(), unreadable: new Set(), directories: new Map() },
    ...{ topics: new Map([[topicId, topic]]), deletions: new Map() },
    racks: new Map(Object.entries(racks).map(([id, rack]) => [Number(id), rack])),
    maintenance: noMaintenance,
    placement: { revision: 9, intents: new Map(records.map((one) => [one.brokerId, one])) },
    partitions: new Map(partitions),
  };
};

const { ACTIVE, CORDONED, DECOMMISSIONED, DRAINING } = BrokerIntent;

/** The state once all that is desired has been written, and whoever is added has caught up. */
const next = (state: ClusterState): ClusterState | undefined => {
  const partitions = new Map(state.partitions);
  const changes = desired(state, 1);
  for (const { key, record } of changes) {
    const before = partitions.get(key);
    if (before !== undefined && record !== undefined) partitions.set(key, { ...before, record });
  }
  for (const [key, one] of partitions) {
    const { replicas: isr, adding } = one.record;
    if (adding.length === 0) continue;
    const isrBrokerEpochs = isr.map((id) => BigInt(id + 1));
    partitions.set(key, { ...one, record: { ...one.record, isr, isrBrokerEpochs } });
  }
  return changes.length === 0 ? undefined : { ...state, partitions };
};

const drawn = fc
  .record({
    intents: fc.dictionary(
      fc.constantFrom("0", "1", "2", "3", "4", "5"),
      fc.constantFrom(ACTIVE, CORDONED, DRAINING, DRAINING),
    ),
    racks: fc.dictionary(fc.constantFrom("0", "1", "2", "3", "4"), fc.constantFrom("a", "b", "")),
    replicas: fc.array(fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 1, maxLength: 3 }), {
      minLength: 1,
      maxLength: 60,
    }),
    brokers: fc.constant(6),
  })
  .map(({ intents, ...rest }) => ({
    ...rest,
    intents: Object.fromEntries(Object.entries(intents).map(([id, one]) => [Number(id), one])),
  }));

test("a drain ends with nothing on the broker but what nobody else can take", () => {
  fc.assert(
    fc.property(drawn, (one) => {
      const first = stateOf(one);
      const intentOf = (id: number): BrokerIntent => one.intents[id] ?? ACTIVE;
      const active = [0, 1, 2, 3, 4, 5].filter((id) => intentOf(id) === ACTIVE);
      const stays = (ids: readonly number[]): boolean =>
        ids.filter((id) => intentOf(id) !== DRAINING).length +
          active.filter((id) => !ids.includes(id)).length <
        ids.length;
      let state: ClusterState | undefined = first;
      for (let rounds = 0; ; rounds += 1) {
        const now: ClusterState = state;
        assert.ok(rounds < 300, "it comes to an end");
        for (const { record } of now.partitions.values()) {
          assert.ok(
            record.adding.every((id) => intentOf(id) === ACTIVE),
            "only to active brokers",
          );
        }
        for (const id of [0, 1, 2, 3, 4, 5]) {
          const moves = [...now.partitions.values()].filter(({ record }) =>
            record.removing.includes(id),
          );
          assert.ok(
            moves.length <= limits.drainMovesMax,
            `${moves.length} moves from ${id} at once`,
          );
        }
        state = next(now);
        if (state !== undefined) continue;
        for (const [key, { record }] of now.partitions) {
          const before = first.partitions.get(key)?.record.replicas ?? [];
          assert.equal(record.replicas.length, before.length);
          assert.equal(new Set(record.replicas).size, before.length);
          assert.ok(!isBeingReassigned(record));
          if (stays(before)) assert.deepEqual(record.replicas, before);
          else assert.ok(record.replicas.every((id) => intentOf(id) !== DRAINING));
          // Who is not drained stays, in its place.
          for (const [at, id] of before.entries()) {
            if (intentOf(id) !== DRAINING) assert.equal(record.replicas[at], id);
          }
        }
        return;
      }
    }),
    { numRuns: 300 },
  );
});

test("a plan is the same in whatever order the metadata became known", () => {
  fc.assert(
    fc.property(drawn, (one) => {
      const state = stateOf(one);
      const partitions = new Map([...state.partitions].reverse());
      const brokers = new Map([...state.brokers].reverse());
      assert.deepEqual(planDrains({ ...state, partitions, brokers }), planDrains(state));
    }),
    { numRuns: 200 },
  );
});

test("a drain spreads over the other brokers, leaders too, and keeps racks apart", () => {
  const replicas = Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? [0, 1] : [1, 0]));
  const balanced = planDrains(stateOf({ intents: { 0: DRAINING }, replicas, brokers: 5 }));
  const targets = [...balanced.moves.values()];
  const countOf = (id: number): number => targets.flat().filter((one) => one === id).length;
  assert.deepEqual([countOf(1), countOf(0)], [8, 0]);
  assert.ok([2, 3, 4].every((id) => countOf(id) >= 2));
  const leaders = targets.map(([first]) => first).filter((id) => id !== 1);
  assert.ok([2, 3, 4].every((id) => leaders.includes(id)));
  const racks = { 0: "a", 1: "b", 2: "b", 3: "b", 4: "c" };
  const apart = planDrains(stateOf({ intents: { 0: DRAINING }, racks, replicas, brokers: 5 }));
  assert.ok([...apart.moves.values()].every((ids) => ids.includes(4)));
});

test("ten partitions move away from a broker at a time, each of its own", () => {
  const replicas = Array.from({ length: 60 }, (_, i) => [i % 2, 2]);
  const first = stateOf({ intents: { 0: DRAINING, 1: DRAINING }, replicas, brokers: 5 });
  const { moves } = planDrains(first);
  const from = (id: number) => [...moves.keys()].filter((_, i) => replicas[i]?.[0] === id).length;
  assert.deepEqual([moves.size, from(0), from(1)], [20, 10, 10]);
  // Others lead first.
  const begun = next(next(first) ?? first);
  assert.ok(begun !== undefined);
  assert.equal(planDrains(begun).moves.size, 0, "those are under way");
});

test("too few brokers: nothing moves, and that is told", () => {
  const replicas = [
    [0, 1, 2],
    [1, 2],
    [0, 1],
  ];
  const intents = { 0: DRAINING, 3: CORDONED, 4: DECOMMISSIONED };
  const { moves, immovable } = planDrains(stateOf({ intents, replicas, brokers: 5 }));
  assert.deepEqual([...moves.values()], [[2, 1]]);
  assert.deepEqual([...immovable], [[0, 1]]);
});

test("a draining broker leads only where nobody else is in sync", () => {
  const state = stateOf({ intents: { 0: DRAINING }, replicas: [[0, 1], [0]], brokers: 2 });
  const leaders = desired(state, 1).map(({ record }) => record?.leader);
  assert.deepEqual(leaders.slice(0, 1), [1]);
  assert.deepEqual(next(state)?.partitions.get(keys.partition(topicId, 1))?.record.leader, 0);
});

test("a move is begun on condition that no intent has changed, nor the topic", () => {
  const state = stateOf({ intents: { 0: DRAINING }, replicas: [[1, 0]], brokers: 3 });
  const [change, ...others] = desired(state, 1);
  assert.deepEqual(others, []);
  assert.deepEqual(
    [...(change?.unchanged ?? [])],
    [
      [keys.placement, 9],
      [keys.topic("t"), 4],
    ],
  );
});
