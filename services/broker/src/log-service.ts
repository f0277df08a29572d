/** The unary calls on logs: ListOffsets, DeleteRecords, DescribeLogs. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { PartitionLog, TimestampOffset } from "@millrace/log";
import {
  type DeleteRecordsPartition,
  type DeleteRecordsRequest,
  type DeleteRecordsResponse,
  DeleteRecordsResponseSchema,
  type DescribeLogsRequest,
  type DescribeLogsResponse,
  DescribeLogsResponseSchema,
  type ListOffsetsQuery,
  type ListOffsetsRequest,
  type ListOffsetsResponse,
  ListOffsetsResponseSchema,
  OffsetSpec,
} from "@millrace/proto/broker";
import { Isolation } from "@millrace/proto/common";
import { topicIdBytes } from "@millrace/record";
import { partitionError } from "@millrace/rpc";
import { limits } from "./limits.ts";
import type { Replica } from "./partitions/replica.ts";
import type { ReplicaManager } from "./partitions/replica-manager.ts";

const capPartitions = (count: number): void => {
  if (count <= limits.partitionsPerCallMax) return;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `${count} partitions in one call: send at most ${limits.partitionsPerCallMax}`,
  );
};

/** A 64-bit offset of a request as a number. Offsets that no log can reach are out of range. */
export const requestOffset = (value: bigint): number => {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new MillraceError(
    ErrorCode.OFFSET_OUT_OF_RANGE,
    `offset ${value} is past the end of any log: reset the position`,
  );
};

/**
 * Throws INVALID_REQUEST for an unknown isolation. Until there are transactions, all known ones
 * read the same records.
 */
export const checkIsolation = (isolation: Isolation): void => {
  if (Isolation[isolation] !== undefined) return;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `isolation ${isolation} is unknown: use read uncommitted, or read committed`,
  );
};

const found = (result: TimestampOffset | undefined) =>
  result === undefined
    ? {}
    : {
        offset: BigInt(result.offset),
        timestampMs: BigInt(result.timestampMs),
        leaderEpoch: result.leaderEpoch,
      };

/** The handlers. Each reads one synchronous snapshot of a log, or waits for its I/O. */
export class LogServiceHandlers {
  readonly #replicas: ReplicaManager;
  readonly #diskFreeBytes: () => number | undefined;

  /** `diskFreeBytes`: as of the last look. */
  constructor(replicas: ReplicaManager, diskFreeBytes: () => number | undefined) {
    this.#replicas = replicas;
    this.#diskFreeBytes = diskFreeBytes;
  }

  async listOffsets(request: ListOffsetsRequest): Promise<ListOffsetsResponse> {
    capPartitions(request.queries.length);
    checkIsolation(request.isolation);
    const results: Array<Record<string, unknown>> = [];
    for (const query of request.queries) {
      try {
        results.push(await this.#listOne(query));
      } catch (thrown) {
        results.push({ error: partitionError(thrown) });
      }
    }
    return create(ListOffsetsResponseSchema, { results });
  }

  async #listOne(query: ListOffsetsQuery): Promise<Record<string, unknown>> {
    const replica = this.#replicas.find(query);
    const leader = replica.requireLeader(query.leaderEpoch);
    const { epoch: leaderEpoch, log } = leader;
    switch (query.spec) {
      case OffsetSpec.UNSPECIFIED:
      case OffsetSpec.LATEST:
        return { offset: BigInt(leader.latestOffset()), leaderEpoch };
      case OffsetSpec.EARLIEST:
        return { offset: BigInt(log.logStartOffset), leaderEpoch };
      case OffsetSpec.MAX_TIMESTAMP:
        return this.#foundBy(replica, leaderEpoch, await log.maxTimestamp());
      case OffsetSpec.TIMESTAMP: {
        const timestampMs = Math.max(0, Number(query.timestampMs));
        return this.#foundBy(replica, leaderEpoch, await log.offsetForTimestamp(timestampMs));
      }
      default:
        throw new MillraceError(
          ErrorCode.INVALID_REQUEST,
          `offset spec ${query.spec} is unknown: see OffsetSpec`,
        );
    }
  }

  /** An answer of the leader of `epoch`, if it still leads and can tell. */
  #foundBy(replica: Replica, epoch: number, result: TimestampOffset | undefined) {
    const leader = replica.requireLeader(epoch);
    // That there is no such record says how far the log is readable, as the latest offset does.
    if (result === undefined) leader.latestOffset();
    return found(result);
  }

  async deleteRecords(request: DeleteRecordsRequest): Promise<DeleteRecordsResponse> {
    capPartitions(request.partitions.length);
    const results: Array<Record<string, unknown>> = [];
    for (const partition of request.partitions) {
      try {
        results.push({ lowWatermark: BigInt(await this.#deleteOne(partition)) });
      } catch (thrown) {
        results.push({ error: partitionError(thrown) });
      }
    }
    return create(DeleteRecordsResponseSchema, { results });
  }

  async #deleteOne(partition: DeleteRecordsPartition): Promise<number> {
    const replica = this.#replicas.find(partition);
    const leader = replica.requireLeader(undefined);
    const { log } = leader;
    const { compactionEnabled, retentionEnabled } = log.config;
    if (compactionEnabled && !retentionEnabled) throw keepsLatest(log);
    const before =
      partition.beforeOffset === undefined
        ? leader.latestOffset()
        : requestOffset(partition.beforeOffset);
    // An earlier leader may have told a higher one: nobody knows yet that it is too high.
    if (before > log.highWatermark) leader.latestOffset();
    await log.advanceLogStart(before);
    return log.logStartOffset;
  }

  async describeLogs(request: DescribeLogsRequest): Promise<DescribeLogsResponse> {
    const wanted = new Set(request.topics);
    const logs = [];
    for (const replica of this.#replicas.replicas()) {
      const { log, topic } = replica;
      if (log === undefined) continue;
      if (wanted.size === 0 || wanted.has(topic)) logs.push(describe(replica, log));
    }
    const freeBytes = this.#diskFreeBytes();
    return create(DescribeLogsResponseSchema, {
      logs,
      ...(freeBytes === undefined ? {} : { diskFreeBytes: BigInt(freeBytes) }),
    });
  }
}

/** Kafka's rule: the latest record of every key is there for as long as nobody deletes the key. */
const keepsLatest = ({ topic, partition }: PartitionLog): MillraceError =>
  MillraceError.refusal(
    ErrorCode.POLICY_VIOLATION,
    `${topic}-${partition} keeps the latest record of every key (cleanup.policy=compact): delete ` +
      "keys by records without a value, or set cleanup.policy to compact,delete",
  );

const describe = ({ topic, topicId, view }: Replica, log: PartitionLog) => {
  const offline =
    log.state.kind === "online"
      ? {}
      : {
          error: partitionError(
            new MillraceError(
              log.state.kind === "offline" ? ErrorCode.PARTITION_OFFLINE : ErrorCode.STORAGE_ERROR,
              log.state.reason,
            ),
          ),
        };
  return {
    topic,
    topicId: topicIdBytes(topicId),
    partition: view.partition,
    logStartOffset: BigInt(log.logStartOffset),
    highWatermark: BigInt(log.highWatermark),
    logEndOffset: BigInt(log.logEndOffset),
    sizeBytes: BigInt(log.sizeBytes),
    segmentCount: log.segmentCount,
    leaderEpoch: view.leaderEpoch,
    ...offline,
  };
};
