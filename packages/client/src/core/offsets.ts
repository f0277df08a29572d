/** Finding offsets: which leader to ask, and again when it moved. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { ListOffsetsRequestSchema, OffsetSpec } from "@millrace/proto/broker";
import { backoffMs } from "./backoff.ts";
import type { Connections } from "./connections.ts";
import { fromWire, isRetriable, wantsRefresh } from "./failures.ts";
import type { Leader, MetadataCache } from "./metadata.ts";
import { methods } from "./methods.ts";
import type { Position } from "./types.ts";

export interface CallContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly connections: Connections;
  readonly metadata: MetadataCache;
}

/** Offset found; undefined when no record matches. */
export interface FoundOffset {
  readonly offset: number;
  readonly timestampMs: number | undefined;
}

/**
 * Asks the leader of a partition, again with pauses while the failure is retriable and `timeoutMs` has
 * not passed. For calls that may be repeated.
 */
export const askLeader = async <T>(
  context: CallContext,
  topic: string,
  partition: number,
  timeoutMs: number,
  ask: (leader: Leader, leftMs: number) => Promise<T>,
): Promise<T> => {
  const { clock, metadata, random } = context;
  const deadlineMs = clock.monoMs() + timeoutMs;
  const info = await metadata.topic(topic);
  if (info.partitions[partition] === undefined) {
    throw new MillraceError(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      `topic ${JSON.stringify(topic)} has ${info.partitions.length} partitions, none is ` +
        `${partition}: check the number`,
    );
  }
  for (let attempt = 0; ; attempt += 1) {
    try {
      const leader = metadata.leaderOf(topic, partition);
      if (leader !== undefined) return await ask(leader, Math.max(1, deadlineMs - clock.monoMs()));
      throw new MillraceError(
        ErrorCode.LEADER_NOT_AVAILABLE,
        `${topic}-${partition} has no leader at the moment: retry when its brokers are back`,
      );
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      const pauseMs = backoffMs(attempt, random, error.retryAfterMs);
      if (!isRetriable(error) || clock.monoMs() + pauseMs >= deadlineMs) throw error;
      await clock.sleep(pauseMs);
      if (error.leaderHint !== undefined) metadata.applyHint(topic, partition, error.leaderHint);
      else if (wantsRefresh(error)) await metadata.tryRefresh();
    }
  }
};

interface Spec {
  readonly spec: OffsetSpec;
  readonly timestampMs?: bigint;
}

const listOne = (
  context: CallContext,
  topic: string,
  partition: number,
  spec: Spec,
  timeoutMs: number,
): Promise<FoundOffset | undefined> =>
  askLeader(context, topic, partition, timeoutMs, async (leader, leftMs) => {
    const query = { topicId: leader.topicId, topic, partition, ...spec };
    const reply = await context.connections
      .channel(leader.endpoint)
      .unary(methods.listOffsets, create(ListOffsetsRequestSchema, { queries: [query] }), {
        timeoutMs: leftMs,
      });
    const result = reply.results[0];
    if (result?.error !== undefined) throw fromWire(result.error);
    if (result?.offset === undefined) return undefined;
    const found = result.timestampMs;
    return {
      offset: Number(result.offset),
      timestampMs: found === undefined ? undefined : Number(found),
    };
  });

/** A named offset, or that of the first record at or after a time. */
export const listOffset = (
  context: CallContext,
  topic: string,
  partition: number,
  at: "earliest" | "latest" | "max_timestamp" | { readonly timestampMs: number },
  timeoutMs: number,
): Promise<FoundOffset | undefined> => {
  if (typeof at === "object") {
    const timestampMs = BigInt(Math.trunc(at.timestampMs));
    const spec = { spec: OffsetSpec.TIMESTAMP, timestampMs };
    return listOne(context, topic, partition, spec, timeoutMs);
  }
  const spec = {
    earliest: OffsetSpec.EARLIEST,
    latest: OffsetSpec.LATEST,
    max_timestamp: OffsetSpec.MAX_TIMESTAMP,
  }[at];
  return listOne(context, topic, partition, { spec }, timeoutMs);
};

/** The offset that a position means now. Throws INVALID_REQUEST for a negative number. */
export const resolvePosition = async (
  context: CallContext,
  topic: string,
  partition: number,
  position: Position,
  timeoutMs: number,
): Promise<number> => {
  const at = async (which: "earliest" | "latest"): Promise<number> =>
    (await listOffset(context, topic, partition, which, timeoutMs))?.offset ?? 0;
  if (typeof position === "string") return at(position);
  if ("offset" in position) return checked(Number(position.offset));
  if ("tail" in position) {
    const back = checked(position.tail);
    const [earliest, latest] = await Promise.all([at("earliest"), at("latest")]);
    return Math.max(earliest, latest - back);
  }
  checked(position.timestampMs);
  const found = await listOffset(context, topic, partition, position, timeoutMs);
  return found?.offset ?? at("latest");
};

const checked = (value: number): number => {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `position ${value} is not allowed: use a whole number from 0 to 2^53-1`,
  );
};
