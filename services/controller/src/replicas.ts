/** ReplicaService: what brokers ask of the active controller. */
import { create } from "@bufbuild/protobuf";
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { isOutcomeUnknown, keys } from "@millrace/metadata";
import {
  type AllocateProducerIdsRequest,
  type AllocateProducerIdsResponse,
  AllocateProducerIdsResponseSchema,
  type AlterPartition,
  type AlterPartitionResult,
  AlterPartitionResultSchema,
  type AlterPartitionsRequest,
  type AlterPartitionsResponse,
  AlterPartitionsResponseSchema,
  type ConfirmDeletionsRequest,
  type ConfirmDeletionsResponse,
  ConfirmDeletionsResponseSchema,
  type ConfirmRemovalsRequest,
  type ConfirmRemovalsResponse,
  ConfirmRemovalsResponseSchema,
  ReplicaService,
} from "@millrace/proto/controller";
import { type TopicId, topicIdOf } from "@millrace/record";
import { bindService, ofCluster, partitionError, type ServiceBinding } from "@millrace/rpc";
import { alteredPartition } from "./alter-partition.ts";
import type { ClusterState } from "./cluster-state.ts";
import { type GuardedChange, writeChanges } from "./guarded-changes.ts";
import { type HeartbeatStream, serveHeartbeats } from "./heartbeats/session.ts";
import type { BrokerWatch } from "./heartbeats/watch.ts";
import { Lanes } from "./lanes.ts";
import { replicaLimits } from "./limits.ts";
import type { ProducerIdBlocks } from "./producer-ids.ts";
import { callerOf } from "./registered-caller.ts";
import type { Write } from "./reign.ts";
import type { Removal } from "./removals.ts";

export interface ReplicaHandlersOptions {
  readonly clusterId: string;
  readonly clock: Clock;
  /** The process whose reign guards every write, and what its mirror has read. */
  readonly active: {
    /** Throws NOT_CONTROLLER when it is not the active controller. */
    writeOfReign(): Write;
    /** Throws NOT_CONTROLLER as well. */
    watchOfReign(): BrokerWatch;
    readonly state: ClusterState;
    waitForRevision(revision: number, timeoutMs: number): Promise<boolean>;
  };
  /** See `Controller.deletionDone`. */
  readonly deletionDone: (topicId: TopicId, brokerId: number) => Promise<void>;
  /** See `Controller.removalsDone`. */
  readonly removalsDone: (brokerId: number, removals: readonly Removal[]) => Promise<void>;
  readonly producerIds: ProducerIdBlocks;
}

/** A change that is to be written, and its place in the answer. */
interface Altered extends GuardedChange {
  readonly index: number;
}

const invalid = (message: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, message);

/** Throws INVALID_REQUEST. */
const checkedId = (topicId: Uint8Array): TopicId => {
  if (topicId.length === 16) return topicIdOf(topicId);
  throw invalid(`a topic id of ${topicId.length} bytes: send the 16 bytes of the metadata`);
};

/** Keys of the partitions, in order. Throws INVALID_REQUEST. */
const keysOf = (partitions: readonly AlterPartition[]): string[] => {
  const { partitionsPerCallMax: max } = replicaLimits;
  if (partitions.length > max) {
    throw invalid(`${partitions.length} partitions in one call: send at most ${max}`);
  }
  const names = partitions.map(({ topicId, partition }) =>
    keys.partition(checkedId(topicId), partition),
  );
  if (new Set(names).size === names.length) return names;
  throw invalid("a partition is in the request twice: send one change of it");
};

const made = (revision: number): AlterPartitionResult =>
  create(AlterPartitionResultSchema, { modRevision: BigInt(revision) });

const failed = (error: MillraceError): AlterPartitionResult =>
  create(AlterPartitionResultSchema, { error: partitionError(error) });

const changedMeanwhile = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.METADATA_STALE,
    "the record, or the registration of a replica, has changed meanwhile: decide again",
  );

export class ReplicaHandlers {
  readonly #options: ReplicaHandlersOptions;
  readonly #lanes = new Lanes(replicaLimits.callsPerBrokerMax);

  constructor(options: ReplicaHandlersOptions) {
    this.#options = options;
  }

  bindings(): ServiceBinding[] {
    const service = bindService(ReplicaService, {
      alterPartitions: (request: AlterPartitionsRequest) => this.alterPartitions(request),
      confirmDeletions: (request: ConfirmDeletionsRequest) => this.confirmDeletions(request),
      confirmRemovals: (request: ConfirmRemovalsRequest) => this.confirmRemovals(request),
      allocateProducerIds: (request: AllocateProducerIdsRequest) =>
        this.allocateProducerIds(request),
      heartbeat: (stream: HeartbeatStream) => this.heartbeat(stream),
    });
    return [ofCluster(service, () => this.#options.clusterId)];
  }

  /**
   * Changes in-sync replicas; see `alteredPartition` for the refusals of one partition.
   *
   * The calls of one broker are judged and written in order of arrival; those of different brokers
   * side by side, since a partition has one leader. Only a registered broker has a place to wait,
   * and a bounded number of them, so there are never more calls than brokers allow.
   *
   * The whole call fails with NOT_CONTROLLER, STALE_BROKER_EPOCH, INVALID_REQUEST or
   * ADMISSION_REJECTED when nothing was done, and with UNAVAILABLE when some of its changes may
   * have been made.
   */
  async alterPartitions(request: AlterPartitionsRequest): Promise<AlterPartitionsResponse> {
    const { active } = this.#options;
    active.writeOfReign();
    callerOf(request, active.state);
    const names = keysOf(request.partitions);
    return this.#lanes.run(request.brokerId, () => this.#alter(request, names));
  }

  /** Records that a broker has nothing left of deleted topics. */
  async confirmDeletions({
    brokerId,
    topicIds,
  }: ConfirmDeletionsRequest): Promise<ConfirmDeletionsResponse> {
    const { active, deletionDone } = this.#options;
    active.writeOfReign();
    const { topicsPerCallMax: max } = replicaLimits;
    if (topicIds.length > max) {
      throw invalid(`${topicIds.length} topics in one call: send at most ${max}`);
    }
    const checked = topicIds.map(checkedId);
    for (const topicId of checked) await deletionDone(topicId, brokerId);
    return create(ConfirmDeletionsResponseSchema, {});
  }

  /** Records that a broker has no logs of partitions any more that it was removed from. */
  async confirmRemovals({
    brokerId,
    partitions,
  }: ConfirmRemovalsRequest): Promise<ConfirmRemovalsResponse> {
    const { active, removalsDone } = this.#options;
    active.writeOfReign();
    const { removalsPerCallMax: max } = replicaLimits;
    if (partitions.length > max) {
      throw invalid(`${partitions.length} partitions in one call: send at most ${max}`);
    }
    const removals = partitions.map(({ topicId, partition, leaderEpoch }) => ({
      ...{ topicId: checkedId(topicId), partition, leaderEpoch },
    }));
    await removalsDone(brokerId, removals);
    return create(ConfirmRemovalsResponseSchema, {});
  }

  /**
   * Gives a registered broker a block of producer ids; see `ProducerIdBlocks.allocate`. Throws
   * STALE_BROKER_EPOCH as well.
   */
  async allocateProducerIds(
    request: AllocateProducerIdsRequest,
  ): Promise<AllocateProducerIdsResponse> {
    const { active, producerIds } = this.#options;
    active.writeOfReign();
    const { brokerId } = callerOf(request, active.state);
    const { first, count } = await producerIds.allocate(brokerId);
    const fields = { firstProducerId: BigInt(first), producerIdCount: count };
    return create(AllocateProducerIdsResponseSchema, fields);
  }

  /** Hears the beats of one broker until it or the reign ends. */
  heartbeat(stream: HeartbeatStream): Promise<void> {
    const { active, clock, clusterId } = this.#options;
    return serveHeartbeats(stream, { clock, clusterId, watch: () => active.watchOfReign() });
  }

  async #alter(
    request: AlterPartitionsRequest,
    names: readonly string[],
  ): Promise<AlterPartitionsResponse> {
    const { active } = this.#options;
    const write = active.writeOfReign();
    const { state } = active;
    const caller = callerOf(request, state);
    const altered: Altered[] = [];
    const results = request.partitions.map((change, index): AlterPartitionResult => {
      const key = names[index] ?? "";
      const partition = state.partitions.get(key);
      const modRevision = partition?.modRevision ?? 0;
      const decided = alteredPartition(partition, change, caller, state);
      if (decided.kind === "refused") return failed(decided.error);
      if (decided.kind === "changed") altered.push({ ...decided, key, modRevision, index });
      return made(modRevision);
    });
    const revision = await this.#write(write, altered, results);
    // The next call of this broker is judged by what this one has written.
    await active.waitForRevision(revision, replicaLimits.mirrorWaitMsMax);
    return create(AlterPartitionsResponseSchema, { results });
  }

  /** Fills in the results of what it writes. Returns the revision that has all of it. */
  async #write(
    write: Write,
    altered: readonly Altered[],
    results: AlterPartitionResult[],
  ): Promise<number> {
    let newest = 0;
    try {
      await writeChanges(write, altered, {
        onWritten: (changes, revision) => {
          newest = revision;
          for (const { index } of changes) results[index] = made(revision);
        },
        onConflict: ({ index }) => {
          results[index] = failed(changedMeanwhile());
        },
      });
      return newest;
    } catch (thrown) {
      const mayBeMade = newest > 0 || isOutcomeUnknown(thrown);
      if (!mayBeMade || !(thrown instanceof MillraceError)) throw thrown;
      throw new MillraceError(
        ErrorCode.UNAVAILABLE,
        `some changes of in-sync replicas may have been made: read the metadata (${thrown.message})`,
        { cause: thrown },
      );
    }
  }
}
