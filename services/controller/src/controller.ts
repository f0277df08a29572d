/** The controller's core: life cycle of topics and configs over the metadata store. */
import { create } from "@bufbuild/protobuf";
import { checkTopicConfigKey, checkTopicConfigs, checkTopicName } from "@millrace/config";
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  decodeRecord,
  encodeRecord,
  keys,
  type MetadataStore,
  newGeneration,
  noGeneration,
  putGeneration,
} from "@millrace/metadata";
import {
  AdminService,
  type AlterConfigsRequest,
  type CreatePartitionsRequest,
  type CreateTopicRequest,
  type CreateTopicResponse,
  CreateTopicResponseSchema,
  type DeleteTopicRequest,
} from "@millrace/proto/controller";
import {
  type BrokerRecord,
  ClusterRecordSchema,
  type TopicRecord,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { type TopicId, topicIdOf } from "@millrace/record";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import { assignReplicas } from "./assignment.ts";
import { configEntries, describeTopics, listTopics } from "./describe.ts";
import { limits } from "./limits.ts";
import { Registry } from "./registry.ts";

export interface ControllerOptions {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly defaultReplicationFactor: number;
  /** Compares of every write: the election key in a cluster, none in standalone. */
  readonly guard?: readonly Compare[];
  /**
   * Waits, for a bounded time, until the brokers serve the metadata as of a revision. CreateTopic
   * and CreatePartitions answer after it, so that the next call of the client finds a leader.
   */
  readonly untilServed?: (revision: number, timeoutMs: number) => Promise<void>;
}

/** Version of the metadata that this code writes. */
const FORMAT_VERSION = 1;

const checkFormat = (formatVersion: number): void => {
  if (formatVersion <= FORMAT_VERSION) return;
  throw new MillraceError(
    ErrorCode.DATA_DIRECTORY_UNUSABLE,
    `the metadata has format ${formatVersion}, this version reads up to ${FORMAT_VERSION}: use a newer version`,
  );
};

const conflict = (name: string): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `topic ${name} keeps changing under this request: retry`,
    { retryAfterMs: 100 },
  );

const exists = (name: string): MillraceError =>
  new MillraceError(
    ErrorCode.TOPIC_ALREADY_EXISTS,
    `topic ${name} exists: choose another name, or use it as it is`,
  );

const checkPartitionCount = (count: number): void => {
  if (count >= 1 && count <= limits.partitionsMax) return;
  throw new MillraceError(
    ErrorCode.INVALID_PARTITIONS,
    `${count} partitions are not allowed: use 1 to ${limits.partitionsMax}`,
  );
};

export class Controller {
  readonly #options: ControllerOptions;
  readonly #registry: Registry;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#registry = new Registry(options.store, options.guard ?? []);
  }

  /**
   * Creates the cluster's record and the metadata's generation if there is none, and returns the
   * cluster id. Throws DATA_DIRECTORY_UNUSABLE when a newer version wrote the metadata.
   */
  async bootstrapCluster(wantedId?: string): Promise<string> {
    const { store, random } = this.#options;
    const [kv] = (await store.range({ key: keys.cluster })).kvs;
    const known = kv === undefined ? undefined : decodeRecord.cluster(kv);
    if (known !== undefined) checkFormat(known.formatVersion);
    // Whoever writes first decides.
    if ((await store.range({ key: keys.generation })).kvs.length === 0) {
      await this.#registry.write([noGeneration], [putGeneration(newGeneration(random))]);
    }
    if (known !== undefined) return known.clusterId;
    const clusterId =
      wantedId ?? `c${Buffer.from(random.bytes(16)).toString("base64url").slice(0, 21)}`;
    const record = create(ClusterRecordSchema, {
      clusterId,
      formatVersion: FORMAT_VERSION,
      featureLevel: 1,
    });
    const absent: Compare = { key: keys.cluster, target: "createRevision", equals: 0 };
    const value = encodeRecord.cluster(record);
    await this.#registry.write([absent], [{ type: "put", key: keys.cluster, value }]);
    return this.bootstrapCluster(clusterId);
  }

  /** Registers a broker, under a lease in a cluster. */
  async registerBroker(record: BrokerRecord, lease?: string): Promise<void> {
    const key = keys.broker(record.brokerId);
    const value = encodeRecord.broker(record);
    const put = { type: "put", key, value, ...(lease === undefined ? {} : { lease }) } as const;
    await this.#registry.write([], [put]);
  }

  /**
   * Removes leftovers of interrupted calls: partitions of topics that do not exist, and partitions
   * beyond the partition count of their topic.
   */
  async recover(): Promise<void> {
    const counts = new Map<string, number>();
    for (let after = "", more = true; more; ) {
      const page = await this.#registry.topics(after, 1000);
      for (const { id, record } of page.topics) counts.set(id, record.partitionCount);
      after = page.topics.at(-1)?.record.name ?? after;
      more = page.more;
    }
    const orphans = (await this.#registry.allPartitions())
      .filter(({ record }) => record.partition >= (counts.get(topicIdOf(record.topicId)) ?? 0))
      .map(({ kv }) => kv.key);
    if (orphans.length === 0) return;
    this.#options.logger.info(
      { partitions: orphans.length },
      "removing partitions without a topic",
    );
    await this.#registry.remove(orphans);
  }

  /**
   * Raises the leader epochs of a broker that stopped uncleanly as a sole replica: it may have lost
   * appends, and new ones must not look like those.
   */
  async bumpLeaderEpochs(brokerId: number): Promise<void> {
    const led = (await this.#registry.allPartitions()).filter(
      ({ record }) => record.leader === brokerId,
    );
    await this.#registry.replacePartitions(
      led.map(({ record, kv }) => ({
        kv,
        record: { ...record, leaderEpoch: record.leaderEpoch + 1 },
      })),
    );
  }

  async createTopic(request: CreateTopicRequest): Promise<CreateTopicResponse> {
    const { name, configs, validateOnly } = request;
    checkTopicName(name);
    checkTopicConfigs(configs);
    const partitionCount = request.partitionCount === 0 ? 1 : request.partitionCount;
    checkPartitionCount(partitionCount);
    const replicationFactor =
      request.replicationFactor === 0
        ? this.#options.defaultReplicationFactor
        : request.replicationFactor;
    const brokers = await this.#registry.brokers();
    const start = this.#options.random.below(Math.max(1, brokers.length));
    const assignment = assignReplicas(brokers, replicationFactor, 0, partitionCount, start);
    if ((await this.#registry.findTopic(name)) !== undefined) throw exists(name);
    const answer = { partitionCount, replicationFactor };
    if (validateOnly) {
      const revision = BigInt(await this.#registry.revision());
      return create(CreateTopicResponseSchema, { ...answer, revision });
    }
    const topicId = this.#options.random.bytes(16);
    const id = topicIdOf(topicId);
    // Partitions first, so that a visible topic is complete. `recover` removes what a crash leaves.
    await this.#registry.putPartitions(id, 0, assignment);
    const record = create(TopicRecordSchema, {
      name,
      topicId,
      ...answer,
      configs,
      createdAtMs: BigInt(this.#options.clock.wallMs()),
    });
    const absent: Compare = { key: keys.topic(name), target: "createRevision", equals: 0 };
    const value = encodeRecord.topic(record);
    const put = { type: "put", key: keys.topic(name), value } as const;
    const revision = await this.#registry.write([absent], [put]);
    if (revision === undefined) {
      await this.#registry.remove(assignment.map((_, partition) => keys.partition(id, partition)));
      throw exists(name);
    }
    await this.#untilServed(revision);
    return create(CreateTopicResponseSchema, { ...answer, topicId, revision: BigInt(revision) });
  }

  async deleteTopic(request: DeleteTopicRequest): Promise<{ revision: bigint }> {
    const { length } = request.topicId;
    if (length !== 0 && length !== 16) {
      const text = `topic_id has ${length} bytes: send 16, or none to delete by name`;
      throw new MillraceError(ErrorCode.INVALID_REQUEST, text);
    }
    const topic = await this.#registry.topic(request.name);
    if (length > 0 && topicIdOf(request.topicId) !== topic.id) {
      throw new MillraceError(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `topic ${request.name} has id ${topic.id}, not the one asked for: it was made again: refresh the metadata`,
      );
    }
    const partitions = await this.#registry.partitions(topic.id);
    const revision = await this.#registry.deleteTopic(topic, {
      deletedAtMs: this.#options.clock.wallMs(),
      brokerIds: partitions.flatMap(({ record }) => record.replicas),
    });
    if (revision === undefined) throw conflict(request.name);
    await this.#registry.remove(
      partitions.map(({ record }) => keys.partition(topic.id, record.partition)),
    );
    return { revision: BigInt(revision) };
  }

  /**
   * A broker reports that it has deleted its partitions of a topic. After the last broker, the
   * deletion record is removed.
   */
  async deletionDone(topicId: TopicId, brokerId: number): Promise<void> {
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      if (await this.#registry.deletionDone(topicId, brokerId)) return;
    }
    throw conflict(topicId);
  }

  async createPartitions(request: CreatePartitionsRequest): Promise<{ revision: bigint }> {
    checkPartitionCount(request.partitionCount);
    const done = await this.#change(request.name, request.validateOnly, async (topic) => {
      const { record, id } = topic;
      const first = record.partitionCount;
      const count = request.partitionCount - first;
      if (count <= 0) {
        throw new MillraceError(
          ErrorCode.INVALID_PARTITIONS,
          `topic ${record.name} has ${first} partitions: their number only grows`,
        );
      }
      const brokers = await this.#registry.brokers();
      const start = this.#options.random.below(Math.max(1, brokers.length));
      const { replicationFactor } = record;
      const assignment = assignReplicas(brokers, replicationFactor, first, count, start);
      if (!request.validateOnly) await this.#registry.putPartitions(id, first, assignment);
      return { ...record, partitionCount: request.partitionCount };
    });
    if (!request.validateOnly) await this.#untilServed(Number(done.revision));
    return done;
  }

  async alterConfigs(request: AlterConfigsRequest): Promise<{ revision: bigint }> {
    checkTopicConfigs(request.set);
    for (const key of request.remove) checkTopicConfigKey(key);
    return this.#change(request.topic, request.validateOnly, async ({ record }) => {
      const configs = { ...record.configs, ...request.set };
      for (const key of request.remove) {
        if (Object.hasOwn(request.set, key)) {
          throw new MillraceError(
            ErrorCode.INVALID_REQUEST,
            `${key} is set and removed: do one of them`,
          );
        }
        delete configs[key];
      }
      return { ...record, configs };
    });
  }

  /** The Admin service. */
  bindings(): ServiceBinding[] {
    const registry = this.#registry;
    const services = [
      bindService(AdminService, {
        createTopic: (request) => this.createTopic(request),
        deleteTopic: async (request) =>
          message("DeleteTopicResponse", await this.deleteTopic(request)),
        createPartitions: async (request) =>
          message("CreatePartitionsResponse", await this.createPartitions(request)),
        alterConfigs: async (request) =>
          message("AlterConfigsResponse", await this.alterConfigs(request)),
        describeConfigs: async (request) =>
          message("DescribeConfigsResponse", {
            configs: configEntries((await registry.topic(request.topic)).record.configs),
          }),
        listTopics: (request) => listTopics(registry, request),
        describeTopics: (request) => describeTopics(registry, request),
      }),
    ];
    return services.map((service) => ofCluster(service, () => registry.clusterId()));
  }

  /** The change is committed: a slow or failing broker only delays the answer. */
  async #untilServed(revision: number): Promise<void> {
    try {
      await this.#options.untilServed?.(revision, limits.servedWaitMsMax);
    } catch (thrown) {
      const err = MillraceError.from(thrown);
      this.#options.logger.warn({ revision, err }, "brokers do not serve a change yet");
    }
  }

  /** Changes a topic's record by compare-and-set. */
  async #change(
    name: string,
    validateOnly: boolean,
    change: (topic: {
      record: TopicRecord;
      id: ReturnType<typeof topicIdOf>;
    }) => Promise<TopicRecord>,
  ): Promise<{ revision: bigint }> {
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const topic = await this.#registry.topic(name);
      const changed = await change(topic);
      if (validateOnly) return { revision: BigInt(await this.#registry.revision()) };
      const key = keys.topic(name);
      const revision = await this.#registry.write(
        [{ key, target: "modRevision", equals: topic.modRevision }],
        [{ type: "put", key, value: encodeRecord.topic(changed) }],
      );
      if (revision !== undefined) return { revision: BigInt(revision) };
    }
    throw conflict(name);
  }
}

/** A message of the controller's package. */
const message = <N extends string, T extends object>(name: N, fields: T) => ({
  $typeName: `millrace.controller.v1.${name}` as const,
  ...fields,
});
