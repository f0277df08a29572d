/**
 * Composes a group coordinator: shards as partitions of an internal topic, served over any carrier.
 */
import { create } from "@bufbuild/protobuf";
import { type ClusterView, checkFeatures, featureLevel, type GroupShards } from "@millrace/broker";
import type { Env } from "@millrace/env";
import { ErrorCode, hasCode, type LeaderHint, MillraceError } from "@millrace/errors";
import { groupStateTopic } from "@millrace/metadata";
import { type CreateTopicRequest, CreateTopicRequestSchema } from "@millrace/proto/controller";
import { GroupService } from "@millrace/proto/group";
import type { TopicId } from "@millrace/record";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import { ClusterEnds } from "./cluster/cluster-ends.ts";
import { ClusterLog } from "./cluster/cluster-log.ts";
import type { PartitionCalls } from "./cluster/partition-calls.ts";
import { makeTarget } from "./cluster/targets.ts";
import { topicsIn } from "./cluster/topics.ts";
import type { NamePattern, Topic } from "./group/types.ts";
import type { GroupMetrics } from "./metrics.ts";
import { Coordinator, type CoordinatorState, idle } from "./runtime/coordinator.ts";
import { GroupHandlers } from "./service/handlers.ts";
import { TopicPattern } from "./subscription/pattern.ts";

export interface GroupCoordinatorOptions {
  readonly env: Omit<Env, "disk">;
  readonly view: ClusterView;
  /** Reaches the leaders of partitions. */
  readonly calls: PartitionCalls;
  /** Makes the internal topic, if it is not there: one call of AdminService. */
  readonly createTopic: (request: CreateTopicRequest) => Promise<unknown>;
  readonly clusterId: string;
  readonly coordinatorId: number;
  /** Partitions of the internal topic, where this coordinator makes it. */
  readonly shardCount: number;
  /** Offsets are kept so long after the last commit, or after the last member left. */
  readonly offsetsRetentionMs: number;
  readonly metrics?: GroupMetrics;
  /** Shares the shards among the registered coordinators. Without it this one serves them all. */
  readonly shards?: GroupShards;
  /** See `CoordinatorSetup`. */
  readonly caughtUp?: () => Promise<unknown>;
}

/** Throws INVALID_REGULAR_EXPRESSION. */
const patternOf = (text: string): NamePattern => {
  const pattern = TopicPattern.parse(text);
  const named = function* (topics: Iterable<Topic>) {
    for (const { name, topicId } of topics) yield { id: topicId, name };
  };
  return { text, matching: (topics) => pattern.topicIds(named(topics)) };
};

/** Longest wait for the internal topic, ms. */
const topicMs = 10_000;
/** Pause between two looks, ms. */
const pauseMs = 50;

/** Of each group what counts is the latest. Segments are those of Kafka's offsets. */
const stateConfigs = {
  "cleanup.policy": "compact",
  "segment.bytes": String(100 * 1024 * 1024),
  ...{ "retention.ms": "-1", "retention.bytes": "-1" },
};

export class GroupCoordinator {
  readonly #options: GroupCoordinatorOptions;
  #coordinator: Coordinator | undefined;
  #handlers: Promise<GroupHandlers> | undefined;
  #isStarted = false;
  #isClosed = false;
  readonly #stopWatching: () => void;

  constructor(options: GroupCoordinatorOptions) {
    this.#options = options;
    const { view } = options;
    this.#stopWatching = view.onChange(({ changed, coordinatorsChanged, deleted }) => {
      if (changed.length > 0 || deleted.length > 0)
        this.#coordinator?.topicsChanged(topicsIn(view.current));
      if (coordinatorsChanged) this.#share();
      if (changed.includes(groupStateTopic)) this.#beginIfKnown();
    });
  }

  /** For metrics. */
  get state(): CoordinatorState {
    return this.#coordinator?.state ?? idle;
  }

  /** The services for clients. */
  bindings(): ServiceBinding[] {
    const service = bindService(GroupService, {
      join: async (stream) => (await this.#ready()).join(stream),
      commitOffsets: async (request) => (await this.#ready()).commitOffsets(request),
      fetchOffsets: async (request) => (await this.#ready()).fetchOffsets(request),
      listGroups: async (request) => (await this.#ready()).listGroups(request),
      describeGroup: async (request) => (await this.#ready()).describeGroup(request),
      resetOffsets: async (request) => (await this.#ready()).resetOffsets(request),
      deleteGroup: async (request) => (await this.#ready()).deleteGroup(request),
    });
    return [ofCluster(service, () => this.#options.clusterId)];
  }

  /** Serves its shards from now on, also before a call needs them. */
  start(): void {
    this.#isStarted = true;
    this.#beginIfKnown();
  }

  close(): void {
    this.#isClosed = true;
    this.#stopWatching();
    this.#coordinator?.close();
    this.#options.calls.close();
  }

  #beginIfKnown(): void {
    if (!this.#isStarted || !this.#options.view.current.topics.has(groupStateTopic)) return;
    // The next call, or the next change of the topic, tries again.
    this.#ready().catch(() => {});
  }

  /** The first call that needs groups makes the internal topic. */
  #ready(): Promise<GroupHandlers> {
    this.#handlers ??= this.#begin().catch((thrown: unknown) => {
      this.#handlers = undefined;
      throw thrown;
    });
    return this.#handlers;
  }

  async #begin(): Promise<GroupHandlers> {
    const { calls, clusterId, coordinatorId, env, offsetsRetentionMs, view } = this.#options;
    const { caughtUp, metrics } = this.#options;
    const { clock, logger, random } = env;
    const { topicId, shardCount } = await this.#stateTopic();
    if (this.#isClosed)
      throw MillraceError.refusal(ErrorCode.SHUTTING_DOWN, "this coordinator is being stopped");
    const coordinator = new Coordinator({
      ...{ clock, logger, shardCount, patternOf, offsetsRetentionMs },
      topics: topicsIn(view.current),
      logOf: (partition) => new ClusterLog({ env, calls, topicId, partition }),
      assign: (request) => makeTarget(clock, request),
      hintOf: (shard) => this.#hintOf(shard, shardCount),
      ...(caughtUp && { caughtUp }),
      ...(metrics && { metrics }),
    });
    this.#coordinator = coordinator;
    this.#share();
    return new GroupHandlers({
      ...{ clock, random, coordinator, clusterId, coordinatorId, featureLevel, checkFeatures },
      ...{ patternOf, ends: new ClusterEnds(calls, clock) },
    });
  }

  /** Hosts the shards of this coordinator, and drops the others. */
  #share(): void {
    const coordinator = this.#coordinator;
    if (coordinator === undefined || this.#isClosed) return;
    const { coordinatorId, shards, view } = this.#options;
    const { shardCount } = coordinator;
    for (let shard = 0; shard < shardCount; shard += 1) {
      const of = shards?.coordinatorOf(view.current, shard, shardCount);
      if (shards === undefined || of?.coordinatorId === coordinatorId) coordinator.host(shard);
      else coordinator.drop(shard);
    }
  }

  #hintOf(shard: number, shardCount: number): LeaderHint | undefined {
    const { coordinatorId, shards, view } = this.#options;
    const { current } = view;
    const of = shards?.coordinatorOf(current, shard, shardCount);
    if (of?.endpoint === undefined || of.coordinatorId === coordinatorId) return undefined;
    const { coordinatorId: brokerId, endpoint } = of;
    return { brokerId, leaderEpoch: 0, endpoint, metadataRevision: BigInt(current.revision) };
  }

  async #stateTopic(): Promise<{ readonly topicId: TopicId; readonly shardCount: number }> {
    const { env, view } = this.#options;
    const endMs = env.clock.monoMs() + topicMs;
    for (let isAsked = false; ; ) {
      const topic = view.current.topics.get(groupStateTopic);
      const shardCount = topic?.partitions.length ?? 0;
      // All records of a topic arrive at once.
      if (topic !== undefined && shardCount > 0) return { topicId: topic.id, shardCount };
      if (!isAsked) isAsked = await this.#createTopic();
      if (env.clock.monoMs() > endMs) {
        const message = `the topic ${groupStateTopic} cannot be made: is a controller active?`;
        throw MillraceError.refusal(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, message);
      }
      await env.clock.sleep(pauseMs);
    }
  }

  /** Returns false where no controller could be asked. */
  async #createTopic(): Promise<boolean> {
    const { createTopic, shardCount } = this.#options;
    const request = create(CreateTopicRequestSchema, {
      name: groupStateTopic,
      partitionCount: shardCount,
      configs: stateConfigs,
    });
    try {
      await createTopic(request);
      return true;
    } catch (thrown) {
      if (hasCode(thrown, ErrorCode.TOPIC_ALREADY_EXISTS)) return true;
      if (!MillraceError.from(thrown).spec.retriable) throw thrown;
      return false;
    }
  }
}
