/** The client: the entry to one cluster. */
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Dialer } from "@millrace/rpc";
import { Admin } from "./admin.ts";
import { endpointsOf } from "./bootstrap.ts";
import { checkFields, inRange, type Shape } from "./checks.ts";
import { Connections } from "./connections.ts";
import { Consumer } from "./consumer/consumer.ts";
import { closedError } from "./failures.ts";
import { GroupConsumer } from "./group/group-consumer.ts";
import type { GroupConsumerOptions, GroupConsumerOptionsFor } from "./group/types.ts";
import { checkScan, getLatest, type LatestQuery, type LatestScan, latest } from "./latest.ts";
import { MetadataCache } from "./metadata/index.ts";
import type { CallContext } from "./offsets.ts";
import { Producer } from "./producer/producer.ts";
import type {
  ConsumedRecord,
  ConsumerOptions,
  ConsumerOptionsFor,
  ProducerOptions,
  ProducerOptionsFor,
  Sendable,
} from "./types.ts";

/** The parts of `Env` that a client needs. */
export type ClientEnv = Pick<Env, "clock" | "random" | "compressor" | "logger">;

export interface ClientOptions {
  readonly dialer: Dialer;
  readonly env: ClientEnv;
  /** `host:port` of servers to ask first, in a list, or with commas between them. */
  readonly bootstrap: string | readonly string[];
  /** For the server's logs, metrics and quotas; at most 249 bytes. Default "". */
  readonly clientId?: string;
  /** Deadline of an Admin call, milliseconds. Default 30,000. */
  readonly adminTimeoutMs?: number;
  /** Age at which metadata is asked for again although nothing failed, milliseconds, 100 to
   * 86,400,000. Used only where servers have no WatchMetadata. Default 300,000. */
  readonly metadataMaxAgeMs?: number;
}

const optionsShape: Shape<ClientOptions> = {
  dialer: "object",
  env: "object",
  bootstrap: "any?",
  clientId: "string?",
  adminTimeoutMs: "any?",
  metadataMaxAgeMs: "any?",
};

/** Longest wait for one server that is asked for metadata, milliseconds. */
const metadataTimeoutMs = 10_000;

/**
 * Producers, consumers and administration of one cluster, on shared connections made on first use.
 */
export class Client implements AsyncDisposable {
  readonly admin: Admin;
  readonly #env: ClientEnv;
  readonly #clientId: string;
  readonly #connections: Connections;
  readonly #metadata: MetadataCache;
  readonly #calls: CallContext;
  /** Deadline of a call, retries included, milliseconds. */
  readonly #callTimeoutMs: number;
  /** Open producers and consumers. */
  readonly #parts = new Set<{ close(): Promise<void> }>();
  #closed = false;

  /** Throws INVALID_REQUEST for bootstrap servers or an option that cannot be used. */
  constructor(options: ClientOptions) {
    checkFields("createClient", options, optionsShape);
    const { adminTimeoutMs = 30_000, clientId = "", dialer, env } = options;
    inRange("adminTimeoutMs", adminTimeoutMs, 1, 86_400_000);
    const bootstrap = endpointsOf(options.bootstrap);
    checkClientId(clientId);
    this.#env = env;
    this.#clientId = clientId;
    this.#connections = new Connections(dialer, () => this.#metadata.clusterId);
    const { clock, logger, random } = env;
    const connections = this.#connections;
    const callTimeoutMs = Math.min(metadataTimeoutMs, adminTimeoutMs);
    const maxAge = options.metadataMaxAgeMs ?? 300_000;
    const maxAgeMs = inRange("metadataMaxAgeMs", maxAge, 100, 86_400_000);
    const shared = { connections, clock, random };
    const context = { ...shared, bootstrap, logger, maxAgeMs, callTimeoutMs };
    this.#metadata = new MetadataCache(context);
    this.#calls = { ...shared, metadata: this.#metadata };
    this.#callTimeoutMs = adminTimeoutMs;
    this.admin = new Admin(this.#calls, { timeoutMs: adminTimeoutMs });
  }

  /**
   * A producer. The types of keys and values follow from the serializers. Throws INVALID_REQUEST
   * for an option that is unknown, or out of range.
   */
  producer(): Producer;
  producer<K = Sendable, V = Sendable>(options: ProducerOptionsFor<K, V>): Producer<K, V>;
  producer<K, V>(options: ProducerOptions<K, V> = {}): Producer<K, V> {
    if (this.#closed) throw closedError();
    const producer: Producer<K, V> = new Producer(options, {
      env: this.#env,
      connections: this.#connections,
      metadata: this.#metadata,
      clientId: this.#clientId,
      onClosed: () => this.#parts.delete(producer),
    });
    this.#parts.add(producer);
    return producer;
  }

  /**
   * A consumer; with `group`, one that shares topics with the other members of the group. The types
   * of keys and values follow from the deserializers. Throws INVALID_REQUEST for an option that is
   * unknown, or out of range.
   */
  consumer(): Consumer;
  consumer<K = Uint8Array, V = Uint8Array>(
    options: GroupConsumerOptionsFor<K, V>,
  ): GroupConsumer<K, V>;
  consumer<K = Uint8Array, V = Uint8Array>(options: ConsumerOptionsFor<K, V>): Consumer<K, V>;
  consumer<K, V>(
    options: ConsumerOptions<K, V> | GroupConsumerOptions<K, V> = {},
  ): Consumer<K, V> | GroupConsumer<K, V> {
    if (this.#closed) throw closedError();
    const { clock, random } = this.#env;
    const context = {
      env: this.#env,
      clock,
      random,
      connections: this.#connections,
      metadata: this.#metadata,
      clientId: this.#clientId,
      onClosed: () => this.#parts.delete(consumer),
    };
    const consumer: Consumer<K, V> | GroupConsumer<K, V> = isGrouped(options)
      ? new GroupConsumer(options, context)
      : new Consumer(options, context);
    this.#parts.add(consumer);
    return consumer;
  }

  /**
   * The latest committed record of a key of a compacted topic, from its leader; undefined when
   * there is none. A key that was deleted has one with a null value, until compaction removes it.
   * Throws POLICY_VIOLATION for a topic that is not compacted.
   */
  async getLatest(query: LatestQuery): Promise<ConsumedRecord | undefined> {
    if (this.#closed) throw closedError();
    return getLatest(this.#calls, this.#callTimeoutMs, query);
  }

  /**
   * The latest records of all keys of a compacted topic that begin with something and have a value,
   * a page at a time: each as of some moment of the iteration, in the order of the keys' bytes in
   * each partition. Throws INVALID_REQUEST.
   */
  latest(scan: LatestScan): AsyncGenerator<ConsumedRecord, void, undefined> {
    if (this.#closed) throw closedError();
    checkScan(scan);
    return latest(this.#calls, this.#callTimeoutMs, scan);
  }

  /** Asks for the number of partitions of a topic. Throws UNKNOWN_TOPIC_OR_PARTITION. */
  async partitionCount(topic: string): Promise<number> {
    return (await this.#metadata.freshTopic(topic)).partitions.length;
  }

  /**
   * Flushes and closes producers, then closes consumers and connections. Throws the first failure.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      const closing = [...this.#parts].map((part) => part.close());
      const ended = await Promise.allSettled(closing);
      for (const end of ended) if (end.status === "rejected") throw end.reason;
    } finally {
      this.#metadata.close();
      this.#connections.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const isGrouped = <K, V>(
  options: ConsumerOptions<K, V> | GroupConsumerOptions<K, V>,
): options is GroupConsumerOptions<K, V> =>
  typeof options === "object" && options !== null && "group" in options;

const refuse = (what: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, what);

const checkClientId = (clientId: string): void => {
  const bytes = Buffer.byteLength(clientId);
  if (bytes > 249) throw refuse(`the clientId has ${bytes} bytes: use at most 249`);
};

/** Makes a client on any carrier. Connects on first use. */
export const createClient = (options: ClientOptions): Client => new Client(options);
