/**
 * `ClusterView` over the metadata mirror. Records are decoded once per change; unchanged topics are
 * shared between snapshots.
 */
import type { Logger } from "@millrace/env";
import { MillraceError, parseEndpoint } from "@millrace/errors";
import {
  decodeRecord,
  type KeyValue,
  keys,
  type Mirror,
  type WatchEvent,
} from "@millrace/metadata";
import type { PartitionRecord, TopicRecord } from "@millrace/proto/storage";
import { type TopicId, topicIdOf } from "@millrace/record";
import type {
  BrokerView,
  ClusterChange,
  ClusterSnapshot,
  ClusterView,
  CoordinatorView,
  DeletionView,
  PartitionView,
  TopicView,
} from "./view.ts";

const partitionView = (record: PartitionRecord, modRevision: number): PartitionView => ({
  partition: record.partition,
  leader: record.leader,
  leaderEpoch: record.leaderEpoch,
  replicas: record.replicas,
  adding: record.adding,
  removed: record.removed,
  isr: record.isr,
  isrBrokerEpochs: record.isrBrokerEpochs.map(Number),
  elr: record.elr,
  uncleanLeaderEpoch: record.uncleanLeaderEpoch,
  modRevision,
});

const noController = { controller: undefined, internalController: undefined };

/** The decoded records that snapshots are made from. */
export class ClusterMirror implements ClusterView {
  readonly #mirror: Mirror;
  readonly #logger: Logger;
  readonly #records = new Map<string, TopicRecord>();
  /**
   * Partitions by topic id and index, including those of topics whose own record has not arrived.
   */
  readonly #partitions = new Map<string, Map<number, PartitionView>>();
  readonly #names = new Map<string, string>();
  readonly #deletions = new Map<TopicId, DeletionView>();
  readonly #brokers = new Map<number, BrokerView>();
  readonly #coordinators = new Map<number, CoordinatorView>();
  readonly #listeners = new Set<(change: ClusterChange) => void>();
  readonly #stop: () => void;
  #clusterId = "";
  #generation: Uint8Array = new Uint8Array(0);
  #controller: Pick<ClusterSnapshot, "controller" | "internalController"> = noController;
  #current: ClusterSnapshot;

  constructor(mirror: Mirror, logger: Logger) {
    this.#mirror = mirror;
    this.#logger = logger;
    this.#current = {
      clusterId: "",
      generation: this.#generation,
      revision: 0,
      topics: new Map(),
      topicsById: new Map(),
      deletions: new Map(),
      brokers: new Map(),
      coordinators: new Map(),
      ...noController,
    };
    const all = mirror.entries("").map((kv): WatchEvent => ({ type: "put", kv }));
    this.#take(all);
    this.#stop = mirror.onChange((events) => this.#take(events));
  }

  get current(): ClusterSnapshot {
    const { revision } = this.#mirror;
    if (revision !== this.#current.revision) this.#current = { ...this.#current, revision };
    return this.#current;
  }

  onChange(listener: (change: ClusterChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  waitForRevision(revision: number, timeoutMs: number): Promise<boolean> {
    return this.#mirror.waitForRevision(revision, timeoutMs);
  }

  close(): void {
    this.#stop();
  }

  #take(events: readonly WatchEvent[]): void {
    const touched = new Set<string>();
    const changed = { brokers: false, coordinators: false, deletions: false, generation: false };
    for (const { type, kv } of events) {
      try {
        if (kv.key.startsWith(keys.brokers)) {
          changed.brokers = true;
          this.#takeBroker(type, kv);
        } else if (kv.key.startsWith(keys.coordinators)) {
          changed.coordinators = true;
          this.#takeCoordinator(type, kv);
        } else if (kv.key.startsWith(keys.deletions)) {
          changed.deletions = true;
          this.#takeDeletion(type, kv);
        } else if (kv.key.startsWith(keys.topics)) touched.add(this.#takeTopic(type, kv));
        else if (kv.key.startsWith(keys.partitions)) touched.add(this.#takePartition(type, kv));
        else if (kv.key === keys.cluster && type === "put") {
          this.#clusterId = decodeRecord.cluster(kv).clusterId;
        } else if (kv.key === keys.controller) {
          // Those who watch the brokers are told where the controller is, too.
          changed.brokers = true;
          this.#takeController(type, kv);
        } else if (kv.key === keys.generation && type === "put") {
          changed.generation ||= this.#takeGeneration();
        }
      } catch (thrown) {
        // One bad value must not stop updates for the rest of the cluster.
        const error = MillraceError.from(thrown);
        this.#logger.error({ key: kv.key, err: error }, "a metadata value is refused");
      }
    }
    touched.delete("");
    this.#replace(touched, changed);
  }

  /** None is active for a moment between two elections: the last one is no help then. */
  #takeController(type: WatchEvent["type"], kv: KeyValue): void {
    if (type === "delete") {
      this.#controller = noController;
      return;
    }
    const { clientEndpoint, internalEndpoint } = decodeRecord.controller(kv);
    this.#controller = {
      controller: parseEndpoint(clientEndpoint),
      internalController: parseEndpoint(internalEndpoint),
    };
  }

  /** True when the generation is another one. */
  #takeGeneration(): boolean {
    const generation = Buffer.from(this.#mirror.generation, "hex");
    const isOther = Buffer.compare(generation, this.#generation) !== 0;
    this.#generation = generation;
    return isOther;
  }

  #takeBroker(type: WatchEvent["type"], kv: KeyValue): void {
    if (type === "delete") {
      this.#brokers.delete(Number(kv.key.slice(keys.brokers.length)));
      return;
    }
    const { brokerId, clientEndpoint, internalEndpoint, rack, shuttingDown } =
      decodeRecord.broker(kv);
    this.#brokers.set(brokerId, {
      brokerId,
      endpoint: this.#dialable(
        clientEndpoint,
        { broker: brokerId },
        "a broker's address for clients is no host:port: restart it with another --advertise",
      ),
      internalEndpoint: this.#dialable(
        internalEndpoint,
        { broker: brokerId },
        "a broker's address for brokers is no host:port: look at its internal listener",
      ),
      rack,
      epoch: kv.createRevision,
      isShuttingDown: shuttingDown,
    });
  }

  #takeCoordinator(type: WatchEvent["type"], kv: KeyValue): void {
    if (type === "delete") {
      this.#coordinators.delete(Number(kv.key.slice(keys.coordinators.length)));
      return;
    }
    const { clientEndpoint, coordinatorId, shuttingDown } = decodeRecord.coordinator(kv);
    this.#coordinators.set(coordinatorId, {
      coordinatorId,
      endpoint: this.#dialable(
        clientEndpoint,
        { group_coordinator: coordinatorId },
        "a group coordinator's address is no host:port: restart it with another --advertise",
      ),
      isShuttingDown: shuttingDown,
    });
  }

  /** Undefined, with advice for the operator, for what cannot be dialed. */
  #dialable(told: string, of: Readonly<Record<string, number>>, advice: string) {
    const endpoint = parseEndpoint(told);
    if (endpoint === undefined && told !== "")
      this.#logger.error({ ...of, endpoint: told }, advice);
    return endpoint;
  }

  #takeDeletion(type: WatchEvent["type"], kv: KeyValue): void {
    if (type === "delete") {
      this.#deletions.delete(topicIdOf(Buffer.from(kv.key.slice(keys.deletions.length), "hex")));
      return;
    }
    const { topic, pendingBrokerIds } = decodeRecord.deletion(kv);
    if (topic === undefined) return;
    const id = topicIdOf(topic.topicId);
    this.#deletions.set(id, { name: topic.name, id, pendingBrokerIds });
  }

  /** Returns the topic's name. */
  #takeTopic(type: WatchEvent["type"], kv: KeyValue): string {
    const name = kv.key.slice(keys.topics.length);
    // One that is refused leaves the topic as it was, and its partitions go on changing.
    const record = type === "put" ? decodeRecord.topic(kv) : undefined;
    const old = this.#records.get(name);
    if (old !== undefined) this.#names.delete(topicIdOf(old.topicId));
    if (record === undefined) {
      this.#records.delete(name);
      return name;
    }
    this.#records.set(name, record);
    this.#names.set(topicIdOf(record.topicId), name);
    return name;
  }

  /** Returns the topic's name, or "" while it is not known. */
  #takePartition(type: WatchEvent["type"], kv: KeyValue): string {
    const [topicId = "", index = ""] = kv.key.slice(keys.partitions.length).split("#");
    const known = this.#partitions.get(topicId) ?? new Map<number, PartitionView>();
    if (type === "put") {
      known.set(Number(index), partitionView(decodeRecord.partition(kv), kv.modRevision));
      this.#partitions.set(topicId, known);
    } else {
      known.delete(Number(index));
      if (known.size === 0) this.#partitions.delete(topicId);
    }
    return this.#names.get(topicId) ?? "";
  }

  #replace(
    touched: ReadonlySet<string>,
    {
      brokers: brokersChanged,
      coordinators: coordinatorsChanged,
      deletions: deletionsChanged,
      generation: generationChanged,
    }: { brokers: boolean; coordinators: boolean; deletions: boolean; generation: boolean },
  ): void {
    const topics = new Map(this.#current.topics);
    const topicsById = new Map(this.#current.topicsById);
    const changed: string[] = [];
    const deleted: string[] = [];
    for (const name of touched) {
      const old = topics.get(name);
      if (old !== undefined) topicsById.delete(old.id);
      const view = this.#topicView(name, old);
      if (view === undefined) {
        topics.delete(name);
        if (old !== undefined) deleted.push(name);
      } else {
        topics.set(name, view);
        topicsById.set(view.id, view);
        changed.push(name);
      }
    }
    this.#current = {
      clusterId: this.#clusterId,
      generation: this.#generation,
      revision: this.#mirror.revision,
      topics,
      topicsById,
      deletions: new Map(this.#deletions),
      brokers: new Map(this.#brokers),
      coordinators: coordinatorsChanged ? new Map(this.#coordinators) : this.#current.coordinators,
      ...this.#controller,
    };
    const others = brokersChanged || coordinatorsChanged || deletionsChanged || generationChanged;
    if (changed.length + deleted.length === 0 && !others) return;
    const change = { changed, deleted, brokersChanged, coordinatorsChanged, deletionsChanged };
    for (const listener of this.#listeners) listener(change);
  }

  /** A topic is visible once its record has arrived; its partitions up to the first missing one. */
  #topicView(name: string, old: TopicView | undefined): TopicView | undefined {
    const record = this.#records.get(name);
    if (record === undefined) return undefined;
    const id: TopicId = topicIdOf(record.topicId);
    const known = this.#partitions.get(id);
    const partitions: PartitionView[] = [];
    for (let i = 0; i < record.partitionCount; i += 1) {
      const view = known?.get(i);
      if (view === undefined) break;
      partitions.push(view);
    }
    const configs =
      old?.id === id && sameConfigs(old.configs, record.configs) ? old.configs : record.configs;
    const { replicationFactor } = record;
    const createdAtMs = Number(record.createdAtMs);
    return { name, id, replicationFactor, createdAtMs, configs, partitions };
  }
}

const sameConfigs = (
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean => {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
};
