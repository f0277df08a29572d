/** What the client knows about the cluster: brokers, topics, and the leader of each partition. */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import {
  dialable,
  type Endpoint,
  ErrorCode,
  formatEndpoint,
  type LeaderHint,
  MillraceError,
  must,
} from "@millrace/errors";
import {
  type GetMetadataRequest,
  GetMetadataRequestSchema,
  type GetMetadataResponse,
} from "@millrace/proto/metadata";
import { backoffMs } from "./backoff.ts";
import { type Connections, endpointKey } from "./connections.ts";
import { methods } from "./methods.ts";

export interface PartitionInfo {
  readonly partition: number;
  /** Broker id; undefined while the partition has no leader. */
  readonly leader: number | undefined;
  readonly leaderEpoch: number;
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

/** Where requests for a partition go. */
export interface Leader {
  readonly brokerId: number;
  readonly endpoint: Endpoint;
  readonly leaderEpoch: number;
  readonly topicId: Uint8Array;
}

export interface MetadataContext {
  readonly connections: Connections;
  /** At least one. */
  readonly bootstrap: readonly Endpoint[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Age at which metadata is asked for again although nothing failed, milliseconds. */
  readonly maxAgeMs: number;
  /** Deadline of one GetMetadata call, milliseconds. */
  readonly callTimeoutMs: number;
}

/** Wait for one server before the next candidate is asked as well, milliseconds. */
const nextServerMs = 1_000;
/** How long to wait for an unknown topic to appear, milliseconds. */
const unknownTopicMs = 2_000;
/** How long to try to reach any server, milliseconds. */
const unreachableMs = 30_000;

/**
 * True when both ids are of the same topic. A topic that is deleted and recreated gets a new id.
 */
export const isSameTopic = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** A cache of the topics asked for, refreshed on demand and when it reaches its maximum age. */
export class MetadataCache {
  readonly #context: MetadataContext;
  readonly #topics = new Map<string, TopicInfo>();
  readonly #brokers = new Map<number, BrokerInfo>();
  readonly #wanted = new Set<string>();
  #clusterId = "";
  /** Of what is known; empty before the first answer. */
  #generation: Uint8Array = new Uint8Array(0);
  #controller: Endpoint | undefined;
  #revision = 0n;
  #minRevision = 0n;
  #version = 0;
  readonly #listeners = new Set<() => void>();
  #refreshing: Promise<void> | undefined;
  #goodEndpoint: Endpoint | undefined;
  #cancelTimer: Cancel = () => {};
  #closed = false;

  constructor(context: MetadataContext) {
    this.#context = context;
  }

  get clusterId(): string {
    return this.#clusterId;
  }

  /** Endpoint for Admin calls. A bootstrap server until the controller is known. */
  get controller(): Endpoint {
    const first = this.#controller ?? this.#goodEndpoint ?? this.#context.bootstrap[0];
    return must(first, "bootstrap server");
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

  /** The cached topic. */
  peek(topic: string): TopicInfo | undefined {
    return this.#topics.get(topic);
  }

  /** The cached leader of a partition. Undefined without a known topic, leader or endpoint. */
  leaderOf(topic: string, partition: number): Leader | undefined {
    const info = this.#topics.get(topic);
    const found = info?.partitions[partition];
    if (info === undefined || found?.leader === undefined) return undefined;
    const broker = this.#brokers.get(found.leader);
    if (broker === undefined) return undefined;
    return {
      brokerId: broker.brokerId,
      endpoint: broker.endpoint,
      leaderEpoch: found.leaderEpoch,
      topicId: info.topicId,
    };
  }

  /** From now on, answers must not be older than this revision, which an Admin call returned. */
  requireRevision(revision: bigint): void {
    if (revision > this.#minRevision) this.#minRevision = revision;
  }

  /** A topic, from the cache or a server. Throws UNKNOWN_TOPIC_OR_PARTITION when the topic does not
   * appear within two seconds, UNAVAILABLE when no server answers within thirty, and
   * CLUSTER_ID_MISMATCH at once when they are of another cluster. */
  async topic(name: string, signal?: AbortSignal): Promise<TopicInfo> {
    this.#wanted.add(name);
    const started = this.#context.clock.monoMs();
    for (let attempt = 0; ; attempt += 1) {
      const known = this.#revision >= this.#minRevision ? this.#topics.get(name) : undefined;
      if (known !== undefined) return known;
      let failure: MillraceError | undefined;
      try {
        await this.refresh();
        const found = this.#topics.get(name);
        if (found !== undefined) return found;
      } catch (thrown) {
        failure = MillraceError.from(thrown);
      }
      const waitedMs = this.#context.clock.monoMs() - started;
      const isFinal = failure?.code === ErrorCode.CLUSTER_ID_MISMATCH;
      if (failure !== undefined && (isFinal || waitedMs > unreachableMs)) throw failure;
      if (failure === undefined && waitedMs > unknownTopicMs) {
        this.#wanted.delete(name);
        throw new MillraceError(
          ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
          `topic ${JSON.stringify(name)} does not exist: create it, or check the name`,
        );
      }
      if (this.#closed) throw closedError();
      await this.#context.clock.sleep(backoffMs(attempt, this.#context.random), signal);
    }
  }

  /** As `topic`, but asks a server first: partitions may have been added, or the topic recreated.
   * Falls back on the cache when no server answers. */
  async freshTopic(name: string): Promise<TopicInfo> {
    this.#wanted.add(name);
    // A request already on its way may miss changes made before this call.
    if (this.#refreshing !== undefined) await this.tryRefresh();
    await this.tryRefresh();
    return this.topic(name);
  }

  /** Applies the leader hint of an error, unless a newer leader is known. */
  applyHint(topic: string, partition: number, hint: LeaderHint): void {
    const info = this.#topics.get(topic);
    const known = info?.partitions[partition];
    if (info === undefined || known === undefined) return;
    if (hint.leaderEpoch < known.leaderEpoch) return;
    const { brokerId } = hint;
    const broker = this.#brokers.get(brokerId);
    const endpoint = hint.endpoint ?? broker?.endpoint;
    if (endpoint === undefined) return;
    const rack = broker?.rack ?? "";
    this.#brokers.set(brokerId, { brokerId, endpoint, rack });
    const partitions = [...info.partitions];
    partitions[partition] = { ...known, leader: brokerId, leaderEpoch: hint.leaderEpoch };
    this.#topics.set(topic, { ...info, partitions });
    this.#changed();
  }

  /** Asks a server for the topics in use. Concurrent calls share one request. */
  refresh(): Promise<void> {
    if (this.#closed) return Promise.reject(closedError());
    this.#refreshing ??= this.#refreshOnce().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** As `refresh`, but only logs a failure. */
  async tryRefresh(): Promise<void> {
    try {
      await this.refresh();
    } catch (thrown) {
      this.#context.logger.debug({ err: thrown }, "the metadata could not be refreshed");
    }
  }

  close(): void {
    this.#closed = true;
    this.#listeners.clear();
    this.#cancelTimer();
  }

  async #refreshOnce(): Promise<void> {
    const topics = [...this.#wanted];
    this.#take(await this.#ask(topics), topics);
    this.#cancelTimer();
    if (this.#closed) return;
    this.#cancelTimer = this.#context.clock.timer(
      this.#context.maxAgeMs,
      () => void this.tryRefresh(),
    );
  }

  /** Returns the first answer of any server. Asks the next candidate when one fails or is slow. */
  #ask(topics: readonly string[]): Promise<GetMetadataResponse> {
    const { clock } = this.#context;
    const request = create(GetMetadataRequestSchema, {
      topics: [...topics],
      minRevision: this.#minRevision,
      generation: this.#generation,
    });
    const candidates = this.#candidates();
    const others = new AbortController();
    const { promise, resolve, reject } = Promise.withResolvers<GetMetadataResponse>();
    let asked = 0;
    let failed = 0;
    let cancelTimer: Cancel = () => {};
    const askNext = (): void => {
      cancelTimer();
      const endpoint = candidates[asked];
      if (endpoint === undefined || others.signal.aborted) return;
      asked += 1;
      cancelTimer = clock.timer(nextServerMs, askNext);
      this.#askOne(endpoint, request, others.signal).then(
        (reply) => {
          cancelTimer();
          resolve(reply);
          others.abort();
        },
        (thrown: unknown) => {
          failed += 1;
          if (failed === candidates.length) {
            cancelTimer();
            reject(this.#noAnswer(MillraceError.from(thrown)));
          } else askNext();
        },
      );
    };
    askNext();
    return promise;
  }

  async #askOne(
    endpoint: Endpoint,
    request: GetMetadataRequest,
    signal: AbortSignal,
  ): Promise<GetMetadataResponse> {
    const { connections, callTimeoutMs: timeoutMs } = this.#context;
    try {
      const options = { timeoutMs, signal };
      const reply = await connections.unary(endpoint, methods.getMetadata, request, options);
      this.#checkCluster(reply.clusterId, endpoint);
      if (!signal.aborted) this.#goodEndpoint = endpoint;
      return reply;
    } catch (thrown) {
      const good = this.#goodEndpoint;
      if (good !== undefined && endpointKey(good) === endpointKey(endpoint)) {
        this.#goodEndpoint = undefined;
      }
      throw thrown;
    }
  }

  /** One client speaks to one cluster, however its addresses are given to others. */
  #checkCluster(clusterId: string, endpoint: Endpoint): void {
    if (this.#clusterId === "" || clusterId === this.#clusterId) return;
    throw new MillraceError(
      ErrorCode.CLUSTER_ID_MISMATCH,
      `${formatEndpoint(endpoint)} is of cluster ${clusterId}, not ${this.#clusterId}: check the bootstrap servers`,
    );
  }

  #noAnswer(last: MillraceError): MillraceError {
    if (last.code !== ErrorCode.UNAVAILABLE && last.code !== ErrorCode.DEADLINE_EXCEEDED) {
      return last;
    }
    return new MillraceError(
      ErrorCode.UNAVAILABLE,
      `none of ${this.#context.bootstrap.map(formatEndpoint).join(", ")} answers (${last.message}): ` +
        "check the bootstrap servers and the network",
      { cause: last },
    );
  }

  #changed(): void {
    this.#version += 1;
    for (const listener of this.#listeners) listener();
  }

  /** Servers to ask, in order: the one that answered last, the bootstrap servers, known brokers. */
  #candidates(): Endpoint[] {
    const known = [...this.#brokers.values()].map(({ endpoint }) => endpoint);
    const all = [...this.#context.bootstrap, ...known];
    if (this.#goodEndpoint !== undefined) all.unshift(this.#goodEndpoint);
    const first = new Map<string, Endpoint>();
    for (const endpoint of all) {
      const key = endpointKey(endpoint);
      if (!first.has(key)) first.set(key, endpoint);
    }
    return [...first.values()];
  }

  #take(reply: GetMetadataResponse, asked: readonly string[]): void {
    const isOther = Buffer.compare(reply.generation, this.#generation) !== 0;
    if (!isOther && reply.revision < this.#revision) return;
    const known = new Map(this.#topics);
    const knownBrokers = new Map(this.#brokers);
    // The metadata was restored from a backup: what is remembered of it may never be true again,
    // and its revisions may never be reached.
    if (isOther) this.#topics.clear();
    if (isOther && this.#generation.length > 0) this.#minRevision = 0n;
    this.#clusterId = reply.clusterId;
    this.#generation = reply.generation;
    this.#revision = reply.revision;
    this.#controller = dialable(reply.controller);
    this.#brokers.clear();
    for (const { brokerId, endpoint: told, rack } of reply.brokers) {
      const endpoint = dialable(told);
      if (endpoint !== undefined) this.#brokers.set(brokerId, { brokerId, endpoint, rack });
    }
    if (asked.length === 0) this.#topics.clear();
    for (const name of asked) this.#topics.delete(name);
    for (const topic of reply.topics) {
      if (!this.#wanted.has(topic.name)) continue;
      const { name, topicId } = topic;
      const old = known.get(name);
      const routes = old !== undefined && isSameTopic(old.topicId, topicId) ? old.partitions : [];
      const partitions = topic.partitions.map(({ partition, leader, leaderEpoch }) => {
        const route = routes[partition];
        // Epochs only rise. Who tells a lower one is behind a leader hint, or has metadata from a
        // backup that knows nothing of later elections.
        if (route === undefined || leaderEpoch >= route.leaderEpoch) {
          return { partition, leader, leaderEpoch };
        }
        this.#keepBroker(route.leader, knownBrokers);
        return route;
      });
      this.#topics.set(name, { name, topicId, partitions });
    }
    this.#changed();
  }

  /** A route that is newer than the answer may lead to a broker that the answer does not list. */
  #keepBroker(brokerId: number | undefined, known: ReadonlyMap<number, BrokerInfo>): void {
    if (brokerId === undefined || this.#brokers.has(brokerId)) return;
    const broker = known.get(brokerId);
    if (broker !== undefined) this.#brokers.set(brokerId, broker);
  }
}

/** The error of every call on a closed client, producer or consumer. */
export const closedError = (): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the client is closed: connect again");
