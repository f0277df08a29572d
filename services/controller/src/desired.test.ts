import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { keys } from "@millrace/metadata";
import { type PartitionRecord, PartitionRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import fc from "fast-check";
import type { ClusterState, DeletionState, PartitionState, TopicState } from "./cluster-state.ts";
import { type Change, desired } from "./desired.ts";
import { isInItsDirectory } from "./directories.ts";
import { noMaintenance } from "./maintenance/leases.ts";
import { everyBrokerActive } from "./placement.ts";

const epoch = 100;
const idOf = (topic: number) => topicIdOf(Buffer.alloc(16, topic + 1));

interface Member {
  readonly id: number;
  /** In the ISR, and in the ELR otherwise, or in neither. */
  readonly role: "isr" | "elr" | "out";
  /** Whether the broker epoch of the record is the one of the registration. */
  readonly isCurrent: boolean;
  /** Of the directory in which it was in sync last; 0: not known. */
  readonly disk?: number;
}

interface Drawn {
  readonly topic: number;
  readonly partition: number;
  readonly members: readonly Member[];
  readonly leads: number;
  readonly leaderEpoch: number;
  readonly modRevision: number;
  readonly minIsrEpoch: number;
  /** Whether the ISR is in the opposite order of the replicas. */
  readonly isReversed: boolean;
}

const drawnPartition: fc.Arbitrary<Drawn> = fc.record({
  topic: fc.nat(2),
  partition: fc.nat(3),
  members: fc.uniqueArray(
    fc.record({
      id: fc.nat(4),
      role: fc.constantFrom("isr" as const, "elr" as const, "out" as const),
      isCurrent: fc.boolean(),
      disk: fc.nat(2),
    }),
    { selector: ({ id }) => id, minLength: 1, maxLength: 4 },
  ),
  leads: fc.nat(4),
  leaderEpoch: fc.integer({ min: 1, max: 9 }),
  modRevision: fc.integer({ min: 2, max: 2 * epoch }),
  minIsrEpoch: fc.nat(1),
  isReversed: fc.boolean(),
});

const drawnState = fc.record({
  /** Epochs of the registered brokers. */
  brokers: fc.dictionary(fc.constantFrom("0", "1", "2", "3", "4"), fc.integer({ min: 2, max: 90 })),
  shuttingDown: fc.uniqueArray(fc.nat(4), { maxLength: 3 }),
  /** Of each broker; 0: it tells none. */
  disks: fc.array(fc.nat(2), { minLength: 5, maxLength: 5 }),
  topics: fc.uniqueArray(
    fc.record({ topic: fc.nat(2), partitionCount: fc.nat(4), min: fc.integer({ min: 1, max: 4 }) }),
    { selector: ({ topic }) => topic },
  ),
  partitions: fc.array(drawnPartition, { maxLength: 8 }),
  deletions: fc.uniqueArray(fc.record({ topic: fc.nat(3), pending: fc.array(fc.nat(4)) }), {
    selector: ({ topic }) => topic,
  }),
});

type DrawnState = typeof drawnState extends fc.Arbitrary<infer T> ? T : never;

const directoryIdOf = (disk: number): Uint8Array =>
  disk === 0 ? new Uint8Array(0) : Buffer.alloc(16, disk);

const partitionOf = (drawn: Drawn, brokers: ReadonlyMap<number, number>): PartitionState => {
  const isr = drawn.members.filter(({ role }) => role === "isr");
  if (drawn.isReversed) isr.reverse();
  const leader = isr[drawn.leads]?.id;
  const record = create(PartitionRecordSchema, {
    topicId: topicIdBytes(idOf(drawn.topic)),
    partition: drawn.partition,
    replicas: drawn.members.map(({ id }) => id),
    isr: isr.map(({ id }) => id),
    isrBrokerEpochs: isr.map(({ id, isCurrent }) => BigInt((isCurrent && brokers.get(id)) || 1)),
    elr: drawn.members.filter(({ role }) => role === "elr").map(({ id }) => id),
    directoryIds: drawn.members.map(({ disk = 0 }) => directoryIdOf(disk)),
    leaderEpoch: drawn.leaderEpoch,
    minIsrEpoch: drawn.minIsrEpoch,
    ...(leader === undefined ? {} : { leader }),
  });
  return { record, topicId: idOf(drawn.topic), modRevision: drawn.modRevision };
};

const stateOf = (drawn: DrawnState, revision = 2 * epoch): ClusterState => {
  const brokers = new Map(Object.entries(drawn.brokers).map(([id, at]) => [Number(id), at]));
  const topics = drawn.topics.map(
    ({ topic, partitionCount, min }): TopicState => ({
      ...{ id: idOf(topic), name: `t${topic}`, modRevision: 3, partitionCount },
      ...{ minInsyncReplicas: min, minIsrEpoch: 0 },
    }),
  );
  const deletions = drawn.deletions.map(
    ({ topic, pending }): DeletionState => ({
      ...{ topicId: idOf(topic), pending, modRevision: 7 },
    }),
  );
  return {
    ...{ revision, brokers, unreadable: new Set() },
    ...{ racks: new Map(), placement: everyBrokerActive, maintenance: noMaintenance },
    shuttingDown: new Set(drawn.shuttingDown),
    directories: new Map(
      [...brokers.keys()]
        .map((id) => [id, directoryIdOf(drawn.disks[id] ?? 0)] as const)
        .filter(([, directoryId]) => directoryId.length > 0),
    ),
    topics: new Map(topics.map((topic) => [topic.id, topic])),
    partitions: new Map(
      drawn.partitions.map((one) => [
        keys.partition(idOf(one.topic), one.partition),
        partitionOf(one, brokers),
      ]),
    ),
    deletions: new Map(deletions.map((one) => [one.topicId, one])),
  };
};

const applied = (state: ClusterState, changes: readonly Change[]): ClusterState => {
  const partitions = new Map(state.partitions);
  const deletions = new Map(state.deletions);
  for (const { key, record } of changes) {
    const before = partitions.get(key);
    if (key.startsWith(keys.deletions)) {
      for (const [id] of state.deletions) if (keys.deletion(id) === key) deletions.delete(id);
    } else if (record === undefined) partitions.delete(key);
    else if (before !== undefined) partitions.set(key, { ...before, record });
  }
  return { ...state, partitions, deletions };
};

/** What every changed record keeps. */
const check = (before: PartitionRecord, after: PartitionRecord, state: ClusterState): void => {
  const { leader, isr, elr, replicas, leaderEpoch } = after;
  assert.deepEqual(replicas, before.replicas);
  assert.ok([...isr, ...elr].every((id) => replicas.includes(id)));
  assert.equal(new Set([...isr, ...elr]).size, isr.length + elr.length);
  assert.equal(after.isrBrokerEpochs.length, isr.length);
  if (before.isr.length > 0) assert.ok(isr.length > 0, "the last member stays");
  if (before.isr.length + before.elr.length > 0 && before.minIsrEpoch === 0) {
    assert.ok(isr.length + elr.length > 0, "somebody can lead later");
  }
  // Nobody is trusted who was not.
  const trusted = [...before.isr, ...before.elr];
  assert.ok([...isr, ...elr].every((id) => trusted.includes(id)));
  if (leader !== undefined) {
    assert.ok(state.brokers.has(leader), "the leader is registered");
    const at = isr.indexOf(leader);
    assert.ok(at >= 0, "the leader is in the ISR");
    for (const [i, id] of isr.entries()) {
      assert.equal(after.isrBrokerEpochs[i], BigInt(state.brokers.get(id) ?? -1));
      const recorded = after.directoryIds[replicas.indexOf(id)] ?? Buffer.alloc(0);
      const present = state.directories.get(id) ?? Buffer.alloc(0);
      assert.equal(Buffer.compare(recorded, present), 0, "in sync where it is now");
    }
  }
  const epochOf = (record: PartitionRecord): string => {
    const at = record.leader === undefined ? -1 : record.isr.indexOf(record.leader);
    return `${record.leader}/${record.isrBrokerEpochs[at]}`;
  };
  const rises = epochOf(before) !== epochOf(after);
  assert.equal(leaderEpoch, before.leaderEpoch + (rises ? 1 : 0), "one leader per epoch");
};

test("any state becomes one in which nothing is desired, and promises nothing that it had not", () => {
  fc.assert(
    fc.property(drawnState, (drawn) => {
      const state = stateOf(drawn);
      const changes = desired(state, epoch);
      for (const { key, modRevision, record, elects } of changes) {
        const before = state.partitions.get(key);
        if (record === undefined || before === undefined) continue;
        assert.equal(modRevision, before.modRevision);
        assert.equal(keys.partition(topicIdOf(record.topicId), record.partition), key);
        assert.equal(elects, record.leaderEpoch > before.record.leaderEpoch);
        check(before.record, record, state);
      }
      const after = applied(state, changes);
      // A deletion record goes after the last partition of its topic.
      const later = desired(after, epoch);
      assert.ok(later.every(({ key }) => key.startsWith(keys.deletions)));
      assert.deepEqual(desired(applied(after, later), epoch), []);
      for (const { record, topicId } of after.partitions.values()) {
        const topic = after.topics.get(topicId);
        if (topic === undefined || record.partition >= topic.partitionCount) continue;
        const isThere = (id: number): boolean =>
          after.brokers.has(id) && isInItsDirectory(record, id, after.directories);
        const hasLeader = record.leader !== undefined;
        assert.equal(
          hasLeader,
          [...record.isr, ...record.elr].some(isThere),
          "whoever can lead does",
        );
        const min = Math.min(topic.minInsyncReplicas, record.replicas.length);
        if (hasLeader && record.isr.length >= min) assert.deepEqual(record.elr, []);
        const stops = (id: number): boolean => after.shuttingDown.has(id);
        if (record.leader !== undefined && stops(record.leader)) {
          assert.ok(record.isr.every(stops), "whoever stops leads for want of another");
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("elections come first", () => {
  fc.assert(
    fc.property(drawnState, (drawn) => {
      const elects = desired(stateOf(drawn), epoch).map((change) => change.elects);
      assert.deepEqual(
        elects,
        elects.toSorted((a, b) => Number(b) - Number(a)),
      );
    }),
  );
});

test("leaders that are balanced once are balanced", () => {
  fc.assert(
    fc.property(drawnState, (drawn) => {
      const state = applied(stateOf(drawn), desired(stateOf(drawn), epoch));
      const changes = desired(state, epoch, true);
      for (const { key, record } of changes) {
        const before = state.partitions.get(key);
        if (record !== undefined && before !== undefined) check(before.record, record, state);
      }
      const after = applied(state, changes);
      assert.ok(desired(after, epoch, true).every(({ elects }) => !elects));
    }),
  );
});

test("the order in which things became known decides nothing", () => {
  fc.assert(
    fc.property(drawnState, (drawn) => {
      const partitions = new Map(
        drawn.partitions.map((one) => [`${one.topic}/${one.partition}`, one]),
      );
      const one = { ...drawn, partitions: [...partitions.values()] };
      const reversed = {
        brokers: Object.fromEntries(Object.entries(one.brokers).reverse()),
        shuttingDown: one.shuttingDown.toReversed(),
        disks: one.disks,
        topics: one.topics.toReversed(),
        partitions: one.partitions.toReversed(),
        deletions: one.deletions.toReversed(),
      };
      assert.deepEqual(desired(stateOf(reversed), epoch), desired(stateOf(one), epoch));
    }),
  );
});

test("a broker that comes or goes touches only the partitions that it is a replica of", () => {
  fc.assert(
    fc.property(drawnState, fc.nat(4), fc.integer({ min: 91, max: 99 }), (drawn, broker, at) => {
      let state = stateOf(drawn);
      for (let i = 0; i < 2; i += 1) state = applied(state, desired(state, epoch));
      for (const epochs of [[], [[broker, at]] as const]) {
        const others = [...state.brokers].filter(([id]) => id !== broker);
        const changed = { ...state, brokers: new Map([...others, ...epochs]) };
        for (const { key } of desired(changed, epoch)) {
          assert.ok(state.partitions.get(key)?.record.replicas.includes(broker), key);
        }
      }
    }),
  );
});

const one = (members: readonly Member[], fields: Partial<Drawn> = {}): Drawn => ({
  ...{ topic: 0, partition: 0, leads: 0, leaderEpoch: 5, modRevision: 150, minIsrEpoch: 0 },
  ...{ isReversed: false, members, ...fields },
});
const member = (id: number, role: Member["role"] = "isr", isCurrent = true): Member => ({
  ...{ id, role, isCurrent },
});
const drawnOf = (partition: Drawn, brokers: Record<string, number>, min = 1): DrawnState => ({
  ...{ brokers, shuttingDown: [], disks: [], partitions: [partition], deletions: [] },
  topics: [{ topic: 0, partitionCount: 1, min }],
});
/** The partition afterwards: leader/epoch, ISR, ELR. */
const outcome = (
  partition: Drawn,
  brokers: Record<string, number>,
  min = 1,
  {
    shuttingDown = [],
    disks = [],
    balances = false,
  }: { shuttingDown?: number[]; disks?: number[]; balances?: boolean } = {},
): string => {
  const state = stateOf({ ...drawnOf(partition, brokers, min), shuttingDown, disks });
  const after = applied(state, desired(state, epoch, balances));
  const [{ record } = assert.fail()] = [...after.partitions.values()];
  const { leader = "none", leaderEpoch, isr, elr } = record;
  return `${leader}/${leaderEpoch} isr ${isr.join()} elr ${elr.join()}`;
};

test("who leads, under which epoch, and who may lead later", () => {
  const all = { 0: 10, 1: 11, 2: 12 };
  const three = [member(0), member(1), member(2)];
  assert.equal(outcome(one(three), all), "0/5 isr 0,1,2 elr ");
  // A follower goes, the leader goes, all go.
  assert.equal(outcome(one(three), { 0: 10, 2: 12 }, 2), "0/5 isr 0,2 elr ");
  assert.equal(outcome(one(three), { 1: 11, 2: 12 }, 2), "1/6 isr 1,2 elr ");
  assert.equal(outcome(one(three), { 2: 12 }, 2), "2/6 isr 2 elr 0,1");
  assert.equal(outcome(one(three), {}, 2), "none/6 isr 0,1,2 elr ");
  // A restart: of a sole replica, of the leader beside others, of a follower.
  assert.equal(outcome(one([member(0, "isr", false)]), all), "0/6 isr 0 elr ");
  assert.equal(outcome(one([member(0, "isr", false), member(1)]), all), "1/6 isr 1 elr ");
  assert.equal(outcome(one([member(0), member(1, "isr", false)]), all, 2), "0/5 isr 0 elr 1");
  // All have restarted: the first leads alone.
  const restarted = [member(1, "isr", false), member(0, "isr", false)];
  assert.equal(outcome(one(restarted), all, 2), "1/6 isr 1 elr 0");
  const reversed = { isReversed: true };
  assert.equal(outcome(one(restarted, reversed), all, 2), "1/6 isr 1 elr 0");
  assert.equal(outcome(one(three, reversed), { 0: 10, 1: 11 }), "0/6 isr 1,0 elr ");
  // The ELR is asked when nobody of the ISR is there, and only while it means something.
  const waiting = [member(0), member(1, "elr"), member(2, "out")];
  assert.equal(outcome(one(waiting), { 1: 11, 2: 12 }, 2), "1/6 isr 1 elr 0");
  const back = [member(1, "elr"), member(0, "isr", false)];
  assert.equal(outcome(one(back), all, 2), "0/6 isr 0 elr 1");
  assert.equal(outcome(one(waiting), { 2: 12 }, 2), "none/6 isr 0 elr 1");
  assert.equal(outcome(one(waiting), { 1: 11 }, 1), "none/6 isr 0 elr ");
  assert.equal(outcome(one(waiting, { minIsrEpoch: 1 }), { 1: 11 }, 2), "none/6 isr 0 elr ");
});

test("a replica whose disk is another one waits until somebody who is complete leads", () => {
  const all = { 0: 10, 1: 11, 2: 12 };
  const on = (id: number, role: Member["role"], disk: number, isCurrent = false): Member => ({
    ...{ id, role, isCurrent, disk },
  });
  const sole = one([on(0, "isr", 1), on(1, "out", 1)]);
  assert.equal(outcome(sole, all, 1, { disks: [2, 1] }), "none/6 isr 0 elr ");
  assert.equal(outcome(sole, all, 1, { disks: [0, 1] }), "none/6 isr 0 elr ");
  assert.equal(outcome(sole, all, 1, { disks: [1, 1] }), "0/6 isr 0 elr ");
  // The next of the ISR, the ELR: whoever has its disk.
  const both = one([on(0, "isr", 1), on(1, "isr", 1)]);
  assert.equal(outcome(both, all, 1, { disks: [2, 1] }), "1/6 isr 1 elr ");
  const waiting = one([on(0, "isr", 1), on(1, "elr", 1), on(2, "elr", 1)]);
  assert.equal(outcome(waiting, all, 2, { disks: [2, 1, 1] }), "1/6 isr 1 elr 2");
  // Once somebody leads, it catches up as one that has nothing; until then its disk may come back.
  assert.equal(outcome(waiting, all, 2, { disks: [2, 2, 1] }), "2/6 isr 2 elr ");
  assert.equal(outcome(waiting, { 0: 10, 1: 11 }, 2, { disks: [2, 2] }), "none/6 isr 0 elr 1,2");
  // Where none was known, as in records of before, any will do.
  assert.equal(outcome(one([on(0, "isr", 0)]), all, 1, { disks: [2] }), "0/6 isr 0 elr ");
});

test("who is about to stop leads only where nobody else is in sync, and stays in the ISR", () => {
  const all = { 0: 10, 1: 11, 2: 12 };
  const three = one([member(0), member(1), member(2)]);
  assert.equal(outcome(three, all, 2, { shuttingDown: [0] }), "1/6 isr 0,1,2 elr ");
  assert.equal(outcome(three, all, 2, { shuttingDown: [1] }), "0/5 isr 0,1,2 elr ");
  assert.equal(outcome(three, all, 2, { shuttingDown: [0, 1] }), "2/6 isr 0,1,2 elr ");
  assert.equal(outcome(three, all, 2, { shuttingDown: [0, 1, 2] }), "0/5 isr 0,1,2 elr ");
  assert.equal(outcome(three, { 0: 10 }, 2, { shuttingDown: [0] }), "0/5 isr 0 elr 1,2");
  assert.equal(
    outcome(one([member(0), member(1, "out")]), all, 1, { shuttingDown: [0] }),
    "0/5 isr 0 elr ",
  );
  // Whoever leads when its leader has gone is one that stays.
  assert.equal(outcome(three, { 1: 11, 2: 12 }, 2, { shuttingDown: [1] }), "2/6 isr 1,2 elr ");
});

test("a preferred leader that is in sync, and stays, takes over when leaders are balanced", () => {
  const all = { 0: 10, 1: 11, 2: 12 };
  const balances = true;
  const three = one([member(0), member(1), member(2)], { leads: 1 });
  assert.equal(outcome(three, all), "1/5 isr 0,1,2 elr ");
  assert.equal(outcome(three, all, 1, { balances }), "0/6 isr 0,1,2 elr ");
  const behind = one([member(0, "out"), member(1), member(2)], { leads: 1 });
  assert.equal(outcome(behind, all, 1, { balances }), "2/5 isr 1,2 elr ");
  assert.equal(outcome(three, { 1: 11, 2: 12 }, 1, { balances }), "1/5 isr 1,2 elr ");
  assert.equal(outcome(three, all, 1, { balances, shuttingDown: [0] }), "1/5 isr 0,1,2 elr ");
  const leading = one([member(0), member(1)]);
  assert.equal(outcome(leading, all, 1, { balances }), "0/5 isr 0,1 elr ");
});

test("leftovers go when their creation is over; what may be under way stays", () => {
  const state = (modRevision: number, fields: Partial<DrawnState> = {}, revision?: number) =>
    stateOf(
      {
        ...{ brokers: {}, shuttingDown: [], disks: [], topics: [], deletions: [], ...fields },
        partitions: [one([member(0)], { modRevision, partition: 1 })],
      },
      revision,
    );
  const removed = (of: ClusterState): number => desired(of, epoch).length;
  assert.equal(removed(state(epoch - 1)), 1);
  assert.equal(removed(state(epoch + 1)), 0, "this reign may be making the topic");
  assert.equal(
    removed(state(epoch - 1, {}, epoch - 1)),
    0,
    "the topic may come with the next event",
  );
  // Beyond the partition count of their topic.
  const smaller = { topics: [{ topic: 0, partitionCount: 1, min: 1 }] };
  assert.equal(removed(state(epoch - 1, smaller)), 1);
  assert.equal(removed(state(epoch + 1, smaller)), 0);
  // Of a topic that was deleted: no creation can be under way.
  const deleted = { deletions: [{ topic: 0, pending: [0] }] };
  assert.equal(removed(state(epoch + 1, deleted)), 1);
  const unreadable = { ...state(epoch - 1), unreadable: new Set(["topics/t"]) };
  assert.equal(removed(unreadable), 0, "they may belong to a topic that cannot be read");
});

test("a deletion record goes when every broker has confirmed, and no partition is left", () => {
  const state = (pending: number[], partitions: Drawn[] = []) =>
    stateOf({
      ...{ brokers: {}, shuttingDown: [], disks: [], topics: [], partitions },
      deletions: [{ topic: 0, pending }],
    });
  const changed = (of: ClusterState): string[] => desired(of, epoch).map(({ key }) => key);
  assert.deepEqual(changed(state([])), [keys.deletion(idOf(0))]);
  assert.deepEqual(changed(state([3])), []);
  assert.deepEqual(changed(state([], [one([member(0)])])), [keys.partition(idOf(0), 0)]);
});
