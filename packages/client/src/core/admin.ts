/** Topics, configs, logs and the cluster. */
import { create } from "@bufbuild/protobuf";
import { type Endpoint, ErrorCode, MillraceError } from "@millrace/errors";
import {
  DeleteRecordsRequestSchema,
  DescribeLogsRequestSchema,
  type LogDescription,
} from "@millrace/proto/broker";
import type { BrokerIntent } from "@millrace/proto/common";
import {
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
  ListPartitionReassignmentsRequestSchema,
  ListTopicsRequestSchema,
  type OngoingReassignment,
  SetBrokerIntentRequestSchema,
  type TopicDescription,
  type TopicListing,
} from "@millrace/proto/controller";
import type { Method } from "@millrace/rpc";
import { backoffMs } from "./backoff.ts";
import { fromWire, wantsRefresh } from "./failures.ts";
import type { BrokerInfo } from "./metadata/index.ts";
import { methods } from "./methods.ts";
import {
  askLeader,
  type CallContext,
  type FoundOffset,
  listOffset,
  type OffsetQuery,
} from "./offsets.ts";

/** A topic to create. Absent counts mean the cluster's defaults. */
export interface NewTopic {
  readonly name: string;
  readonly partitionCount?: number;
  readonly replicationFactor?: number;
  readonly configs?: Readonly<Record<string, string>>;
  /** True: check everything, create nothing. */
  readonly validateOnly?: boolean;
}

/** The cluster, as one server knows it. */
export interface ClusterDescription {
  readonly clusterId: string;
  /** Where Admin calls go: the controller, or a server that may know it. */
  readonly controller: Endpoint;
  readonly brokers: readonly BrokerInfo[];
}

/** Where a partition goes. */
export interface PartitionMove {
  readonly topic: string;
  readonly partition: number;
  /** The target, in order of preference; "cancel": back to the replicas of before. */
  readonly replicas: readonly number[] | "cancel";
}

/** What became of a move: recorded, or refused. */
export interface PartitionMoveResult {
  readonly topic: string;
  readonly partition: number;
  readonly error: MillraceError | undefined;
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

  constructor(context: CallContext, options: AdminOptions = {}) {
    this.#context = context;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  /** Creates a topic. Later calls of this client see it. */
  async createTopic(topic: NewTopic): Promise<{ topicId: Uint8Array; partitionCount: number }> {
    const { configs = {}, ...rest } = topic;
    const request = create(CreateTopicRequestSchema, { ...rest, configs: { ...configs } });
    const reply = await this.#call(methods.createTopic, request);
    this.#context.metadata.requireRevision(reply.revision);
    return { topicId: reply.topicId, partitionCount: reply.partitionCount };
  }

  /** Deletes a topic and all its records. */
  async deleteTopic(name: string): Promise<void> {
    const request = create(DeleteTopicRequestSchema, { name });
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
  async describeTopics(names: readonly string[]): Promise<TopicDescription[]> {
    const request = create(DescribeTopicsRequestSchema, { names: [...names] });
    return (await this.#call(methods.describeTopics, request, true)).topics;
  }

  /** Raises the number of partitions to `partitionCount`. */
  async createPartitions(name: string, partitionCount: number): Promise<void> {
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
  async electLeader(
    topic: string,
    partition: number,
    options: { readonly unclean?: { readonly leader?: number } } = {},
  ): Promise<{ leader: number; leaderEpoch: number }> {
    const { unclean } = options;
    const type = unclean === undefined ? ElectionType.PREFERRED : ElectionType.UNCLEAN;
    const request = create(ElectLeaderRequestSchema, { topic, partition, type, ...unclean });
    const reply = await this.#call(methods.electLeader, request);
    this.#context.metadata.requireRevision(reply.revision);
    return { leader: reply.leader, leaderEpoch: reply.leaderEpoch };
  }

  /** Sets configs of a topic, and resets those in `remove` to their defaults. */
  async alterConfigs(
    topic: string,
    change: {
      readonly set?: Readonly<Record<string, string>>;
      readonly remove?: readonly string[];
    },
  ): Promise<void> {
    const { set = {}, remove = [] } = change;
    const fields = { topic, set: { ...set }, remove: [...remove] };
    const request = create(AlterConfigsRequestSchema, fields);
    const reply = await this.#call(methods.alterConfigs, request);
    this.#context.metadata.requireRevision(reply.revision);
  }

  async describeConfigs(topic: string): Promise<ConfigEntry[]> {
    const request = create(DescribeConfigsRequestSchema, { topic });
    return (await this.#call(methods.describeConfigs, request, true)).configs;
  }

  /**
   * Moves replicas to other brokers, or cancels that. Answers in the order of `moves`, at most
   * 1,000, once the moves are recorded; `listPartitionReassignments` tells which go on.
   */
  async alterPartitionReassignments(
    moves: readonly PartitionMove[],
    options: { readonly validateOnly?: boolean } = {},
  ): Promise<PartitionMoveResult[]> {
    const partitions = moves.map(({ topic, partition, replicas }) =>
      replicas === "cancel"
        ? { topic, partition, cancel: true }
        : { topic, partition, replicas: [...replicas] },
    );
    const fields = { partitions, validateOnly: options.validateOnly ?? false };
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
  async setBrokerIntent(
    brokerId: number,
    intent: BrokerIntent,
    options: { readonly validateOnly?: boolean } = {},
  ): Promise<void> {
    const { validateOnly = false } = options;
    const request = create(SetBrokerIntentRequestSchema, { brokerId, intent, validateOnly });
    await this.#call(methods.setBrokerIntent, request);
  }

  /** All brokers with what is wanted of them, and what they have, as the controller knows it. */
  async describeBrokers(): Promise<BrokerDescription[]> {
    const request = create(DescribeBrokersRequestSchema);
    return (await this.#call(methods.describeBrokers, request, true)).brokers;
  }

  /**
   * A named offset, or that of the first record at or after a time. Undefined if no record matches.
   */
  async listOffset(
    topic: string,
    partition: number,
    at: OffsetQuery,
  ): Promise<{ offset: bigint; timestampMs: number | undefined } | undefined> {
    const found: FoundOffset | undefined = await listOffset(
      this.#context,
      topic,
      partition,
      at,
      this.#timeoutMs,
    );
    return found && { offset: BigInt(found.offset), timestampMs: found.timestampMs };
  }

  /** Deletes the records before `beforeOffset` (absent: all); returns the new log start offset. */
  async deleteRecords(topic: string, partition: number, beforeOffset?: bigint): Promise<bigint> {
    // The call may be repeated: without an offset it would delete what was written in between.
    const end = beforeOffset ?? (await this.listOffset(topic, partition, "latest"))?.offset;
    const before = end === undefined ? {} : { beforeOffset: end };
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
    topics: readonly string[] = [],
  ): Promise<Array<LogDescription & { readonly brokerId: number }>> {
    const { brokers } = await this.cluster();
    const request = create(DescribeLogsRequestSchema, { topics: [...topics] });
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

  /** Asks a server for the brokers and the controller. */
  async cluster(): Promise<ClusterDescription> {
    const { metadata } = this.#context;
    await metadata.refresh();
    const { clusterId, controller } = metadata;
    return { clusterId, controller, brokers: metadata.brokers() };
  }

  /** Calls the active controller. Looks for it again, and retries, while the call had no effect. */
  async #call<I, O>(method: Method<I, O>, request: I, isRead = false): Promise<O> {
    const { clock, connections, metadata, random } = this.#context;
    const deadlineMs = clock.monoMs() + this.#timeoutMs;
    if (metadata.clusterId === "") await metadata.tryRefresh();
    for (let attempt = 0; ; attempt += 1) {
      try {
        const timeoutMs = Math.max(1, deadlineMs - clock.monoMs());
        return await connections.unary(metadata.controller, method, request, { timeoutMs });
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        const pauseMs = backoffMs(attempt, random, error.retryAfterMs);
        const isOver = clock.monoMs() + pauseMs >= deadlineMs;
        if (isOver || !this.#mayRepeat(error, isRead)) {
          // The next call must not go to a controller that is gone.
          if (wantsRefresh(error)) void metadata.renew();
          throw this.#isOfBroker(error) ? noController(this.#timeoutMs) : error;
        }
        await clock.sleep(pauseMs);
        await metadata.tryRefresh();
      }
    }
  }

  #mayRepeat(error: MillraceError, isRead: boolean): boolean {
    const { retriable, sideEffects } = error.spec;
    if (error.code === ErrorCode.UNSUPPORTED_OPERATION) return this.#isOfBroker(error);
    if (error.code === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) return false;
    return retriable && (isRead || !sideEffects);
  }

  /** While a cluster has no controller a broker is asked, which serves no Admin calls. */
  #isOfBroker({ code }: MillraceError): boolean {
    const { clusterId, hasController } = this.#context.metadata;
    return code === ErrorCode.UNSUPPORTED_OPERATION && clusterId !== "" && !hasController;
  }
}
