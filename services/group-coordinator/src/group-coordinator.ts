/**
 * Composes a group coordinator: shards as partitions of an internal topic, served over any carrier.
 */
import { create } from "@bufbuild/protobuf";
import type { Env } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { type CreateTopicRequest, CreateTopicRequestSchema } from "@millrace/proto/controller";
import { GroupService } from "@millrace/proto/group";
import type { TopicId } from "@millrace/record";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import { ClusterEnds } from "./cluster/cluster-ends.ts";
import { ClusterLog } from "./cluster/cluster-log.ts";
import type { PartitionCalls } from "./cluster/partition-calls.ts";
import { makeTarget } from "./cluster/targets.ts";
import { topicsIn } from "./cluster/topics.ts";
import type { ClusterView } from "./cluster/view.ts";
import type { NamePattern, Topic } from "./group/types.ts";
import { Coordinator } from "./runtime/coordinator.ts";
import { GroupHandlers } from "./service/handlers.ts";
import { TopicPattern } from "./subscription/pattern.ts";

/** The topic that remembers groups. Its partitions are the shards. */
export const stateTopic = "__group_state";

export interface GroupCoordinatorOptions {
  readonly env: Env;
  readonly view: ClusterView;
  /** Reaches the leaders of partitions. */
  readonly calls: PartitionCalls;
  /** Makes the internal topic, if it is not there: one call of AdminService. */
  readonly createTopic: (request: CreateTopicRequest) => Promise<unknown>;
  readonly clusterId: string;
  readonly coordinatorId: number;
  /** Of the protocol, as brokers say it. */
  readonly featureLevel: number;
  /** Throws UNSUPPORTED_OPERATION for a feature that is not there. */
  readonly checkFeatures: (required: readonly string[]) => void;
  /** Partitions of the internal topic, where this coordinator makes it. */
  readonly shardCount: number;
  /** Offsets are kept so long after the last commit, or after the last member left. */
  readonly offsetsRetentionMs: number;
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

export class GroupCoordinator {
  readonly #options: GroupCoordinatorOptions;
  #coordinator: Coordinator | undefined;
  #handlers: Promise<GroupHandlers> | undefined;
  #isClosed = false;
  readonly #stopWatching: () => void;

  constructor(options: GroupCoordinatorOptions) {
    this.#options = options;
    const { view } = options;
    this.#stopWatching = view.onChange(({ changed, deleted }) => {
      if (changed.length > 0 || deleted.length > 0)
        this.#coordinator?.topicsChanged(topicsIn(view.current));
    });
  }

  /** The coordinator, once the internal topic is there. */
  get coordinator(): Coordinator | undefined {
    return this.#coordinator;
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

  close(): void {
    this.#isClosed = true;
    this.#stopWatching();
    this.#coordinator?.close();
    this.#options.calls.close();
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
    const { checkFeatures, featureLevel } = this.#options;
    const { clock, logger, random } = env;
    const { topicId, shardCount } = await this.#stateTopic();
    if (this.#isClosed)
      throw MillraceError.refusal(ErrorCode.SHUTTING_DOWN, "this coordinator is being stopped");
    const coordinator = new Coordinator({
      ...{ clock, logger, shardCount, patternOf, offsetsRetentionMs },
      topics: topicsIn(view.current),
      logOf: (partition) => new ClusterLog({ env, calls, topicId, partition }),
      assign: (request) => makeTarget(clock, request),
      hintOf: () => undefined,
    });
    this.#coordinator = coordinator;
    for (let shard = 0; shard < shardCount; shard += 1) coordinator.host(shard);
    return new GroupHandlers({
      ...{ clock, random, coordinator, clusterId, coordinatorId, featureLevel, checkFeatures },
      ...{ patternOf, ends: new ClusterEnds(calls, clock) },
    });
  }

  async #stateTopic(): Promise<{ readonly topicId: TopicId; readonly shardCount: number }> {
    const { env, view } = this.#options;
    const endMs = env.clock.monoMs() + topicMs;
    for (let isAsked = false; ; ) {
      const topic = view.current.topics.get(stateTopic);
      const shardCount = topic?.partitions.length ?? 0;
      // All records of a topic arrive at once.
      if (topic !== undefined && shardCount > 0) return { topicId: topic.id, shardCount };
      if (!isAsked) isAsked = await this.#createTopic();
      if (env.clock.monoMs() > endMs) {
        const message = `the topic ${stateTopic} cannot be made: is a controller active?`;
        throw MillraceError.refusal(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, message);
      }
      await env.clock.sleep(pauseMs);
    }
  }

  /** Returns false where no controller could be asked. */
  async #createTopic(): Promise<boolean> {
    const { createTopic, shardCount } = this.#options;
    const request = create(CreateTopicRequestSchema, {
      name: stateTopic,
      partitionCount: shardCount,
      configs: { "retention.ms": "-1", "retention.bytes": "-1" },
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
