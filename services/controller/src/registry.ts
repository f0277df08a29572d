/** Reads and guarded writes of the metadata that the controller owns. */
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

/** Operations per transaction; with the compares of the guard below the 128 of etcd. */
const chunkSize = 100;

/** A topic as it is stored. */
export interface StoredTopic {
  readonly record: TopicRecord;
  readonly id: TopicId;
  readonly modRevision: number;
}

export class Registry {
  readonly #store: MetadataStore;
  /** Compares of every write: this process is still the controller. */
  readonly #guard: readonly Compare[];
  #clusterId: string | undefined;

  constructor(store: MetadataStore, guard: readonly Compare[]) {
    this.#store = store;
    this.#guard = guard;
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

  async brokers(): Promise<Candidate[]> {
    const { kvs } = await this.#store.range({ prefix: keys.brokers });
    return kvs.map((kv) => {
      const { brokerId, rack } = decodeRecord.broker(kv);
      return { brokerId, rack };
    });
  }

  /** Partitions of a topic in order of index. */
  async partitions(id: TopicId): Promise<{ record: PartitionRecord; modRevision: number }[]> {
    const { kvs } = await this.#store.range({ prefix: keys.partitionsOf(id) });
    return kvs
      .map((kv) => ({ record: decodeRecord.partition(kv), modRevision: kv.modRevision }))
      .sort((a, b) => a.record.partition - b.record.partition);
  }

  async allPartitions(): Promise<{ record: PartitionRecord; kv: KeyValue }[]> {
    const { kvs } = await this.#store.range({ prefix: keys.partitions });
    return kvs.map((kv) => ({ record: decodeRecord.partition(kv), kv }));
  }

  /** Writes new partition records, in as many transactions as needed. */
  async putPartitions(id: TopicId, first: number, assignment: readonly number[][]): Promise<void> {
    for (let at = 0; at < assignment.length; at += chunkSize) {
      const puts = assignment.slice(at, at + chunkSize).map((replicas, i): Operation => {
        const partition = first + at + i;
        const record = create(PartitionRecordSchema, {
          topicId: topicIdBytes(id),
          partition,
          replicas,
          isr: replicas,
          leader: replicas[0] ?? 0,
          leaderEpoch: 1,
        });
        const key = keys.partition(id, partition);
        return { type: "put", key, value: encodeRecord.partition(record) };
      });
      await this.write([], puts);
    }
  }

  /**
   * Replaces partition records that are unchanged since they were read, in as many transactions as
   * needed. A record that has changed is skipped, the others of its transaction are not.
   */
  async replacePartitions(
    changes: readonly { readonly kv: KeyValue; readonly record: PartitionRecord }[],
  ): Promise<void> {
    for (let at = 0; at < changes.length; at += chunkSize) {
      const chunk = changes.slice(at, at + chunkSize);
      if ((await this.#replace(chunk)) !== undefined) continue;
      for (const change of chunk) await this.#replace([change]);
    }
  }

  #replace(changes: readonly { readonly kv: KeyValue; readonly record: PartitionRecord }[]) {
    return this.write(
      changes.map(({ kv }) => ({ key: kv.key, target: "modRevision", equals: kv.modRevision })),
      changes.map(({ kv, record }) => ({
        type: "put",
        key: kv.key,
        value: encodeRecord.partition(record),
      })),
    );
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
   * One guarded transaction. Returns its revision, or undefined if one of `compares` did not hold.
   * Throws NOT_CONTROLLER if one of the guard did not.
   */
  async write(
    compares: readonly Compare[],
    operations: readonly Operation[],
  ): Promise<number | undefined> {
    const result = await this.#store.txn([...this.#guard, ...compares], operations);
    if (result.succeeded) return result.revision;
    await this.#checkGuard();
    return undefined;
  }

  async #checkGuard(): Promise<void> {
    if (this.#guard.length === 0) return;
    const { succeeded } = await this.#store.txn(this.#guard, []);
    if (succeeded) return;
    throw new MillraceError(
      ErrorCode.NOT_CONTROLLER,
      "another controller has taken over: refresh the metadata",
    );
  }
}

const toTopic = (kv: KeyValue): StoredTopic => {
  const record = decodeRecord.topic(kv);
  return { record, id: topicIdOf(record.topicId), modRevision: kv.modRevision };
};
