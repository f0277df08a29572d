/** Topics that come and go in a simulated cluster, and what every broker knows of them at last. */
import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import type { Client } from "@millrace/client/core";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { decodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { topicIdOf } from "@millrace/record";
import { type Dialer, methodOf } from "@millrace/rpc";
import type { Marks, SeededRandom } from "@millrace/sim";
import type { BrokerMachine } from "./broker-machine.ts";

const getMetadata = methodOf(MetadataService.method.getMetadata);

/** What a cluster answers while somebody else, or an earlier call, was there first. */
const refusals: readonly ErrorCode[] = [
  // While the store is another one.
  ErrorCode.CLUSTER_ID_MISMATCH,
  ErrorCode.TOPIC_ALREADY_EXISTS,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  // While too few brokers are registered.
  ErrorCode.INVALID_REPLICATION_FACTOR,
];

/** Most of them at once. */
const topicsMax = 3;

/**
 * Makes and deletes topics, whatever the cluster makes of it, until `working` says no. No name
 * comes back: a broker that has missed a deletion shows it in the end.
 */
export const changeTopics = async (
  client: Client,
  { random, marks }: { readonly random: SeededRandom; readonly marks: Marks },
  sleep: (ms: number) => Promise<void>,
  working: () => boolean,
): Promise<void> => {
  const names: string[] = [];
  for (let made = 0; working(); ) {
    await sleep(random.float() * 1500);
    const isNew = names.length === 0 || (names.length < topicsMax && random.chance(0.5));
    const name = isNew ? `other-${made}` : random.pick(names);
    if (isNew) {
      names.push(name);
      made += 1;
    } else names.splice(names.indexOf(name), 1);
    try {
      if (isNew) await client.admin.createTopic({ name, partitions: 2 });
      else await client.admin.deleteTopic({ name });
      marks.sometimes(isNew ? "topics: made" : "topics: deleted");
    } catch (thrown) {
      const { code, spec } = MillraceError.from(thrown);
      if (!spec.retriable && !refusals.includes(code)) throw thrown;
    }
  }
};

/** What the store says that there is. */
export interface KnownTopics {
  readonly names: readonly string[];
  readonly ids: ReadonlySet<string>;
}

export const knownTopics = async (store: MetadataStore): Promise<KnownTopics> => {
  const records = (await store.range({ prefix: keys.topics })).kvs.map(decodeRecord.topic);
  const names = records.map(({ name }) => name).sort();
  return { names, ids: new Set(records.map(({ topicId }) => topicIdOf(topicId))) };
};

/** Names of the topics that a broker tells its clients. */
export const toldTopics = async (dialer: Dialer, { host }: BrokerMachine): Promise<string[]> => {
  const channel = dialer.dial(`${host}:7400`);
  try {
    const { topics } = await channel.unary(getMetadata, create(GetMetadataRequestSchema, {}));
    return topics.map(({ name }) => name).sort();
  } finally {
    channel.close();
  }
};

/** No log is there whose topic is deleted. */
export const checkDeleted = (
  brokers: readonly BrokerMachine[],
  { ids }: Pick<KnownTopics, "ids">,
): void => {
  for (const { host, logs } of brokers) {
    for (const { topicId, topic, partition } of logs.partitions()) {
      assert.ok(ids.has(topicId), `${host} still has ${topic}-${partition}, which is deleted`);
    }
  }
};
