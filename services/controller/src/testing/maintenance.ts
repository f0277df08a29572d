/** A controller with brokers that are under maintenance, in simulated time. */
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys, type Operation } from "@millrace/metadata";
import { type BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import {
  AcquireMaintenanceRequestSchema,
  type AcquireMaintenanceResponse,
  MaintenanceBlockerReason,
  ReleaseMaintenanceRequestSchema,
  RenewMaintenanceRequestSchema,
  SetBrokerIntentRequestSchema,
} from "@millrace/proto/controller";
import {
  BrokerIntentRecordSchema,
  BrokerRecordSchema,
  PartitionRecordSchema,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { BrokersHandlers } from "../brokers.ts";
import type { ControllerProcess } from "../controller-process.ts";
import { MaintenanceHandlers } from "../maintenance/handlers.ts";
import { type Interpose, TestCluster } from "./cluster.ts";

/** What a test asks for; the rest is the obvious. */
export interface Asked {
  readonly broker: number;
  readonly kind?: MaintenanceKind;
  readonly holder?: string;
  /** Default: as the controller has it. */
  readonly epoch?: number;
  readonly directory?: Uint8Array;
  readonly ttlMs?: number;
  readonly allowUnavailable?: boolean;
  readonly validateOnly?: boolean;
}

interface NewPartition {
  readonly replicas: readonly number[];
  readonly isr?: readonly number[];
  readonly elr?: readonly number[];
  readonly adding?: readonly number[];
  readonly removing?: readonly number[];
}

/** The directory of a broker; another `disk` is another one. */
export const directoryOf = (broker: number, disk = 0): Uint8Array =>
  Buffer.alloc(16, 1 + broker * 16 + disk);

/** Names of what is in the way, with the partition or broker. */
export const inTheWay = ({ blockers }: Pick<AcquireMaintenanceResponse, "blockers">): string[] =>
  blockers.map(({ brokerId, partition, reason, topic }) => {
    const what = topic === "" ? (brokerId ?? "") : `${topic}/${partition}`;
    return `${MaintenanceBlockerReason[reason]} ${what}`.trim();
  });

export class MaintenanceCluster extends TestCluster {
  readonly #epochs = new Map<number, number>();
  readonly #disks = new Map<number, number>();

  put(operation: Operation): Promise<{ readonly revision: number }> {
    return this.run(this.store.txn([], [operation]));
  }

  /** Registers a broker, in place of its last life. */
  async start(broker: number, { disk = 0, rack = "", shuttingDown = false } = {}): Promise<number> {
    await this.stop(broker);
    const directoryId = directoryOf(broker, disk);
    const record = create(BrokerRecordSchema, {
      brokerId: broker,
      directoryId,
      rack,
      shuttingDown,
    });
    const value = encodeRecord.broker(record);
    const { revision } = await this.put({ type: "put", key: keys.broker(broker), value });
    this.#epochs.set(broker, revision);
    this.#disks.set(broker, disk);
    return revision;
  }

  async stop(broker: number): Promise<void> {
    await this.put({ type: "delete", range: { key: keys.broker(broker) } });
    this.#epochs.delete(broker);
  }

  epochOf(broker: number): number {
    return this.#epochs.get(broker) ?? 0;
  }

  /** A topic with these partitions; the ISR is everybody unless it says so. */
  async topicWith(name: string, min: number, partitions: readonly NewPartition[]): Promise<void> {
    const topicId = Buffer.alloc(16, name);
    for (const [
      partition,
      { adding = [], removing = [], elr = [], replicas, isr = replicas },
    ] of partitions.entries()) {
      const [leader] = isr;
      const record = create(PartitionRecordSchema, {
        ...{ topicId, partition, replicas: [...replicas], isr: [...isr], elr: [...elr] },
        ...{
          adding: [...adding],
          removing: [...removing],
          leaderEpoch: 1,
          ...(leader === undefined ? {} : { leader }),
        },
        isrBrokerEpochs: isr.map((id) => BigInt(this.epochOf(id))),
        directoryIds: replicas.map((id) => directoryOf(id)),
      });
      const key = keys.partition(topicId.toString("hex"), partition);
      await this.put({ type: "put", key, value: encodeRecord.partition(record) });
    }
    await this.topicRecord(name, min, partitions.length);
  }

  /** The record of a topic, without its partitions. */
  async topicRecord(name: string, min: number, partitionCount: number): Promise<void> {
    const topic = create(TopicRecordSchema, {
      ...{ name, topicId: Buffer.alloc(16, name), partitionCount },
      configs: { "min.insync.replicas": String(min) },
    });
    const value = encodeRecord.topic(topic);
    await this.put({ type: "put", key: keys.topic(name), value });
  }

  /** Changes who is in sync with a partition, as its leader would. */
  async setIsr(name: string, partition: number, isr: readonly number[]): Promise<void> {
    const key = keys.partition(Buffer.alloc(16, name).toString("hex"), partition);
    const kv = await this.get(key);
    if (kv === undefined) throw new Error(`no partition ${name}/${partition}`);
    const record = decodeRecord.partition(kv);
    const isrBrokerEpochs = isr.map((id) => BigInt(this.epochOf(id)));
    const directoryIds = record.replicas.map((id, i) =>
      isr.includes(id)
        ? directoryOf(id, this.#disks.get(id))
        : (record.directoryIds[i] ?? new Uint8Array(0)),
    );
    const changed = { ...record, isr: [...isr], isrBrokerEpochs, directoryIds };
    const value = encodeRecord.partition(changed);
    await this.put({ type: "put", key, value });
  }

  async intend(brokerId: number, intent: BrokerIntent, directoryId = directoryOf(brokerId)) {
    const record = create(BrokerIntentRecordSchema, { brokerId, intent, directoryId });
    const value = encodeRecord.brokerIntent(record);
    await this.put({ type: "put", key: keys.brokerIntent(brokerId), value });
    await this.put({ type: "put", key: keys.placement, value: new Uint8Array(0) });
  }

  /** A controller with its services. `interpose`: between its transactions and the store. */
  async operated(controllerId: number, interpose?: Interpose) {
    const { mirror, process, life } = await this.controller(controllerId, interpose);
    await this.pass(100);
    return { life, mirror, process, ...this.servicesOf(process, `admin ${controllerId}`) };
  }

  servicesOf(process: ControllerProcess, name: string, perRackMax = 1) {
    const { life: _, clock, store } = this.process(name);
    const options = { clusterId: "c", store, clock, logger: silentLogger, active: process };
    const handlers = new MaintenanceHandlers({ ...options, perRackMax });
    const brokers = new BrokersHandlers({
      ...{ clusterId: "c", store, deletionDone: async () => {} },
      active: {
        writeOfReign: () => process.writeOfReign(),
        watchOfReign: () => ({ logCountOf: () => 0 }),
        maintenanceOfReign: () => process.maintenanceOfReign(),
        waitForRevision: (...args) => process.waitForRevision(...args),
        get state() {
          return process.state;
        },
      },
    });
    const acquire = (asked: Asked): Promise<AcquireMaintenanceResponse> => {
      const { broker, directory, epoch = this.epochOf(broker), kind, ...rest } = asked;
      const { RESTART } = MaintenanceKind;
      const named = kind === undefined || kind === RESTART ? { brokerEpoch: BigInt(epoch) } : {};
      const request = create(AcquireMaintenanceRequestSchema, {
        ...{ brokerId: broker, kind: kind ?? RESTART, holder: "op", reason: "a test" },
        ...named,
        ...(directory === undefined ? {} : { directoryId: directory }),
        ...rest,
      });
      return handlers.acquire(request);
    };
    const renew = (brokerId: number, token: bigint | undefined) =>
      handlers.renew(create(RenewMaintenanceRequestSchema, { brokerId, token: token ?? 0n }));
    const release = (brokerId: number, token: bigint | undefined, force = false) => {
      const fields = { brokerId, token: token ?? 0n, force };
      return handlers.release(create(ReleaseMaintenanceRequestSchema, fields));
    };
    const setIntent = (brokerId: number, intent: BrokerIntent) =>
      brokers.setBrokerIntent(create(SetBrokerIntentRequestSchema, { brokerId, intent }));
    return { handlers, brokers, acquire, renew, release, setIntent };
  }

  /** The code of the error of a call, or that there was none. */
  codeOf(work: Promise<unknown>): Promise<string> {
    return this.run(
      work.then(
        () => "done",
        (thrown: unknown) => MillraceError.from(thrown).codeName,
      ),
    );
  }
}
