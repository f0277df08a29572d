/** Topics, configs, logs and the cluster. */
import { create } from "@bufbuild/protobuf";
import { type Endpoint, ErrorCode, MillraceError } from "@millrace/errors";
import {
  DeleteRecordsRequestSchema,
  DescribeLogsRequestSchema,
  type LogDescription,
} from "@millrace/proto/broker";
import {
  AcquireMaintenanceRequestSchema,
  type AcquireMaintenanceResponse,
  AlterConfigsRequestSchema,
  AlterPartitionReassignmentsRequestSchema,
  type BrokerDescription,
  type ConfigEntry,
  CreatePartitionsRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  DescribeBrokersRequestSchema,
  DescribeConfigsRequestSchema,
  DescribeTopicsRequestSchema,
  ElectionType,
  ElectLeaderRequestSchema,
  ListMaintenanceRequestSchema,
  ListPartitionReassignmentsRequestSchema,
  ListTopicsRequestSchema,
  type MaintenanceLease,
  type OngoingReassignment,
  ReleaseMaintenanceRequestSchema,
  type ReleaseMaintenanceResponse,
  RenewMaintenanceRequestSchema,
  type RenewMaintenanceResponse,
  SetBrokerIntentRequestSchema,
  type TopicDescription,
  type TopicListing,
} from "@millrace/proto/controller";
import type { DescribeGroupResponse } from "@millrace/proto/group";
import type { Method } from "@millrace/rpc";
import * as check from "./admin-checks.ts";
import { GroupAdmin } from "./admin-groups.ts";
import { RebalanceAdmin } from "./admin-rebalances.ts";
import type {
  AlterConfigs,
  BrokerIntentChange,
  CommittedOffset,
  CreatePartitions,
  DeleteRecords,
  ElectLeader,
  GroupListing,
  GroupOffsets,
  GroupOffsetsQuery,
  HeldMaintenance,
  MaintenanceRelease,
  MaintenanceWish,
  NewTopic,
  OffsetLookup,
  OffsetReset,
  OffsetResult,
  PartitionMoveResult,
  PartitionMoves,
  TopicDeletion,
} from "./admin-types.ts";
import { backoffMs } from "./backoff.ts";
import { fromWire, wantsRefresh } from "./failures.ts";
import type { BrokerInfo, GroupCoordinatorInfo } from "./metadata/index.ts";
import { methods } from "./methods.ts";
import { askLeader, type CallContext, type FoundOffset, listOffset } from "./offsets.ts";

/** The cluster, as one server knows it. */
export interface ClusterDescription {
  readonly clusterId: string;
  /** Where Admin calls go: the controller, or a server that may know it. */
  readonly controller: Endpoint;
  readonly brokers: readonly BrokerInfo[];
  /** In order of id. None where servers have no groups. */
  readonly coordinators: readonly GroupCoordinatorInfo[];
}

export interface AdminOptions {
  /** Deadline of each call, retries included, milliseconds. Default 30,000. */
  readonly timeoutMs?: number;
}

const noController = (ms: number): MillraceError =>
  MillraceError.refusal(
    ErrorCode.NOT_CONTROLLER,
    `no controller of the cluster was active for ${ms} ms: look at its controllers, and retry`,
  );

/** Administrative calls. Only failures without side effects are retried. */
export class Admin {
  readonly #context: CallContext;
  readonly #timeoutMs: number;
  readonly #groups: GroupAdmin;
  /** Plans that give every broker its share. */
  readonly rebalances: RebalanceAdmin;

  constructor(context: CallContext, options: AdminOptions = {}) {
    this.#context = context;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#groups = new GroupAdmin(context, this.#timeoutMs);
    this.rebalances = new RebalanceAdmin((...args) => this.#call(...args));
  }

  /** All consumer groups by name, of every coordinator that the metadata names. */
  listGroups(): Promise<GroupListing[]> {
    return this.#groups.list();
  }

  /** The state, members and offsets of a group. Throws GROUP_ID_NOT_FOUND. */
  describeGroup(of: { readonly group: string }): Promise<DescribeGroupResponse> {
    check.group("describeGroup", of);
    return this.#groups.describe(of.group);
  }

  /**
   * Sets committed offsets, also of a group with members: they go on there. Of a topic by a
   * position, or one by one; says per partition what became of it. Throws GROUP_ID_NOT_FOUND.
   */
  resetOffsets(reset: OffsetReset): Promise<OffsetResult[]> {
    check.resetOffsets(reset);
    return this.#groups.reset(reset);
  }

  /** Deletes a group without members, with its offsets. Throws NON_EMPTY_GROUP. */
  async deleteGroup(of: { readonly group: string }): Promise<void> {
    check.group("deleteGroup", of);
    await this.#groups.delete(of.group);
  }

  /** Commits offsets of a group without members, which need not exist. Throws NON_EMPTY_GROUP. */
  commitOffsets(offsets: GroupOffsets): Promise<OffsetResult[]> {
    check.groupOffsets("commitOffsets", offsets);
    return this.#groups.commit(offsets);
  }

  /** What a group has committed. Partitions without an offset are left out. */
  fetchOffsets(query: GroupOffsetsQuery): Promise<CommittedOffset[]> {
    check.groupOffsetsQuery(query);
    return this.#groups.fetch(query);
  }

  /** Creates a topic. Later calls of this client see it. */
  async createTopic(topic: NewTopic): Promise<{ topicId: Uint8Array; partitions: number }> {
    check.createTopic(topic);
    const { configs = {}, partitions: partitionCount, ...rest } = topic;
    const fields = { ...rest, configs: { ...configs } };
    const request = create(CreateTopicRequestSchema, {
      ...fields,
      ...(partitionCount === undefined ? {} : { partitionCount }),
    });
    const reply = await this.#call(methods.createTopic, request);
    this.#context.metadata.requireRevision(reply.revision);
    return { topicId: reply.topicId, partitions: reply.partitionCount };
  }

  /**
   * Deletes a topic and all its records; with a `topicId` only if it is the topic of this id, and
   * UNKNOWN_TOPIC_OR_PARTITION otherwise.
   */
  async deleteTopic(topic: TopicDeletion): Promise<void> {
    check.deleteTopic(topic);
    const request = create(DeleteTopicRequestSchema, topic);
    const reply = await this.#call(methods.deleteTopic, request);
    this.#context.metadata.requireRevision(reply.revision);
    await this.#context.metadata.tryRefresh();
  }

  /** All topics by name, fetched in pages. */
  async *listTopics(): AsyncGenerator<TopicListing, void, undefined> {
    let pageToken = "";
    do {
      const request = create(ListTopicsRequestSchema, { pageToken });
      const page = await this.#call(methods.listTopics, request, true);
      yield* page.topics;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Describes topics, in the order of `names`. Throws UNKNOWN_TOPIC_OR_PARTITION. */
  async describeTopics(topics: { readonly names: readonly string[] }): Promise<TopicDescription[]> {
    check.describeTopics(topics);
    const request = create(DescribeTopicsRequestSchema, { names: [...topics.names] });
    return (await this.#call(methods.describeTopics, request, true)).topics;
  }

  /** Raises the number of partitions of a topic to `partitions`. */
  async createPartitions(growth: CreatePartitions): Promise<void> {
    check.createPartitions(growth);
    const { name, partitions: partitionCount } = growth;
    const request = create(CreatePartitionsRequestSchema, { name, partitionCount });
    const reply = await this.#call(methods.createPartitions, request);
    this.#context.metadata.requireRevision(reply.revision);
    await this.#context.metadata.tryRefresh();
  }

  /**
   * Has the preferred leader of a partition lead, which loses nothing. With `unclean`, where nobody
   * who is complete can lead, `leader` leads instead, or the first replica that is there: what was
   * acknowledged and is not on its disk is lost for good. Throws ELECTION_NOT_NEEDED,
   * ELIGIBLE_LEADERS_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST.
   */
  async electLeader(election: ElectLeader): Promise<{ leader: number; leaderEpoch: number }> {
    check.electLeader(election);
    const { topic, partition, unclean } = election;
    const type = unclean === undefined ? ElectionType.PREFERRED : ElectionType.UNCLEAN;
    const request = create(ElectLeaderRequestSchema, { topic, partition, type, ...unclean });
    const reply = await this.#call(methods.electLeader, request);
    this.#context.metadata.requireRevision(reply.revision);
    return { leader: reply.leader, leaderEpoch: reply.leaderEpoch };
  }

  /** Sets configs of a topic, and resets those in `remove` to their defaults. */
  async alterConfigs(change: AlterConfigs): Promise<void> {
    check.alterConfigs(change);
    const { topic, set = {}, remove = [] } = change;
    const fields = { topic, set: { ...set }, remove: [...remove] };
    const request = create(AlterConfigsRequestSchema, fields);
    const reply = await this.#call(methods.alterConfigs, request);
    this.#context.metadata.requireRevision(reply.revision);
  }

  async describeConfigs(of: { readonly topic: string }): Promise<ConfigEntry[]> {
    check.describeConfigs(of);
    const request = create(DescribeConfigsRequestSchema, { topic: of.topic });
    return (await this.#call(methods.describeConfigs, request, true)).configs;
  }

  /**
   * Moves replicas to other brokers, or cancels that. Answers in the order of `moves`, at most
   * 1,000, once the moves are recorded; `listPartitionReassignments` tells which go on.
   */
  async alterPartitionReassignments(change: PartitionMoves): Promise<PartitionMoveResult[]> {
    check.partitionMoves(change);
    const { moves, validateOnly = false } = change;
    const partitions = moves.map(({ topic, partition, replicas }) =>
      replicas === "cancel"
        ? { topic, partition, cancel: true }
        : { topic, partition, replicas: [...replicas] },
    );
    const fields = { partitions, validateOnly };
    const request = create(AlterPartitionReassignmentsRequestSchema, fields);
    const reply = await this.#call(methods.alterPartitionReassignments, request);
    this.#context.metadata.requireRevision(reply.revision);
    return reply.results.map(({ topic, partition, error }) => ({
      ...{ topic, partition, error: error && fromWire(error) },
    }));
  }

  /** All reassignments that are under way, fetched in pages. */
  async *listPartitionReassignments(): AsyncGenerator<OngoingReassignment, void, undefined> {
    let pageToken = "";
    do {
      const request = create(ListPartitionReassignmentsRequestSchema, { pageToken });
      const page = await this.#call(methods.listPartitionReassignments, request, true);
      yield* page.reassignments;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /**
   * Says what is wanted of a broker: to cordon, drain or decommission it, or to have it active
   * again. Throws REASSIGNMENT_IN_PROGRESS for a broker that still has something.
   */
  async setBrokerIntent(change: BrokerIntentChange): Promise<void> {
    check.setBrokerIntent(change);
    const { brokerId, intent, validateOnly = false } = change;
    const request = create(SetBrokerIntentRequestSchema, { brokerId, intent, validateOnly });
    await this.#call(methods.setBrokerIntent, request);
  }

  /** All brokers with what is wanted of them, and what they have, as the controller knows it. */
  async describeBrokers(): Promise<BrokerDescription[]> {
    const request = create(DescribeBrokersRequestSchema);
    return (await this.#call(methods.describeBrokers, request, true)).brokers;
  }

  /**
   * Asks whether a broker may be restarted, drained, given an empty disk, or removed: the answer is
   * a lease, or what is in the way. Asking again with the same holder is a renewal. Throws
   * STALE_BROKER_EPOCH for a restart of a broker that has registered anew.
   */
  async acquireMaintenance(wish: MaintenanceWish): Promise<AcquireMaintenanceResponse> {
    check.acquireMaintenance(wish);
    const request = create(AcquireMaintenanceRequestSchema, wish);
    // The same holder gets the same lease.
    return this.#call(methods.acquireMaintenance, request, true);
  }

  /**
   * Keeps a lease, and says whether its holder may act now: to be asked before every step that
   * takes something away. Throws MAINTENANCE_LEASE_LOST.
   */
  async renewMaintenance(held: HeldMaintenance): Promise<RenewMaintenanceResponse> {
    check.heldMaintenance("renewMaintenance", held);
    const { brokerId, token } = held;
    const request = create(RenewMaintenanceRequestSchema, { brokerId, token: BigInt(token) });
    return this.#call(methods.renewMaintenance, request, true);
  }

  /**
   * Gives back a lease, once its broker is back: until then the answer says what is missing. Throws
   * MAINTENANCE_LEASE_LOST.
   */
  async releaseMaintenance(release: MaintenanceRelease): Promise<ReleaseMaintenanceResponse> {
    check.releaseMaintenance(release);
    const { brokerId } = release;
    const which = "force" in release ? { force: release.force } : { token: BigInt(release.token) };
    const request = create(ReleaseMaintenanceRequestSchema, { brokerId, ...which });
    return this.#call(methods.releaseMaintenance, request);
  }

  /** All maintenance leases, in order of broker. */
  async listMaintenance(): Promise<MaintenanceLease[]> {
    const request = create(ListMaintenanceRequestSchema);
    return (await this.#call(methods.listMaintenance, request, true)).leases;
  }

  /**
   * A named offset, or that of the first record at or after a time. Undefined if no record matches.
   */
  async listOffset(
    lookup: OffsetLookup,
  ): Promise<{ offset: bigint; timestampMs: number | undefined } | undefined> {
    check.listOffset(lookup);
    const { topic, partition, at } = lookup;
    const ms = this.#timeoutMs;
    const found: FoundOffset | undefined = await listOffset(
      this.#context,
      topic,
      partition,
      at,
      ms,
    );
    return found && { offset: BigInt(found.offset), timestampMs: found.timestampMs };
  }

  /** Deletes the records before `beforeOffset` (absent: all); returns the new log start offset. */
  async deleteRecords(deletion: DeleteRecords): Promise<bigint> {
    check.deleteRecords(deletion);
    const { topic, partition, beforeOffset } = deletion;
    // The call may be repeated: without an offset it would delete what was written in between.
    const end = beforeOffset ?? (await this.listOffset({ topic, partition, at: "latest" }))?.offset;
    const before = end === undefined ? {} : { beforeOffset: BigInt(end) };
    return askLeader(this.#context, topic, partition, this.#timeoutMs, async (leader, leftMs) => {
      const request = create(DeleteRecordsRequestSchema, {
        partitions: [{ topicId: leader.topicId, topic, partition, ...before }],
      });
      const { connections } = this.#context;
      const options = { timeoutMs: leftMs };
      const { endpoint } = leader;
      const reply = await connections.unary(endpoint, methods.deleteRecords, request, options);
      const result = reply.results[0];
      if (result?.error !== undefined) throw fromWire(result.error);
      return result?.lowWatermark ?? 0n;
    });
  }

  /** Logs of the topics (all when none is named) on every live broker. */
  async describeLogs(
    of: { readonly topics?: readonly string[] } = {},
  ): Promise<Array<LogDescription & { readonly brokerId: number }>> {
    check.describeLogs(of);
    const { brokers } = await this.cluster();
    const request = create(DescribeLogsRequestSchema, { topics: [...(of.topics ?? [])] });
    const replies = await Promise.all(
      brokers.map(async ({ brokerId, endpoint }) => {
        const options = { timeoutMs: this.#timeoutMs };
        const { connections } = this.#context;
        const reply = await connections.unary(endpoint, methods.describeLogs, request, options);
        return reply.logs.map((log) => ({ ...log, brokerId }));
      }),
    );
    return replies.flat();
  }

  /** Asks a server for the brokers, the controller and the group coordinators. */
  async cluster(): Promise<ClusterDescription> {
    const { metadata } = this.#context;
    await metadata.refresh();
    const { clusterId, controller } = metadata;
    const brokers = metadata.brokers();
    return { clusterId, controller, brokers, coordinators: metadata.coordinators() };
  }

  /** Calls the active controller. Looks for it again, and retries, while the call had no effect. */
  async #call<I, O>(method: Method<I, O>, request: I, isRead = false): Promise<O> {
    const { clock, connections, metadata, random } = this.#context;
    const deadlineMs = clock.monoMs() + this.#timeoutMs;
    if (metadata.clusterId === "") await metadata.tryRefresh();
    for (let attempt = 0; ; attempt += 1) {
      // It may be known by the time of the answer, and another server was asked.
      const { hasController } = metadata;
      try {
        const timeoutMs = Math.max(1, deadlineMs - clock.monoMs());
        return await connections.unary(metadata.controller, method, request, { timeoutMs });
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        const pauseMs = backoffMs(attempt, random, error.retryAfterMs);
        const isOver = clock.monoMs() + pauseMs >= deadlineMs;
        const isOfBroker = !hasController && this.#isUnserved(error);
        if (isOver || !(isOfBroker || mayRepeat(error, isRead))) {
          // The next call must not go to a controller that is gone.
          if (wantsRefresh(error)) void metadata.renew();
          throw isOfBroker ? noController(this.#timeoutMs) : error;
        }
        await clock.sleep(pauseMs);
        await metadata.tryRefresh();
      }
    }
  }

  /** While a cluster has no controller a broker is asked, which serves no Admin calls. */
  #isUnserved({ code }: MillraceError): boolean {
    return code === ErrorCode.UNSUPPORTED_OPERATION && this.#context.metadata.clusterId !== "";
  }
}

const mayRepeat = ({ code, spec }: MillraceError, isRead: boolean): boolean => {
  if (code === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) return false;
  // The caller's view of a broker is old, and stays so until the caller looks again.
  if (code === ErrorCode.STALE_BROKER_EPOCH) return false;
  const { retriable, sideEffects } = spec;
  return retriable && (isRead || !sideEffects);
};
