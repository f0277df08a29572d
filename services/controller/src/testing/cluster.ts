/** A metadata store on simulated time, and processes that live and die beside it. */
import { create } from "@bufbuild/protobuf";
import { type Logger, silentLogger } from "@millrace/env";
import {
  decodeRecord,
  EmbeddedStore,
  encodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
  Mirror,
  type Operation,
  type Persistence,
} from "@millrace/metadata";
import {
  BrokerRecordSchema,
  type PartitionRecord,
  PartitionRecordSchema,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { Incarnation, Kernel, mountStore } from "@millrace/sim";
import { ControllerProcess } from "../controller-process.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { Registration, type RegistrationOptions } from "../registration.ts";

export const ttlSeconds = 3;

/** Replaces calls of a store. */
export type Interpose = (store: MetadataStore) => Partial<MetadataStore>;

export class TestCluster {
  readonly kernel = new Kernel(7);
  readonly store: EmbeddedStore;
  readonly lines: { fields: Readonly<Record<string, unknown>>; message: string }[] = [];
  readonly logger: Logger;
  /** Of all controllers. */
  readonly counts = { active: 0, changes: 0, elections: 0, conflicts: 0, failures: 0 };

  constructor(persistence?: Persistence) {
    const clock = new Incarnation(this.kernel, "store").clock();
    const options = persistence === undefined ? {} : { persistence };
    this.store = new EmbeddedStore({ clock, random: this.kernel.random, ...options });
    const add = (fields: Readonly<Record<string, unknown>>, message: string): void => {
      this.lines.push({ fields, message });
    };
    this.logger = { ...silentLogger, info: add, warn: add, error: add };
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }

  /** Lets time pass. */
  pass(ms: number): Promise<void> {
    return this.kernel.run(
      new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test")),
    );
  }

  /** A process with its own handle of the store. */
  process(name: string, interpose: Interpose = () => ({})) {
    const life = new Incarnation(this.kernel, name);
    const mounted = mountStore(this.store, life);
    const store: MetadataStore = { ...mounted, ...interpose(mounted) };
    return { life, store, clock: life.clock(), random: this.kernel.random, logger: this.logger };
  }

  async controller(controllerId: number, interpose?: Interpose) {
    const { life, ...shared } = this.process(`controller ${controllerId}`, interpose);
    const mirror = new Mirror(shared);
    await this.run(mirror.start());
    const { counts } = this;
    const metrics: ControllerMetrics = {
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
      onFailure: () => {
        counts.failures += 1;
      },
    };
    const options = { ...shared, mirror, controllerId, ttlSeconds, metrics };
    const process = new ControllerProcess(options);
    return { life, process, mirror };
  }

  registration(brokerId: number, fields: Partial<RegistrationOptions> = {}, interpose?: Interpose) {
    const { life, ...shared } = this.process(`broker ${brokerId}`, interpose);
    const incarnationId = this.kernel.random.bytes(16);
    const record = create(BrokerRecordSchema, { brokerId, incarnationId });
    return { life, registration: new Registration({ ...shared, record, ttlSeconds, ...fields }) };
  }

  async get(key: string): Promise<KeyValue | undefined> {
    return (await this.run(this.store.range({ key }))).kvs[0];
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
