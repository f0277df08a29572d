/** The Admin service: life cycle of topics and configs over the metadata store. */
import { create } from "@bufbuild/protobuf";
import { checkTopicConfigKey, checkTopicConfigs, checkTopicName } from "@millrace/config";
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Compare, encodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import {
  AdminService,
  type AlterConfigsRequest,
  type AlterPartitionReassignmentsRequest,
  type AlterPartitionReassignmentsResponse,
  type CreatePartitionsRequest,
  type CreateTopicRequest,
  type CreateTopicResponse,
  CreateTopicResponseSchema,
  type DeleteTopicRequest,
  type DescribeConfigsRequest,
  type DescribeTopicsRequest,
  type ElectLeaderRequest,
  type ElectLeaderResponse,
  type ListPartitionReassignmentsRequest,
  type ListTopicsRequest,
} from "@millrace/proto/controller";
import { type PartitionRecord, type TopicRecord, TopicRecordSchema } from "@millrace/proto/storage";
import { type TopicId, topicIdOf } from "@millrace/record";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import { assignReplicas } from "./assignment.ts";
import { bootstrapCluster } from "./bootstrap.ts";
import { configEntries, describeTopics, listTopics, replicationFactorOf } from "./describe.ts";
import { electLeader } from "./elect-leader.ts";
import { limits } from "./limits.ts";
import { intentOf, readPlacement, unchangedPlacement } from "./placement.ts";
import { alterPartitionReassignments, listPartitionReassignments } from "./reassignments.ts";
import { type Assignment, type RegisteredBroker, Registry, type StoredTopic } from "./registry.ts";
import { unguarded, type Write } from "./reign.ts";
import { type Removal, removalsDone } from "./removals.ts";
import { checkDeletion, checkKeeping, checkMorePartitions } from "./system-topics.ts";

export interface ControllerOptions {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Of topics that are made without one, also as a function of how many brokers there are. */
  readonly defaultReplicationFactor: number | ((brokers: number) => number);
  /** The process whose reign guards every write. Without one, alone with the store: for tests. */
  readonly active?: {
    readonly write: Write;
    /** Throws NOT_CONTROLLER, as `requireActive` does. */
    writeOfReign(): Write;
    requireActive(): void;
  };
  /**
   * Waits, for a bounded time, until the brokers serve the metadata as of a revision. CreateTopic
   * and CreatePartitions answer after it, so that the next call of the client finds a leader.
   */
  readonly untilServed?: (revision: number, timeoutMs: number) => Promise<void>;
}

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

const minIsr = "min.insync.replicas";

/** Brokers that may have a log of the partition. */
const hostsOf = ({ replicas, removed }: PartitionRecord): number[] => [
  ...replicas,
  ...removed.map(({ brokerId }) => brokerId),
];

const isUnchanged = ({ record, modRevision }: StoredTopic): Compare => ({
  ...{ key: keys.topic(record.name), target: "modRevision", equals: modRevision },
});

export class Controller {
  readonly #options: ControllerOptions;
  readonly #registry: Registry;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#registry = new Registry(options.store, options.active?.write ?? unguarded(options.store));
  }

  /** See `bootstrapCluster`. */
  bootstrapCluster(wantedId?: string): Promise<string> {
    const { store, random } = this.#options;
    return bootstrapCluster(store, random, wantedId);
  }

  async createTopic(request: CreateTopicRequest): Promise<CreateTopicResponse> {
    const { name, configs, validateOnly } = request;
    checkTopicName(name);
    checkTopicConfigs(configs);
    const partitionCount = request.partitionCount === 0 ? 1 : request.partitionCount;
    checkPartitionCount(partitionCount);
    const { brokers, condition } = await this.#candidates();
    const replicationFactor =
      request.replicationFactor === 0
        ? this.#defaultReplicationFactor(brokers.length)
        : request.replicationFactor;
    const assignment = this.#assign(brokers, replicationFactor, 0, partitionCount);
    if ((await this.#registry.findTopic(name)) !== undefined) throw exists(name);
    const answer = { partitionCount, replicationFactor };
    if (validateOnly) {
      const revision = BigInt(await this.#registry.revision());
      return create(CreateTopicResponseSchema, { ...answer, revision });
    }
    const topicId = this.#options.random.bytes(16);
    const id = topicIdOf(topicId);
    const registry = this.#ofOneReign();
    // Partitions first, so that a visible topic is complete. The control loop of the next reign
    // removes what a crash leaves.
    const isPlaced = await registry.putPartitions(id, 0, assignment, [condition]);
    const partitions = assignment.replicas.map((_, partition) => keys.partition(id, partition));
    if (!isPlaced) {
      await registry.remove(partitions);
      throw conflict(name);
    }
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
    const revision = await registry.write([absent], [put]);
    if (revision === undefined) {
      await registry.remove(partitions);
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
    checkDeletion(request.name);
    const topic = await this.#registry.topic(request.name);
    if (length > 0 && topicIdOf(request.topicId) !== topic.id) {
      throw new MillraceError(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `topic ${request.name} has id ${topic.id}, not the one asked for: it was made again: refresh the metadata`,
      );
    }
    const partitions = await this.#registry.partitions(topic.id);
    const hosts = [...new Set(partitions.flatMap(({ record }) => hostsOf(record)))];
    const revision = await this.#registry.deleteTopic(topic, {
      ...{ deletedAtMs: this.#options.clock.wallMs(), brokerIds: hosts },
    });
    if (revision === undefined) throw conflict(request.name);
    // Replicas that were added since: from now on none are.
    const last = await this.#registry.partitions(topic.id);
    const late = last.flatMap(({ record }) => hostsOf(record)).filter((id) => !hosts.includes(id));
    if (late.length > 0) await this.#deletionReaches(topic.id, late);
    await this.#registry.remove(
      last.map(({ record }) => keys.partition(topic.id, record.partition)),
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

  /** Adds brokers to a deletion record that was written without them. */
  async #deletionReaches(topicId: TopicId, brokerIds: readonly number[]): Promise<void> {
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      if (await this.#registry.deletionReaches(topicId, brokerIds)) return;
    }
    throw conflict(topicId);
  }

  async createPartitions(request: CreatePartitionsRequest): Promise<{ revision: bigint }> {
    checkPartitionCount(request.partitionCount);
    checkMorePartitions(request.name);
    const done = await this.#change(request.name, request.validateOnly, async (topic, registry) => {
      const { record, id } = topic;
      const first = record.partitionCount;
      const count = request.partitionCount - first;
      if (count <= 0) {
        throw new MillraceError(
          ErrorCode.INVALID_PARTITIONS,
          `topic ${record.name} has ${first} partitions: their number only grows`,
        );
      }
      const { brokers, condition } = await this.#candidates();
      const present = await this.#registry.partition(id, 0);
      const factor = replicationFactorOf(record, present === undefined ? [] : [present]);
      const assignment = this.#assign(brokers, factor, first, count);
      if (!request.validateOnly) {
        // Another call that has grown the topic has written some of these partitions already.
        const unchanged = [isUnchanged(topic), condition];
        if (!(await registry.putPartitions(id, first, assignment, unchanged))) return undefined;
      }
      return { ...record, partitionCount: request.partitionCount };
    });
    if (!request.validateOnly) await this.#untilServed(Number(done.revision));
    return done;
  }

  async alterConfigs(request: AlterConfigsRequest): Promise<{ revision: bigint }> {
    checkTopicConfigs(request.set);
    for (const key of request.remove) checkTopicConfigKey(key);
    checkKeeping(request.topic, request.set, request.remove);
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
      const isSameMinimum = configs[minIsr] === record.configs[minIsr];
      const minIsrEpoch = record.minIsrEpoch + (isSameMinimum ? 0 : 1);
      return { ...record, configs, minIsrEpoch };
    });
  }

  /** Has a replica lead one partition; see `electedPartition`. */
  async electLeader(request: ElectLeaderRequest): Promise<ElectLeaderResponse> {
    const { logger, store } = this.#options;
    const done = await electLeader(store, this.#registry, logger, request);
    if (!request.validateOnly) await this.#untilServed(Number(done.revision));
    return done;
  }

  /** Moves partitions, or cancels that; see `reassigned`. */
  async alterPartitionReassignments(
    request: AlterPartitionReassignmentsRequest,
  ): Promise<AlterPartitionReassignmentsResponse> {
    const { store, active } = this.#options;
    const write = active?.writeOfReign() ?? unguarded(store);
    return alterPartitionReassignments({ registry: this.#registry, store, write }, request);
  }

  /** A broker reports that it has no log of partitions any more that it was removed from. */
  removalsDone(brokerId: number, removals: readonly Removal[]): Promise<void> {
    const { store, active } = this.#options;
    return removalsDone(store, active?.writeOfReign() ?? unguarded(store), brokerId, removals);
  }

  /** The Admin service. Only the active controller answers; others refuse with NOT_CONTROLLER. */
  bindings(): ServiceBinding[] {
    const registry = this.#registry;
    const active =
      <I, O>(handler: (request: I) => Promise<O>) =>
      async (request: I): Promise<O> => {
        this.#options.active?.requireActive();
        return handler(request);
      };
    const services = [
      bindService(AdminService, {
        createTopic: active((request: CreateTopicRequest) => this.createTopic(request)),
        deleteTopic: active(async (request: DeleteTopicRequest) =>
          message("DeleteTopicResponse", await this.deleteTopic(request)),
        ),
        createPartitions: active(async (request: CreatePartitionsRequest) =>
          message("CreatePartitionsResponse", await this.createPartitions(request)),
        ),
        alterConfigs: active(async (request: AlterConfigsRequest) =>
          message("AlterConfigsResponse", await this.alterConfigs(request)),
        ),
        describeConfigs: active(async (request: DescribeConfigsRequest) =>
          message("DescribeConfigsResponse", {
            configs: configEntries((await registry.topic(request.topic)).record.configs),
          }),
        ),
        electLeader: active((request: ElectLeaderRequest) => this.electLeader(request)),
        listTopics: active((request: ListTopicsRequest) => listTopics(registry, request)),
        describeTopics: active((request: DescribeTopicsRequest) =>
          describeTopics(registry, request),
        ),
        alterPartitionReassignments: active((request: AlterPartitionReassignmentsRequest) =>
          this.alterPartitionReassignments(request),
        ),
        listPartitionReassignments: active((request: ListPartitionReassignmentsRequest) =>
          listPartitionReassignments(registry, request),
        ),
      }),
    ];
    return services.map((service) => ofCluster(service, () => registry.clusterId()));
  }

  #defaultReplicationFactor(brokers: number): number {
    const { defaultReplicationFactor: factor } = this.#options;
    return typeof factor === "number" ? factor : factor(brokers);
  }

  /** Brokers that may get replicas, and the condition on which they still may. */
  async #candidates(): Promise<{ brokers: RegisteredBroker[]; condition: Compare }> {
    const placement = await readPlacement(this.#options.store);
    const brokers = (await this.#registry.brokers()).filter(
      ({ brokerId, directoryId }) =>
        intentOf(placement, brokerId, directoryId) === BrokerIntent.ACTIVE,
    );
    return { brokers, condition: unchangedPlacement(placement) };
  }

  /** Replicas for `count` partitions from `first`, on brokers that may get some. */
  #assign(
    brokers: readonly RegisteredBroker[],
    replicationFactor: number,
    first: number,
    count: number,
  ): Assignment {
    const start = this.#options.random.below(Math.max(1, brokers.length));
    return {
      replicas: assignReplicas(brokers, replicationFactor, first, count, start),
      brokers,
    };
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

  /**
   * For a request of several writes. The next reign removes partitions that it finds without their
   * topic, so no write of such a request may go through the next one, also where the same process
   * is elected again.
   */
  #ofOneReign(): Registry {
    const { store, active } = this.#options;
    return active === undefined ? this.#registry : new Registry(store, active.writeOfReign());
  }

  /** Changes a topic's record by compare-and-set; again when `change` says that it has changed. */
  async #change(
    name: string,
    validateOnly: boolean,
    change: (topic: StoredTopic, registry: Registry) => Promise<TopicRecord | undefined>,
  ): Promise<{ revision: bigint }> {
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const topic = await this.#registry.topic(name);
      const registry = this.#ofOneReign();
      const changed = await change(topic, registry);
      if (changed === undefined) continue;
      if (validateOnly) return { revision: BigInt(await this.#registry.revision()) };
      const key = keys.topic(name);
      const revision = await registry.write(
        [isUnchanged(topic)],
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
