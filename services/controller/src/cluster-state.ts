/** What the controller decides from: the metadata, decoded, as of one revision. */
import { topicConfigOf } from "@millrace/config";
import type { Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import {
  decodeRecord,
  type KeyValue,
  keys,
  type Mirror,
  type WatchEvent,
} from "@millrace/metadata";
import type { BrokerIntentRecord, PartitionRecord } from "@millrace/proto/storage";
import { type TopicId, topicIdOf } from "@millrace/record";
import type { Directories } from "./directories.ts";
import { type LeaseState, leaseOf, type Maintenance } from "./maintenance/leases.ts";
import { isRetired, type Placement } from "./placement.ts";

export interface TopicState {
  readonly id: TopicId;
  readonly name: string;
  readonly modRevision: number;
  readonly partitionCount: number;
  readonly minInsyncReplicas: number;
  readonly minIsrEpoch: number;
}

export interface PartitionState {
  readonly record: PartitionRecord;
  readonly topicId: TopicId;
  readonly modRevision: number;
}

export interface DeletionState {
  readonly topicId: TopicId;
  /** Brokers that may still hold partitions of the topic. */
  readonly pending: readonly number[];
  readonly modRevision: number;
}

export interface ClusterState {
  /** Every change up to this revision is in it. */
  readonly revision: number;
  /** Registered brokers, with their epochs. One with a directory that was given up is none. */
  readonly brokers: ReadonlyMap<number, number>;
  /** Those of them that are about to stop. */
  readonly shuttingDown: ReadonlySet<number>;
  /** Their data directories, where they tell them. */
  readonly directories: Directories;
  /** Their racks, where they tell them. */
  readonly racks: ReadonlyMap<number, string>;
  /** What operators want of brokers. */
  readonly placement: Placement;
  /** Who may take which broker down. */
  readonly maintenance: Maintenance;
  readonly topics: ReadonlyMap<TopicId, TopicState>;
  /** By key. */
  readonly partitions: ReadonlyMap<string, PartitionState>;
  /** By topic. */
  readonly deletions: ReadonlyMap<TopicId, DeletionState>;
  /** Keys whose values cannot be read: nothing is removed while there are any. */
  readonly unreadable: ReadonlySet<string>;
}

const topicOf = (kv: KeyValue): TopicState => {
  const { name, topicId, partitionCount, configs, minIsrEpoch } = decodeRecord.topic(kv);
  const minInsyncReplicas = topicConfigOf(configs)["min.insync.replicas"];
  const { modRevision } = kv;
  const id = topicIdOf(topicId);
  return { id, name, modRevision, partitionCount, minInsyncReplicas, minIsrEpoch };
};

/** Told what a change of the state may have consequences for, within the change. */
export interface StateListener {
  /** For one partition. */
  partition(key: string): void;
  /** For the partitions of a topic. */
  topic(id: TopicId): void;
  /** For the partitions that have a replica on a broker. */
  broker(brokerId: number): void;
  everything(): void;
}

/** Decodes each change once. The state is live: it changes with the mirror, between two turns. */
export class StateMirror {
  readonly #mirror: Pick<Mirror, "entries" | "onChange" | "revision">;
  readonly #logger: Logger;
  readonly #stop: () => void;
  readonly #registrations = new Map<number, KeyValue>();
  readonly #brokers = new Map<number, number>();
  readonly #shuttingDown = new Set<number>();
  readonly #directories = new Map<number, Uint8Array>();
  readonly #racks = new Map<number, string>();
  readonly #intents = new Map<number, BrokerIntentRecord>();
  #placementRevision = 0;
  readonly #leases = new Map<number, LeaseState>();
  #maintenanceRevision = 0;
  readonly #topics = new Map<TopicId, TopicState>();
  readonly #topicIds = new Map<string, TopicId>();
  readonly #partitions = new Map<string, PartitionState>();
  readonly #deletions = new Map<TopicId, DeletionState>();
  readonly #unreadable = new Set<string>();
  readonly #listeners = new Set<StateListener>();

  constructor(mirror: Pick<Mirror, "entries" | "onChange" | "revision">, logger: Logger) {
    this.#mirror = mirror;
    this.#logger = logger;
    this.#take(mirror.entries("").map((kv): WatchEvent => ({ type: "put", kv })));
    this.#stop = mirror.onChange((events) => this.#take(events));
  }

  get current(): ClusterState {
    return {
      revision: this.#mirror.revision,
      brokers: this.#brokers,
      shuttingDown: this.#shuttingDown,
      directories: this.#directories,
      racks: this.#racks,
      placement: { revision: this.#placementRevision, intents: this.#intents },
      maintenance: { revision: this.#maintenanceRevision, leases: this.#leases },
      topics: this.#topics,
      partitions: this.#partitions,
      deletions: this.#deletions,
      unreadable: this.#unreadable,
    };
  }

  /** Tells a listener of every change from now on. Returns how to stop. */
  onTouch(listener: StateListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#stop();
  }

  #tell(what: (listener: StateListener) => void): void {
    for (const listener of this.#listeners) what(listener);
  }

  #take(events: readonly WatchEvent[]): void {
    const wasReadable = this.#unreadable.size === 0;
    for (const { type, kv } of events) {
      const { key } = kv;
      this.#unreadable.delete(key);
      this.#forget(key);
      if (type === "delete") continue;
      try {
        this.#put(kv);
      } catch (thrown) {
        this.#unreadable.add(key);
        this.#logger.error({ key, err: MillraceError.from(thrown) }, "a metadata value is refused");
      }
    }
    // What was not removed beside an unreadable key may be removed now.
    if (!wasReadable && this.#unreadable.size === 0) this.#tell((one) => one.everything());
  }

  #forget(key: string): void {
    if (key.startsWith(keys.partitions)) {
      this.#partitions.delete(key);
      this.#tell((one) => one.partition(key));
    } else if (key.startsWith(keys.brokers)) {
      const brokerId = Number(key.slice(keys.brokers.length));
      this.#tell((one) => one.broker(brokerId));
      this.#registrations.delete(brokerId);
      this.#admit(brokerId);
    } else if (key.startsWith(keys.brokerIntents)) {
      const brokerId = Number(key.slice(keys.brokerIntents.length));
      this.#intents.delete(brokerId);
      this.#tell((one) => one.broker(brokerId));
      this.#admit(brokerId);
    } else if (key.startsWith(keys.maintenanceLeases)) {
      const brokerId = Number(key.slice(keys.maintenanceLeases.length));
      this.#leases.delete(brokerId);
      this.#tell((one) => one.broker(brokerId));
    } else if (key.startsWith(keys.deletions)) {
      const topicId = topicIdOf(Buffer.from(key.slice(keys.deletions.length), "hex"));
      this.#deletions.delete(topicId);
      this.#tell((one) => one.topic(topicId));
    } else if (key.startsWith(keys.topics)) {
      const id = this.#topicIds.get(key);
      if (id === undefined) return;
      this.#topics.delete(id);
      this.#topicIds.delete(key);
      this.#tell((one) => one.topic(id));
    }
  }

  #put(kv: KeyValue): void {
    const { key, modRevision } = kv;
    if (key.startsWith(keys.partitions)) {
      const record = decodeRecord.partition(kv);
      this.#partitions.set(key, { record, topicId: topicIdOf(record.topicId), modRevision });
    } else if (key.startsWith(keys.brokers)) {
      const { brokerId } = decodeRecord.broker(kv);
      this.#registrations.set(brokerId, kv);
      this.#admit(brokerId);
    } else if (key.startsWith(keys.brokerIntents)) {
      const record = decodeRecord.brokerIntent(kv);
      this.#intents.set(record.brokerId, record);
      this.#admit(record.brokerId);
    } else if (key.startsWith(keys.maintenanceLeases)) {
      const lease = leaseOf(kv);
      this.#leases.set(lease.record.brokerId, lease);
    } else if (key === keys.maintenance) {
      this.#maintenanceRevision = modRevision;
    } else if (key === keys.placement) {
      this.#placementRevision = modRevision;
    } else if (key.startsWith(keys.deletions)) {
      const { topic, pendingBrokerIds: pending } = decodeRecord.deletion(kv);
      const topicId = topicIdOf(topic?.topicId ?? new Uint8Array(0));
      this.#deletions.set(topicId, { topicId, pending, modRevision });
    } else if (key.startsWith(keys.topics)) {
      const topic = topicOf(kv);
      this.#topics.set(topic.id, topic);
      this.#topicIds.set(key, topic.id);
      this.#tell((one) => one.topic(topic.id));
    }
  }

  /** Takes up a registration, or that there is none. */
  #admit(brokerId: number): void {
    this.#brokers.delete(brokerId);
    this.#shuttingDown.delete(brokerId);
    this.#directories.delete(brokerId);
    this.#racks.delete(brokerId);
    const kv = this.#registrations.get(brokerId);
    if (kv === undefined) return;
    const { directoryId, rack, shuttingDown } = decodeRecord.broker(kv);
    if (isRetired(this.#intents.get(brokerId), directoryId)) return;
    if (directoryId.length > 0) this.#directories.set(brokerId, directoryId);
    if (rack !== "") this.#racks.set(brokerId, rack);
    this.#brokers.set(brokerId, kv.createRevision);
    if (shuttingDown) this.#shuttingDown.add(brokerId);
  }
}
