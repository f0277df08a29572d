/** What is in the way, by states that the control loop has yet to look at. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { keys } from "@millrace/metadata";
import { MaintenanceKind } from "@millrace/proto/common";
import { MaintenanceBlockerReason } from "@millrace/proto/controller";
import { PartitionRecordSchema } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import type { ClusterState } from "../cluster-state.ts";
import { everyBrokerActive } from "../placement.ts";
import { judge } from "./judge.ts";
import { noMaintenance } from "./leases.ts";

const topicId = Buffer.alloc(16, 3);

/** A partition on brokers 0, 1 and 2, all in its ISR under epochs 1, 2 and 3. */
const stateOf = (fields: Partial<ClusterState>): ClusterState => {
  const record = create(PartitionRecordSchema, {
    ...{ topicId, partition: 0, replicas: [0, 1, 2], isr: [0, 1, 2], leader: 0, leaderEpoch: 1 },
    isrBrokerEpochs: [1n, 2n, 3n],
  });
  const id = topicIdOf(topicId);
  const topic = {
    ...{ id, name: "t", modRevision: 4, partitionCount: 1 },
    ...{ minInsyncReplicas: 2, minIsrEpoch: 0 },
  };
  return {
    revision: 9,
    brokers: new Map([0, 1, 2].map((one) => [one, one + 1])),
    ...{ shuttingDown: new Set(), directories: new Map(), racks: new Map() },
    ...{ placement: everyBrokerActive, maintenance: noMaintenance, unreadable: new Set() },
    ...{ deletions: new Map(), topics: new Map([[id, topic]]) },
    partitions: new Map([[keys.partition(id, 0), { record, topicId: id, modRevision: 5 }]]),
    ...fields,
  };
};

const { RESTART } = MaintenanceKind;
const restart = (state: ClusterState): string[] => {
  const { blockers } = judge(
    state,
    { brokerId: 0, kind: RESTART, directoryId: new Uint8Array(0), allowUnavailable: false },
    1,
  );
  return blockers.map(({ reason }) => MaintenanceBlockerReason[reason]);
};

test("a member of the ISR counts under the registration that the ISR names", () => {
  assert.deepEqual(restart(stateOf({})), []);
  const gone = new Map([0, 1].map((id) => [id, id + 1]));
  assert.deepEqual(restart(stateOf({ brokers: gone })), ["UNDER_MIN_ISR"]);
  const anew = new Map([...gone, [2, 8]]);
  assert.deepEqual(restart(stateOf({ brokers: anew })), ["UNDER_MIN_ISR"]);
});

test("nothing is granted while metadata cannot be read", () => {
  assert.deepEqual(restart(stateOf({ unreadable: new Set(["partitions/x"]) })), ["UNREADABLE"]);
});
