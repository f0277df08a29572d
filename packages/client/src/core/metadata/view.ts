/**
 * What the client knows about the cluster: brokers, topics, and the leader of each partition.
 *
 * Knowledge comes from answers to GetMetadata, from a watch, and from leader hints, and may arrive
 * out of order. Each topic therefore has the revision as of which it is known, and only newer
 * knowledge replaces it. Revisions of different generations do not compare.
 */
import type { Cancel } from "@millrace/env";
import {
  dialable,
  type Endpoint,
  ErrorCode,
  formatEndpoint,
  type LeaderHint,
  MillraceError,
} from "@millrace/errors";
import type {
  Broker,
  GetMetadataResponse,
  Partition,
  PartitionRoute,
  Topic,
  WatchMetadataResponse,
} from "@millrace/proto/metadata";

export interface PartitionInfo {
  readonly partition: number;
  /** Broker id; undefined while the partition has no leader. */
  readonly leader: number | undefined;
  readonly leaderEpoch: number;
  /** True: no server has told this leader epoch yet, only a hint or an earlier generation. */
  readonly ahead?: boolean;
}

export interface TopicInfo {
  readonly name: string;
  readonly topicId: Uint8Array;
  readonly partitions: readonly PartitionInfo[];
}

export interface BrokerInfo {
  readonly brokerId: number;
  readonly endpoint: Endpoint;
  readonly rack: string;
}

/** Where groups are served. */
export interface GroupCoordinatorInfo {
  readonly coordinatorId: number;
  readonly endpoint: Endpoint;
}

/** Where requests for a partition go. */
export interface Leader {
  readonly brokerId: number;
  readonly endpoint: Endpoint;
  readonly leaderEpoch: number;
  readonly topicId: Uint8Array;
}

/** A topic as of a revision. */
interface Known {
  /** Undefined: the topic does not exist. */
  readonly info: TopicInfo | undefined;
  readonly revision: bigint;
}

/** Generations left behind that are remembered, so that nobody leads back to them. */
const pastGenerationsMax = 8;

const isSameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/**
 * True when both ids are of the same topic. A topic that is deleted and recreated gets a new id.
 */
export const isSameTopic: (a: Uint8Array, b: Uint8Array) => boolean = isSameBytes;

/** True when every name of `some` is in `all`. */
export const includesAll = (all: ReadonlySet<string>, some: ReadonlySet<string>): boolean => {
  for (const name of some) if (!all.has(name)) return false;
  return true;
};

export class MetadataView {
  readonly #topics = new Map<string, Known>();
  /** Topics of the generation before that the new one has not told yet: for their epochs. */
  readonly #earlier = new Map<string, TopicInfo>();
  #brokers = new Map<number, BrokerInfo>();
  #brokersRevision = 0n;
  #controller: Endpoint | undefined;
  #clusterId = "";
  #generation: Uint8Array = new Uint8Array(0);
  /** Generations that were replaced, the newest last. */
  #past: Uint8Array[] = [];
  /** Topics that the watch tells everything about, up to `#informed`. */
  #followed: ReadonlySet<string> = new Set();
  #informed = 0n;
  #minRevision = 0n;
  #version = 0;
  readonly #listeners = new Set<() => void>();

  get clusterId(): string {
    return this.#clusterId;
  }

  /** Of what is known; empty before the first answer. */
  get generation(): Uint8Array {
    return this.#generation;
  }

  get controller(): Endpoint | undefined {
    return this.#controller;
  }

  /** Revision that answers must have reached; see `requireRevision`. */
  get minRevision(): bigint {
    return this.#minRevision;
  }

  /** Revision up to which a watch has told everything about `followed`. */
  get informed(): bigint {
    return this.#informed;
  }

  /** Rises with every change. */
  get version(): number {
    return this.#version;
  }

  /** Calls `listener` after every change. Returns how to stop. */
  onChange(listener: () => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  brokers(): BrokerInfo[] {
    return [...this.#brokers.values()];
  }

  peek(topic: string): TopicInfo | undefined {
    return this.#topics.get(topic)?.info;
  }

  /** The leader of a partition. Undefined without a known topic, leader or endpoint. */
  leaderOf(topic: string, partition: number): Leader | undefined {
    const info = this.peek(topic);
    const found = info?.partitions[partition];
    if (info === undefined || found?.leader === undefined) return undefined;
    const broker = this.#brokers.get(found.leader);
    if (broker === undefined) return undefined;
    const { brokerId, endpoint } = broker;
    return { brokerId, endpoint, leaderEpoch: found.leaderEpoch, topicId: info.topicId };
  }

  /** From now on, answers must not be older than this revision, which an Admin call returned. */
  requireRevision(revision: bigint): void {
    if (revision > this.#minRevision) this.#minRevision = revision;
  }

  /** True when what is known about the topic has reached the required revision. */
  isCurrent(topic: string): boolean {
    return this.#revisionOf(topic) >= this.#minRevision;
  }

  /** True when a watch tells everything about these topics up to `informed`. */
  follows(topics: ReadonlySet<string>): boolean {
    return includesAll(this.#followed, topics);
  }

  /** Drops topics that are not in use: nobody tells what becomes of them. */
  keepOnly(topics: ReadonlySet<string>): void {
    for (const known of [this.#topics, this.#earlier]) {
      for (const name of known.keys()) if (!topics.has(name)) known.delete(name);
    }
  }

  /**
   * Throws CLUSTER_ID_MISMATCH for a server of another cluster, METADATA_STALE for one that is left
   * behind in a generation that was replaced.
   */
  check(
    { clusterId, generation }: { readonly clusterId: string; readonly generation: Uint8Array },
    endpoint: Endpoint,
  ): void {
    const server = formatEndpoint(endpoint);
    if (this.#clusterId !== "" && clusterId !== this.#clusterId) {
      throw new MillraceError(
        ErrorCode.CLUSTER_ID_MISMATCH,
        `${server} is of cluster ${clusterId}, not ${this.#clusterId}: check the bootstrap servers`,
      );
    }
    if (!this.#isPast(generation)) return;
    throw new MillraceError(
      ErrorCode.METADATA_STALE,
      `${server} has the metadata of before a restore: restart it, or check its etcd`,
    );
  }

  /** Takes an answer about the topics of these names; of `wanted` when it is about all topics. */
  takeAnswer(
    answer: GetMetadataResponse,
    asked: readonly string[],
    wanted: ReadonlySet<string>,
  ): void {
    if (!this.#enter(answer)) return;
    const told = new Map(answer.topics.map((topic) => [topic.name, topic]));
    for (const name of asked.length > 0 ? asked : wanted) {
      if (wanted.has(name)) this.#takeTopic(name, told.get(name), answer.revision);
    }
    this.#takeBrokers(answer.brokers, answer.revision);
    this.#takeController(answer.controller, answer.revision);
    this.#changed();
  }

  /**
   * Takes a message of a watch over `topics` in a generation. Returns false, and takes nothing,
   * when the message does not fit what is known: the watch must begin anew with a snapshot.
   */
  takeNews(
    news: WatchMetadataResponse,
    topics: ReadonlySet<string>,
    source: { readonly clusterId: string; readonly generation: Uint8Array },
  ): boolean {
    if (!this.#enter(source)) return false;
    const { revision, snapshot } = news;
    if (revision < this.#informed) return false;
    const routes = this.#routesByName(news.routes);
    if (routes === undefined) return false;
    const told = new Map(news.topics.map((topic) => [topic.name, topic]));
    const gone = snapshot ? topics : new Set(news.deletedTopics);
    for (const name of topics) {
      const topic = told.get(name);
      if (topic !== undefined || gone.has(name)) this.#takeTopic(name, topic, revision);
    }
    for (const [name, moved] of routes) this.#takeRoutes(name, moved, revision);
    const { brokers, controller } = news;
    if (brokers !== undefined) this.#takeBrokers(brokers.brokers, revision);
    if (controller !== undefined) this.#takeController(controller, revision);
    this.#followed = topics;
    this.#informed = revision;
    const isHeartbeat =
      brokers === undefined &&
      controller === undefined &&
      told.size + gone.size + routes.size === 0;
    if (!isHeartbeat) this.#changed();
    return true;
  }

  /** Takes the leader hint of an error, if it is newer than what is known. */
  takeHint(topic: string, partition: number, hint: LeaderHint): void {
    const known = this.#topics.get(topic);
    const route = known?.info?.partitions[partition];
    if (known?.info === undefined || route === undefined) return;
    if (hint.metadataRevision <= this.#revisionOf(topic)) return;
    if (hint.leaderEpoch < route.leaderEpoch) return;
    const { brokerId, leaderEpoch } = hint;
    const broker = this.#brokers.get(brokerId);
    const endpoint = hint.endpoint ?? broker?.endpoint;
    if (endpoint === undefined) return;
    this.#brokers.set(brokerId, { brokerId, endpoint, rack: broker?.rack ?? "" });
    const partitions = [...known.info.partitions];
    partitions[partition] = { partition, leader: brokerId, leaderEpoch, ahead: true };
    this.#topics.set(topic, { ...known, info: { ...known.info, partitions } });
    this.#changed();
  }

  /** Stops all listeners. */
  close(): void {
    this.#listeners.clear();
  }

  #changed(): void {
    this.#version += 1;
    for (const listener of [...this.#listeners]) listener();
  }

  #isPast(generation: Uint8Array): boolean {
    return this.#past.some((past) => isSameBytes(past, generation));
  }

  /** Goes over to a generation. False for one that was replaced. */
  #enter({
    clusterId,
    generation,
  }: {
    readonly clusterId: string;
    readonly generation: Uint8Array;
  }): boolean {
    if (this.#isPast(generation)) return false;
    this.#clusterId = clusterId;
    if (isSameBytes(generation, this.#generation)) return true;
    // The metadata was restored from a backup: what is remembered of it may never be true again,
    // and its revisions may never be reached. Leader epochs outlive a restore: they never fall.
    if (this.#generation.length > 0) {
      this.#past = [...this.#past, this.#generation].slice(-pastGenerationsMax);
      this.#minRevision = 0n;
    }
    this.#generation = generation;
    this.#followed = new Set();
    this.#informed = 0n;
    this.#brokersRevision = 0n;
    for (const [name, { info }] of this.#topics) {
      if (info !== undefined) this.#earlier.set(name, info);
    }
    this.#topics.clear();
    return true;
  }

  #revisionOf(topic: string): bigint {
    const own = this.#topics.get(topic)?.revision ?? 0n;
    return this.#followed.has(topic) && this.#informed > own ? this.#informed : own;
  }

  #takeTopic(name: string, topic: Topic | undefined, revision: bigint): void {
    if (revision < this.#revisionOf(name)) return;
    const old = this.peek(name) ?? this.#earlier.get(name);
    this.#earlier.delete(name);
    if (topic === undefined) {
      this.#topics.set(name, { info: undefined, revision });
      return;
    }
    const { topicId } = topic;
    const routes = old !== undefined && isSameTopic(old.topicId, topicId) ? old.partitions : [];
    const partitions = topic.partitions.map((told) => newerRoute(routes[told.partition], told));
    this.#topics.set(name, { info: { name, topicId, partitions }, revision });
  }

  #takeRoutes(name: string, moved: readonly Partition[], revision: bigint): void {
    const info = this.peek(name);
    if (info === undefined || revision < this.#revisionOf(name)) return;
    const partitions = [...info.partitions];
    for (const told of moved) {
      partitions[told.partition] = newerRoute(partitions[told.partition], told);
    }
    this.#topics.set(name, { info: { ...info, partitions }, revision });
  }

  /** Undefined when a route belongs to a topic or partition that is not known. */
  #routesByName(routes: readonly PartitionRoute[]): Map<string, Partition[]> | undefined {
    const byName = new Map<string, Partition[]>();
    if (routes.length === 0) return byName;
    const byId = new Map<string, TopicInfo>();
    for (const { info } of this.#topics.values()) {
      if (info !== undefined) byId.set(Buffer.from(info.topicId).toString("hex"), info);
    }
    for (const { topicId, partition } of routes) {
      const info = byId.get(Buffer.from(topicId).toString("hex"));
      if (partition === undefined || info?.partitions[partition.partition] === undefined) {
        return undefined;
      }
      const moved = byName.get(info.name);
      if (moved === undefined) byName.set(info.name, [partition]);
      else moved.push(partition);
    }
    return byName;
  }

  /** True when brokers and controller are known as of a later revision. */
  #isOld(revision: bigint): boolean {
    return revision < this.#brokersRevision || revision < this.#informed;
  }

  #takeController(told: Endpoint | undefined, revision: bigint): void {
    if (!this.#isOld(revision)) this.#controller = dialable(told);
  }

  #takeBrokers(told: readonly Broker[], revision: bigint): void {
    if (this.#isOld(revision)) return;
    this.#brokersRevision = revision;
    const old = this.#brokers;
    this.#brokers = new Map();
    for (const { brokerId, endpoint: toldEndpoint, rack } of told) {
      const endpoint = dialable(toldEndpoint);
      if (endpoint !== undefined) this.#brokers.set(brokerId, { brokerId, endpoint, rack });
    }
    // A route that is ahead may lead to a broker that the server has not heard of.
    for (const { info } of this.#topics.values()) {
      for (const { leader, ahead } of info?.partitions ?? []) {
        const broker = leader === undefined || ahead !== true ? undefined : old.get(leader);
        if (broker === undefined || this.#brokers.has(broker.brokerId)) continue;
        this.#brokers.set(broker.brokerId, broker);
      }
    }
  }
}

/**
 * Epochs only rise. Whoever tells a lower one is behind a leader hint, or has metadata from a
 * backup that knows nothing of later elections.
 */
const newerRoute = (known: PartitionInfo | undefined, told: Partition): PartitionInfo => {
  const { partition, leader, leaderEpoch } = told;
  if (known === undefined || leaderEpoch >= known.leaderEpoch) {
    return { partition, leader, leaderEpoch };
  }
  return { ...known, ahead: true };
};
