import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { decodeRecord, EmbeddedStore, encodeRecord, keys } from "@millrace/metadata";
import {
  CreateTopicRequestSchema,
  ElectionType,
  ElectLeaderRequestSchema,
} from "@millrace/proto/controller";
import {
  BrokerRecordSchema,
  type PartitionRecord,
  PartitionRecordSchema,
} from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { Controller } from "./controller.ts";
import { electedPartition } from "./elections.ts";
import type { Brokers } from "./leadership.ts";

const topic = { minInsyncReplicas: 2, minIsrEpoch: 3 };
const disk = (n: number): Uint8Array => Buffer.alloc(16, n);

/** Broker n is registered under 10 + n, with the disk given. */
const registered = (disks: Readonly<Record<number, number>>, stopping: number[] = []): Brokers => {
  const entries = Object.entries(disks).map(([id, n]) => [Number(id), n] as const);
  return {
    brokers: new Map(entries.map(([id]) => [id, 10 + id])),
    shuttingDown: new Set(stopping),
    directories: new Map(entries.map(([id, n]) => [id, disk(n)])),
  };
};

/** Replicas 2, 0, 1; all of them were on disk 1. */
const recordOf = (isr: readonly number[], leader?: number, elr: number[] = []): PartitionRecord =>
  create(PartitionRecordSchema, {
    ...{ topicId: disk(9), replicas: [2, 0, 1], isr: [...isr], elr, leaderEpoch: 5 },
    isrBrokerEpochs: isr.map((id) => BigInt(10 + id)),
    minIsrEpoch: 3,
    directoryIds: [disk(1), disk(1), disk(1)],
    ...(leader === undefined ? {} : { leader }),
  });

const { PREFERRED, UNCLEAN, UNSPECIFIED } = ElectionType;

const elected = (
  record: PartitionRecord,
  brokers: Brokers,
  type: ElectionType,
  leader?: number,
): string => {
  try {
    const named = leader === undefined ? {} : { leader };
    const request = create(ElectLeaderRequestSchema, { type, ...named });
    const next = electedPartition(record, topic, brokers, request);
    const { isr, isrBrokerEpochs, elr, leaderEpoch, minIsrEpoch } = next;
    assert.deepEqual(next.replicas, record.replicas);
    assert.equal(minIsrEpoch, 3);
    if (type === UNCLEAN) assert.equal(next.uncleanLeaderEpoch, leaderEpoch);
    const disks = next.directoryIds.map(([n]) => n);
    return `${next.leader}/${leaderEpoch} isr ${isr}@${isrBrokerEpochs} elr ${elr} on ${disks}`;
  } catch (thrown) {
    return MillraceError.from(thrown).codeName;
  }
};

test("an election that is not needed says what to do instead", () => {
  const all = registered({ 0: 1, 1: 1, 2: 1 });
  const messageOf = (record: PartitionRecord, type: ElectionType): string => {
    try {
      electedPartition(record, topic, all, create(ElectLeaderRequestSchema, { type }));
    } catch (thrown) {
      return MillraceError.from(thrown).message;
    }
    return "elected";
  };
  assert.match(messageOf(recordOf([0, 1, 2], 2), PREFERRED), /broker 2.* leads: nothing to do$/);
  assert.match(messageOf(recordOf([0, 1], 0), UNCLEAN), /broker 0 is complete.*: wait for it$/);
});

test("the preferred leader leads when it is asked for, and only while it is in sync", () => {
  const all = registered({ 0: 1, 1: 1, 2: 1 });
  const led = recordOf([0, 1, 2], 0);
  assert.equal(elected(led, all, PREFERRED), "2/6 isr 0,1,2@10,11,12 elr  on 1,1,1");
  assert.equal(elected(recordOf([0, 1, 2], 2), all, PREFERRED), "ELECTION_NOT_NEEDED");
  const none = "ELIGIBLE_LEADERS_NOT_AVAILABLE";
  assert.equal(elected(recordOf([0, 1], 0), all, PREFERRED), none);
  assert.equal(elected(led, registered({ 0: 1, 1: 1, 2: 1 }, [2]), PREFERRED), none);
  assert.equal(elected(led, registered({ 0: 1, 1: 1 }), PREFERRED), none);
  assert.equal(elected(led, all, PREFERRED, 2), "INVALID_REQUEST");
  assert.equal(elected(led, all, UNSPECIFIED), "INVALID_REQUEST");
});

test("an unclean election is for a partition that nobody complete can lead", () => {
  const gone = recordOf([1], undefined, [0]);
  const others = registered({ 0: 2, 2: 1 });
  assert.equal(elected(gone, others, UNCLEAN), "2/6 isr 2@12 elr  on 1,1,1");
  assert.equal(elected(gone, others, UNCLEAN, 0), "0/6 isr 0@10 elr  on 1,2,1");
  assert.equal(elected(gone, others, UNCLEAN, 1), "ELIGIBLE_LEADERS_NOT_AVAILABLE");
  assert.equal(elected(gone, registered({}), UNCLEAN), "ELIGIBLE_LEADERS_NOT_AVAILABLE");
  assert.equal(elected(gone, others, UNCLEAN, 7), "INVALID_REQUEST");
  // Somebody complete is there, who leads already or will in a moment.
  const complete = registered({ 0: 1, 2: 1 });
  assert.equal(elected(gone, complete, UNCLEAN), "ELECTION_NOT_NEEDED");
  assert.equal(elected(recordOf([0, 1, 2], 0), complete, UNCLEAN), "ELECTION_NOT_NEEDED");
  // The sole member of the ISR is back, with an empty disk.
  const emptied = registered({ 1: 2 });
  assert.equal(elected(gone, emptied, UNCLEAN), "1/6 isr 1@11 elr  on 1,1,2");
});

test("an election by command is written, once, and refused where it changes nothing", async () => {
  const [clock, random] = [nodeClock(), nodeRandom()];
  const store = new EmbeddedStore({ clock, random });
  const logger = silentLogger;
  const served: number[] = [];
  const controller = new Controller({
    ...{ store, clock, random, logger, defaultReplicationFactor: 2 },
    untilServed: async (revision) => void served.push(revision),
  });
  await controller.bootstrapCluster();
  const register = async (brokerId: number, n: number): Promise<void> => {
    const key = keys.broker(brokerId);
    const value = encodeRecord.broker(
      create(BrokerRecordSchema, { brokerId, directoryId: disk(n) }),
    );
    await store.txn([], [{ type: "delete", range: { key } }]);
    await store.txn([], [{ type: "put", key, value }]);
  };
  for (const id of [0, 1]) await register(id, 1);
  const { topicId } = await controller.createTopic(create(CreateTopicRequestSchema, { name: "t" }));
  const key = keys.partition(topicIdOf(topicId), 0);
  const read = async (): Promise<PartitionRecord> => {
    const [kv = assert.fail()] = (await store.range({ key })).kvs;
    return decodeRecord.partition(kv);
  };
  const { leader: _, ...first } = await read();
  assert.deepEqual(
    first.directoryIds.map(([n]) => n),
    [1, 1],
  );
  // Both have come back with other disks.
  for (const id of [0, 1]) await register(id, 2);
  const leaderless = { ...first, leaderEpoch: 2 } as PartitionRecord;
  await store.txn([], [{ type: "put", key, value: encodeRecord.partition(leaderless) }]);
  const ask = (fields: { topic?: string; partition?: number; validateOnly?: boolean }) =>
    controller.electLeader(
      create(ElectLeaderRequestSchema, { topic: "t", type: UNCLEAN, leader: 1, ...fields }),
    );
  served.length = 0;
  assert.equal((await ask({ validateOnly: true })).leaderEpoch, 3);
  assert.equal((await read()).leader, undefined);
  assert.deepEqual(served, []);
  const { leader, leaderEpoch, revision } = await ask({});
  assert.deepEqual([leader, leaderEpoch], [1, 3]);
  assert.deepEqual(served, [Number(revision)], "the next call finds the leader");
  assert.deepEqual((await read()).isr, [1]);
  const refused = (work: Promise<unknown>, code: ErrorCode): Promise<void> =>
    assert.rejects(work, (thrown) => hasCode(thrown, code));
  await refused(ask({}), ErrorCode.ELECTION_NOT_NEEDED);
  await refused(ask({ partition: 1 }), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  await refused(ask({ topic: "u" }), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
});
