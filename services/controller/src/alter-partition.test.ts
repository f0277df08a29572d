import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { AlterPartitionSchema } from "@millrace/proto/controller";
import { type PartitionRecord, PartitionRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import { alteredPartition, type Caller } from "./alter-partition.ts";
import type { PartitionState, TopicState } from "./cluster-state.ts";

const topicId = topicIdOf(Buffer.alloc(16, 1));
const topicOf = (fields: Partial<TopicState> = {}): TopicState => ({
  ...{ id: topicId, name: "t", modRevision: 1, partitionCount: 1 },
  ...{ minInsyncReplicas: 2, minIsrEpoch: 0, ...fields },
});

/** Broker 0 leads in epoch 5; broker n is registered under 10 + n, all but broker 3. */
const brokers: ReadonlyMap<number, number> = new Map([
  ...([0, 1, 2, 9] as const).map((id) => [id, 10 + id] as const),
]);
const directories = new Map([...brokers.keys()].map((id) => [id, Buffer.alloc(16, 100 + id)]));
const leader: Caller = { brokerId: 0, brokerEpoch: 10 };

const partitionOf = (
  fields: Partial<Pick<PartitionRecord, "isr" | "isrBrokerEpochs" | "elr">> = {},
): PartitionState => ({
  topicId,
  modRevision: 50,
  record: create(PartitionRecordSchema, {
    ...{ topicId: topicIdBytes(topicId), replicas: [2, 0, 1, 3], isr: [0, 1], leader: 0 },
    ...{ leaderEpoch: 5, isrBrokerEpochs: [10n, 11n] },
    ...fields,
  }),
});

/** A change to this ISR, each under its registration unless another epoch is named. */
const changeOf = (
  isr: readonly (number | readonly [id: number, epoch: bigint])[],
  fields: {
    leaderEpoch?: number;
    modRevision?: bigint;
    resigns?: boolean;
    knownLeaderEpoch?: number;
  } = {},
) =>
  create(AlterPartitionSchema, {
    ...{ topicId: topicIdBytes(topicId), leaderEpoch: 5, modRevision: 50n, ...fields },
    isr: isr.map((one) => {
      const [brokerId, brokerEpoch] = typeof one === "number" ? [one, BigInt(10 + one)] : one;
      return { brokerId, brokerEpoch };
    }),
  });

const judge = (
  change: ReturnType<typeof changeOf>,
  {
    partition = partitionOf(),
    caller = leader,
    topic = topicOf(),
    stopping = [],
  }: {
    readonly partition?: PartitionState | undefined;
    readonly caller?: Caller;
    readonly topic?: TopicState;
    readonly stopping?: readonly number[];
  } = {},
): string => {
  const shuttingDown = new Set(stopping);
  const state = { topics: new Map([[topic.id, topic]]), brokers, directories, shuttingDown };
  const decided = alteredPartition(partition, change, caller, state);
  if (decided.kind === "refused") return decided.error.codeName;
  if (decided.kind === "already-so") return "already so";
  const { isr, isrBrokerEpochs, elr, leaderEpoch, minIsrEpoch } = decided.record;
  if (change.knownLeaderEpoch > 0) {
    const { leader: led, leaderEpoch: raised, isr: kept, elr: eligible } = decided.record;
    assert.deepEqual([...decided.brokers], [[caller.brokerId, caller.brokerEpoch]]);
    return `${led}/${raised} isr ${kept} elr ${eligible}`;
  }
  assert.deepEqual(
    [...decided.brokers],
    isr.map((id) => [id, brokers.get(id)]),
  );
  assert.deepEqual(
    isrBrokerEpochs,
    isr.map((id) => BigInt(10 + id)),
  );
  const { directoryIds, replicas } = decided.record;
  assert.deepEqual(
    directoryIds,
    replicas.map((id) => (isr.includes(id) ? Buffer.alloc(16, 100 + id) : new Uint8Array(0))),
  );
  const topics = isr.length > 0 && change.isr.length === 0 ? [["topics/t", 1]] : [];
  assert.deepEqual([...(decided.unchanged ?? [])], topics, "the ELR is of this minimum");
  if (change.resigns) return `${decided.record.leader}/${leaderEpoch} isr ${isr} elr ${elr}`;
  assert.equal(decided.record.leader, 0);
  assert.equal(leaderEpoch, 5, "the leader is the same");
  return `isr ${isr} elr ${elr} of minimum ${minIsrEpoch}`;
};

test("the ISR grows and shrinks in the order of the replicas, under the same leader epoch", () => {
  assert.equal(judge(changeOf([0, 1, 2])), "isr 2,0,1 elr  of minimum 0");
  assert.equal(judge(changeOf([2, 0])), "isr 2,0 elr  of minimum 0");
  assert.equal(judge(changeOf([0])), "isr 0 elr 1 of minimum 0");
});

test("a replica is eligible from when the ISR is too small until it has its full size", () => {
  const topic = topicOf({ minInsyncReplicas: 3 });
  const partition = partitionOf({ isr: [0], isrBrokerEpochs: [10n], elr: [3, 1] });
  assert.equal(judge(changeOf([0, 2]), { topic, partition }), "isr 2,0 elr 1,3 of minimum 0");
  assert.equal(judge(changeOf([1, 0]), { topic, partition }), "isr 0,1 elr 3 of minimum 0");
  assert.equal(judge(changeOf([0, 1, 2]), { topic, partition }), "isr 2,0,1 elr  of minimum 0");
  // Under the minimum of before the high watermark may have passed them.
  const changed = topicOf({ minInsyncReplicas: 3, minIsrEpoch: 1 });
  const asked = judge(changeOf([0, 2]), { topic: changed, partition });
  assert.equal(asked, "isr 2,0 elr  of minimum 1");
});

test("a change whose answer was lost is made already, whatever has been registered since", () => {
  const stale = { modRevision: 40n };
  assert.equal(judge(changeOf([1, 0], stale)), "already so");
  assert.equal(judge(changeOf([0, 1])), "already so");
  const partition = partitionOf({ isr: [0, 3], isrBrokerEpochs: [10n, 7n] });
  assert.equal(judge(changeOf([0, [3, 7n]], stale), { partition }), "already so");
  // The leader has read a newer record, which may have another ISR.
  assert.equal(judge(changeOf([0, 1], { modRevision: 51n })), "METADATA_STALE");
  // Not the same ISR.
  assert.equal(judge(changeOf([0, [1, 7n]], stale)), "METADATA_STALE");
  assert.equal(judge(changeOf([0], stale)), "METADATA_STALE");
  assert.equal(judge(changeOf([0, 1, 2], stale)), "METADATA_STALE");
});

const unknown = "UNKNOWN_TOPIC_OR_PARTITION";

test("a partition that is unknown, being made or deleted is refused", () => {
  const state = { topics: new Map(), brokers, directories, shuttingDown: new Set<number>() };
  const decided = alteredPartition(undefined, changeOf([0]), leader, state);
  assert.equal(decided.kind === "refused" && decided.error.codeName, unknown);
  assert.equal(judge(changeOf([0]), { topic: topicOf({ partitionCount: 0 }) }), unknown);
  const other = topicOf({ id: topicIdOf(Buffer.alloc(16, 2)) });
  assert.equal(judge(changeOf([0]), { topic: other }), unknown);
});

test("an ISR without its leader, or with a replica twice, is refused", () => {
  assert.equal(judge(changeOf([])), "INVALID_REQUEST");
  assert.equal(judge(changeOf([1, 2])), "INVALID_REQUEST");
  assert.equal(judge(changeOf([0, 1, 1])), "INVALID_REQUEST");
});

test("a leader whose log is damaged leaves to who is in sync, and is not complete any more", () => {
  const resigns = true;
  const partition = partitionOf({ isr: [2, 0, 1], isrBrokerEpochs: [12n, 10n, 11n] });
  assert.equal(judge(changeOf([1, 2], { resigns }), { partition }), "2/6 isr 2,1 elr ");
  assert.equal(
    judge(changeOf([1, 2], { resigns }), { partition, stopping: [2] }),
    "1/6 isr 2,1 elr ",
  );
  assert.equal(judge(changeOf([1], { resigns }), { partition }), "1/6 isr 1 elr 2");
  assert.equal(judge(changeOf([1], { resigns })), "1/6 isr 1 elr ");
  assert.equal(judge(changeOf([1], { resigns }), { stopping: [1] }), "1/6 isr 1 elr ");
  assert.equal(judge(changeOf([], { resigns })), "INELIGIBLE_REPLICA");
  const alone = { isr: [0], isrBrokerEpochs: [10n] };
  const waiting = partitionOf({ ...alone, elr: [2, 1] });
  assert.equal(judge(changeOf([], { resigns }), { partition: waiting }), "2/6 isr 2 elr 1");
  const gone = partitionOf({ ...alone, elr: [3, 1] });
  assert.equal(judge(changeOf([], { resigns }), { partition: gone }), "1/6 isr 1 elr 3");
  const lost = partitionOf({ ...alone, elr: [1] });
  lost.record.directoryIds = [0, 0, 7, 0].map((n) => Buffer.alloc(n === 0 ? 0 : 16, n));
  assert.equal(judge(changeOf([], { resigns }), { partition: lost }), "INELIGIBLE_REPLICA");
  assert.equal(judge(changeOf([0, 1], { resigns })), "INVALID_REQUEST");
  // Registered, and a replica, but behind.
  assert.equal(judge(changeOf([1, 2], { resigns })), "INELIGIBLE_REPLICA");
  const earlier = partitionOf({ isrBrokerEpochs: [10n, 9n] });
  assert.equal(judge(changeOf([1], { resigns }), { partition: earlier }), "INELIGIBLE_REPLICA");
});

test("a leader whose log knows the epoch gets a higher one, and all else stays", () => {
  const known = (knownLeaderEpoch: number, fields = {}) =>
    judge(changeOf([0, 1], { knownLeaderEpoch, ...fields }), {
      partition: partitionOf({ elr: [2] }),
    });
  assert.equal(known(5), "0/6 isr 0,1 elr 2");
  assert.equal(known(41), "0/42 isr 0,1 elr 2");
  assert.equal(known(4), "already so");
  assert.equal(known(0x7fff_ffff), "INVALID_REQUEST");
  // Leaving itself out, as a leader that resigns does: only the epoch is wrong.
  const both = changeOf([1], { resigns: true, knownLeaderEpoch: 5 });
  assert.equal(judge(both), "INVALID_REQUEST");
  assert.equal(known(5, { modRevision: 49n }), "METADATA_STALE");
});

test("who does not lead in this epoch, under this registration, is refused", () => {
  assert.equal(judge(changeOf([0], { leaderEpoch: 4 })), "FENCED_LEADER_EPOCH");
  assert.equal(judge(changeOf([0], { leaderEpoch: 6 })), "FENCED_LEADER_EPOCH");
  const caller = { brokerId: 1, brokerEpoch: 11 };
  assert.equal(judge(changeOf([0, 1]), { caller }), "FENCED_LEADER_EPOCH");
  // An earlier life of the process led in this epoch: a higher one comes.
  const partition = partitionOf({ isrBrokerEpochs: [9n, 11n] });
  assert.equal(judge(changeOf([0, 1]), { partition }), "FENCED_LEADER_EPOCH");
  const { leader: _, ...leaderless } = partitionOf().record;
  const orphan = { ...partitionOf(), record: leaderless as PartitionRecord };
  assert.equal(judge(changeOf([0]), { partition: orphan }), "FENCED_LEADER_EPOCH");
});

test("a decision by another revision of the record is stale", () => {
  assert.equal(judge(changeOf([0], { modRevision: 49n })), "METADATA_STALE");
  assert.equal(judge(changeOf([0], { modRevision: 51n })), "METADATA_STALE");
});

test("only replicas that are registered, under this epoch, become in sync", () => {
  assert.equal(judge(changeOf([0, 9])), "INELIGIBLE_REPLICA");
  assert.equal(judge(changeOf([0, 3])), "INELIGIBLE_REPLICA");
  assert.equal(judge(changeOf([0, 1, [2, 11n]])), "INELIGIBLE_REPLICA");
  assert.equal(judge(changeOf([0, 1, [2, 13n]])), "INELIGIBLE_REPLICA");
  assert.equal(judge(changeOf([[0, 9n], 1, 2])), "INELIGIBLE_REPLICA");
});
