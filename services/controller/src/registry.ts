/**
 * Reads and writes of the metadata behind the Admin service. Reads go to the store: a client must
 * find what it has just made, and a mirror may be behind.
 */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  decodeRecord,
  encodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
  type Operation,
} from "@millrace/metadata";
import {
  DeletionRecordSchema,
  type PartitionRecord,
  PartitionRecordSchema,
  type TopicRecord,
} from "@millrace/proto/storage";
import type { TopicId } from "@millrace/record";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import type { Candidate } from "./assignment.ts";
import { changesPerTransaction } from "./limits.ts";
import type { Write } from "./reign.ts";

/** Operations per transaction. */
const chunkSize = changesPerTransaction;

/** A broker that replicas can be assigned to, with its epoch. */
export interface RegisteredBroker extends Candidate {
  readonly epoch: number;
  /** Empty: it tells none. */
  readonly directoryId: Uint8Array;
  readonly shuttingDown: boolean;
}

/** New replicas, and the brokers that they are on. */
export interface Assignment {
  readonly replicas: readonly number[][];
  readonly brokers: readonly RegisteredBroker[];
}

/** A topic as it is stored. */
export interface StoredTopic {
  readonly record: TopicRecord;
  readonly id: TopicId;
  readonly modRevision: number;
}

/** A partition as it is stored. */
export interface StoredPartition {
  readonly record: PartitionRecord;
  readonly modRevision: number;
}

export class Registry {
  readonly #store: MetadataStore;
  readonly #write: Write;
  #clusterId: string | undefined;

  constructor(store: MetadataStore, write: Write) {
    this.#store = store;
    this.#write = write;
  }

  /** The id in the cluster's record, which never changes. Throws UNAVAILABLE without a record. */
  async clusterId(): Promise<string> {
    if (this.#clusterId !== undefined) return this.#clusterId;
    const [kv] = (await this.#store.range({ key: keys.cluster })).kvs;
    if (kv === undefined) {
      throw new MillraceError(
        ErrorCode.UNAVAILABLE,
        "the cluster has no record yet: retry once a controller has started",
      );
    }
    this.#clusterId = decodeRecord.cluster(kv).clusterId;
    return this.#clusterId;
  }

  async revision(): Promise<number> {
    return (await this.#store.range({ key: keys.cluster })).revision;
  }

  async findTopic(name: string): Promise<StoredTopic | undefined> {
    const { kvs } = await this.#store.range({ key: keys.topic(name) });
    return kvs[0] === undefined ? undefined : toTopic(kvs[0]);
  }

  /** Throws UNKNOWN_TOPIC_OR_PARTITION. */
  async topic(name: string): Promise<StoredTopic> {
    const found = await this.findTopic(name);
    if (found !== undefined) return found;
    throw new MillraceError(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      `no topic ${JSON.stringify(name.slice(0, 80))}: create it, or check the name`,
    );
  }

  /** A page of topics by name, after the given one. */
  async topics(after: string, limit: number): Promise<{ topics: StoredTopic[]; more: boolean }> {
    const { kvs, more } = await this.#store.range(
      { prefix: keys.topics },
      { limit, ...(after === "" ? {} : { startAfter: keys.topic(after) }) },
    );
    return { topics: kvs.map(toTopic), more };
  }

  async brokers(): Promise<RegisteredBroker[]> {
    const { kvs } = await this.#store.range({ prefix: keys.brokers });
    return kvs.map((kv) => {
      const { brokerId, directoryId, rack, shuttingDown } = decodeRecord.broker(kv);
      return { brokerId, directoryId, rack, shuttingDown, epoch: kv.createRevision };
    });
  }

  /** Partitions of a topic in order of index. */
  async partitions(id: TopicId): Promise<StoredPartition[]> {
    const { kvs } = await this.#store.range({ prefix: keys.partitionsOf(id) });
    return kvs.map(toPartition).sort((a, b) => a.record.partition - b.record.partition);
  }

  async partition(id: TopicId, partition: number): Promise<StoredPartition | undefined> {
    const { kvs } = await this.#store.range({ key: keys.partition(id, partition) });
    return kvs.map(toPartition)[0];
  }

  /**
   * Writes new partition records, in as many transactions as needed, as long as `compares` hold.
   * False as soon as one does not.
   */
  async putPartitions(
    id: TopicId,
    first: number,
    { replicas: all, brokers }: Assignment,
    compares: readonly Compare[],
  ): Promise<boolean> {
    const byId = new Map(brokers.map((broker) => [broker.brokerId, broker]));
    for (let at = 0; at < all.length; at += chunkSize) {
      const puts = all.slice(at, at + chunkSize).map((replicas, i): Operation => {
        const partition = first + at + i;
        const record = create(PartitionRecordSchema, {
          topicId: topicIdBytes(id),
          partition,
          replicas,
          isr: replicas,
          leader: replicas[0] ?? 0,
          leaderEpoch: 1,
          isrBrokerEpochs: replicas.map((brokerId) => BigInt(byId.get(brokerId)?.epoch ?? 0)),
          directoryIds: replicas.map((id) => byId.get(id)?.directoryId ?? new Uint8Array(0)),
        });
        const key = keys.partition(id, partition);
        return { type: "put", key, value: encodeRecord.partition(record) };
      });
      if ((await this.write(compares, puts)) === undefined) return false;
    }
    return true;
  }

  /**
   * Deletes a topic's record and writes its deletion record, in one transaction. Undefined if the
   * topic has changed since it was read.
   */
  deleteTopic(
    topic: StoredTopic,
    {
      deletedAtMs,
      brokerIds,
    }: { readonly deletedAtMs: number; readonly brokerIds: readonly number[] },
  ): Promise<number | undefined> {
    const key = keys.topic(topic.record.name);
    const deletion = create(DeletionRecordSchema, {
      topic: topic.record,
      deletedAtMs: BigInt(deletedAtMs),
      pendingBrokerIds: [...new Set(brokerIds)].sort((a, b) => a - b),
    });
    return this.write(
      [{ key, target: "modRevision", equals: topic.modRevision }],
      [
        { type: "delete", range: { key } },
        { type: "put", key: keys.deletion(topic.id), value: encodeRecord.deletion(deletion) },
      ],
    );
  }

  /**
   * Removes a broker from a deletion record, and the record after the last broker. False if the
   * record has changed meanwhile.
   */
  async deletionDone(topicId: TopicId, brokerId: number): Promise<boolean> {
    const key = keys.deletion(topicId);
    const { kvs } = await this.#store.range({ key });
    const [kv] = kvs;
    if (kv === undefined) return true;
    const record = decodeRecord.deletion(kv);
    const pendingBrokerIds = record.pendingBrokerIds.filter((id) => id !== brokerId);
    const value = encodeRecord.deletion({ ...record, pendingBrokerIds });
    const change: Operation =
      pendingBrokerIds.length === 0
        ? { type: "delete", range: { key } }
        : { type: "put", key, value };
    const compare: Compare = { key, target: "modRevision", equals: kv.modRevision };
    return (await this.write([compare], [change])) !== undefined;
  }

  /**
   * Has a deletion record wait for more brokers. False if the record has changed meanwhile; true
   * without one, for then every broker that it waited for has confirmed.
   */
  async deletionReaches(topicId: TopicId, brokerIds: readonly number[]): Promise<boolean> {
    const key = keys.deletion(topicId);
    const [kv] = (await this.#store.range({ key })).kvs;
    if (kv === undefined) return true;
    const record = decodeRecord.deletion(kv);
    if (brokerIds.every((id) => record.pendingBrokerIds.includes(id))) return true;
    const pendingBrokerIds = [...new Set([...record.pendingBrokerIds, ...brokerIds])];
    const value = encodeRecord.deletion({ ...record, pendingBrokerIds });
    const compare: Compare = { key, target: "modRevision", equals: kv.modRevision };
    return (await this.write([compare], [{ type: "put", key, value }])) !== undefined;
  }

  /** Removes keys, in as many transactions as needed. */
  async remove(names: readonly string[]): Promise<void> {
    for (let at = 0; at < names.length; at += chunkSize) {
      const deletes = names
        .slice(at, at + chunkSize)
        .map((key): Operation => ({ type: "delete", range: { key } }));
      await this.write([], deletes);
    }
  }

  /**
   * One transaction. Returns its revision, or undefined if one of `compares` did not hold. Throws
   * NOT_CONTROLLER when this is not the active controller.
   */
  async write(
    compares: readonly Compare[],
    operations: readonly Operation[],
  ): Promise<number | undefined> {
    const result = await this.#write(compares, operations);
    return result.succeeded ? result.revision : undefined;
  }
}

const toTopic = (kv: KeyValue): StoredTopic => {
  const record = decodeRecord.topic(kv);
  return { record, id: topicIdOf(record.topicId), modRevision: kv.modRevision };
};

const toPartition = (kv: KeyValue): StoredPartition => ({
  ...{ record: decodeRecord.partition(kv), modRevision: kv.modRevision },
});
