/** Controllers and brokers on a metadata store, in simulated time. */
import { create } from "@bufbuild/protobuf";
import { decodeRecord, encodeRecord, keys, Mirror, type Operation } from "@millrace/metadata";
import { type Interpose, StoreProcesses, ttlSeconds } from "@millrace/metadata/testing";
import {
  type PartitionRecord,
  PartitionRecordSchema,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { SimNetwork } from "@millrace/sim";
import { ControllerProcess } from "../controller-process.ts";
import type { ControllerMetrics } from "../metrics.ts";

export { type Interpose, ttlSeconds } from "@millrace/metadata/testing";

export class TestCluster extends StoreProcesses {
  /** Of all controllers. */
  readonly counts = {
    active: 0,
    changes: 0,
    elections: 0,
    conflicts: 0,
    fenced: 0,
    failures: 0,
    leases: 0,
    granted: 0,
    refused: 0,
    released: 0,
    expired: 0,
  };
  readonly network = new SimNetwork(this.kernel);
  /** Moves of the plan that is carried out: those that wait, and those under way. */
  moves: readonly number[] = [];

  async controller(controllerId: number, interpose?: Interpose) {
    const { life, ...shared } = this.process(`controller ${controllerId}`, interpose);
    const mirror = new Mirror(shared);
    await this.run(mirror.start());
    const { counts } = this;
    const metrics: ControllerMetrics = {
      onRebalance: (...moves) => {
        this.moves = moves;
      },
      onReign: (active) => {
        counts.active += active ? 1 : -1;
      },
      onChanges: (changes, elections) => {
        counts.changes += changes;
        counts.elections += elections;
      },
      onConflict: () => {
        counts.conflicts += 1;
      },
      onFenced: () => {
        counts.fenced += 1;
      },
      onLeases: (held, expired) => {
        counts.leases = held + expired;
      },
      onMaintenance: (what) => {
        counts[what] += 1;
      },
      onFailure: () => {
        counts.failures += 1;
      },
    };
    const { dialer } = this.network.attach(`c${controllerId}`, life);
    const options = { ...shared, mirror, dialer, controllerId, ttlSeconds, metrics };
    const process = new ControllerProcess(options);
    return { life, process, mirror };
  }

  async partitions(): Promise<PartitionRecord[]> {
    const { kvs } = await this.run(this.store.range({ prefix: keys.partitions }));
    return kvs.map(decodeRecord.partition);
  }

  /** A topic whose partitions one broker leads, alone, under broker epoch 1. */
  async topic(partitionCount: number, broker: number): Promise<void> {
    const topicId = Buffer.alloc(16, 9);
    const fields = { name: "t", topicId, partitionCount, replicationFactor: 1 };
    const topic = create(TopicRecordSchema, fields);
    const puts = Array.from({ length: partitionCount }, (_, partition): Operation => {
      const record = create(PartitionRecordSchema, {
        ...{ topicId, partition, replicas: [broker], isr: [broker], leader: broker },
        ...{ leaderEpoch: 1, isrBrokerEpochs: [1n] },
      });
      const key = keys.partition(topicId.toString("hex"), partition);
      return { type: "put", key, value: encodeRecord.partition(record) };
    });
    for (let at = 0; at < puts.length; at += 100) {
      await this.run(this.store.txn([], puts.slice(at, at + 100)));
    }
    const value = encodeRecord.topic(topic);
    await this.run(this.store.txn([], [{ type: "put", key: keys.topic("t"), value }]));
  }
}

export const isActive = (process: ControllerProcess): boolean => {
  try {
    process.requireActive();
    return true;
  } catch {
    return false;
  }
};
