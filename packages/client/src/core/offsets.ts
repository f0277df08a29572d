/** Looks up offsets at the leaders of partitions. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Random } from "@millrace/env";
import { ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import { ListOffsetsRequestSchema, OffsetSpec } from "@millrace/proto/broker";
import { backoffMs } from "./backoff.ts";
import type { Connections } from "./connections.ts";
import { leaderSilentMs } from "./deadlines.ts";
import { fromWire, isRetriable, isSilence, wantsRefresh } from "./failures.ts";
import type { Leader, MetadataCache } from "./metadata/index.ts";
import { methods } from "./methods.ts";
import type { Position } from "./types.ts";

export interface CallContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly connections: Connections;
  readonly metadata: MetadataCache;
}

/** An offset, and the timestamp of its record for lookups by time. */
export interface FoundOffset {
  readonly offset: number;
  readonly timestampMs: number | undefined;
}

/** An offset, and the id of the topic that it belongs to. */
export interface ResolvedPosition {
  readonly offset: number;
  readonly topicId: Uint8Array;
}

/**
 * Asks the leader of a partition. Retries with pauses while the error is retriable, for
 * `timeoutMs`; one attempt takes at most `leaderSilentMs`. Only for calls that may be repeated.
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
  let info = await metadata.topic(topic);
  // Partitions may have been added since the metadata was fetched.
  if (info.partitions[partition] === undefined) info = await metadata.freshTopic(topic);
  if (info.partitions[partition] === undefined) {
    throw new MillraceError(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      `topic ${JSON.stringify(topic)} has no partition ${partition}, only ` +
        `${info.partitions.length} partitions: check the partition number`,
    );
  }
  for (let attempt = 0; ; attempt += 1) {
    let leader: Leader | undefined;
    try {
      leader = metadata.leaderOf(topic, partition);
      const leftMs = Math.min(leaderSilentMs, Math.max(1, deadlineMs - clock.monoMs()));
      if (leader !== undefined) return await ask(leader, leftMs);
      throw new MillraceError(
        ErrorCode.LEADER_NOT_AVAILABLE,
        `${topic}-${partition} has no leader at the moment: check its brokers`,
      );
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      const pauseMs = backoffMs(attempt, random, error.retryAfterMs);
      if (!isRetriable(error) || clock.monoMs() + pauseMs >= deadlineMs) throw error;
      await clock.sleep(pauseMs);
      if (error.leaderHint !== undefined) metadata.applyHint(topic, partition, error.leaderHint);
      else if (isSilence(error)) await metadata.renew(leader && formatEndpoint(leader.endpoint));
      else if (wantsRefresh(error)) await metadata.renew();
    }
  }
};

interface Spec {
  readonly spec: OffsetSpec;
  readonly timestampMs?: bigint;
}

/** The answer of a leader. `found` is undefined when no record matches. */
interface Answer {
  readonly topicId: Uint8Array;
  readonly found: FoundOffset | undefined;
}

/** A named offset, or that of the first record at or after a time. */
export type OffsetQuery =
  | "earliest"
  | "latest"
  | "max_timestamp"
  | { readonly timestampMs: number };

const specOf = (at: OffsetQuery): Spec => {
  if (typeof at === "object") {
    return { spec: OffsetSpec.TIMESTAMP, timestampMs: BigInt(Math.trunc(at.timestampMs)) };
  }
  const spec = {
    earliest: OffsetSpec.EARLIEST,
    latest: OffsetSpec.LATEST,
    max_timestamp: OffsetSpec.MAX_TIMESTAMP,
  }[at];
  return { spec };
};

const askOffset = (
  context: CallContext,
  topic: string,
  partition: number,
  at: OffsetQuery,
  timeoutMs: number,
): Promise<Answer> =>
  askLeader(context, topic, partition, timeoutMs, async (leader, leftMs) => {
    const { topicId } = leader;
    const query = { topicId, topic, partition, ...specOf(at) };
    const { connections } = context;
    const request = create(ListOffsetsRequestSchema, { queries: [query] });
    const options = { timeoutMs: leftMs };
    const reply = await connections.unary(leader.endpoint, methods.listOffsets, request, options);
    const result = reply.results[0];
    if (result?.error !== undefined) throw fromWire(result.error);
    if (result?.offset === undefined) return { topicId, found: undefined };
    const time = result.timestampMs;
    const timestampMs = time === undefined ? undefined : Number(time);
    return { topicId, found: { offset: Number(result.offset), timestampMs } };
  });

/** Asks the leader for an offset. Undefined when no record matches. */
export const listOffset = async (
  context: CallContext,
  topic: string,
  partition: number,
  at: OffsetQuery,
  timeoutMs: number,
): Promise<FoundOffset | undefined> =>
  (await askOffset(context, topic, partition, at, timeoutMs)).found;

/** Resolves a position to an offset. Throws INVALID_REQUEST for a number out of range. */
export const resolvePosition = async (
  context: CallContext,
  topic: string,
  partition: number,
  position: Position,
  timeoutMs: number,
): Promise<ResolvedPosition> => {
  const ask = async (query: OffsetQuery): Promise<ResolvedPosition & { readonly any: boolean }> => {
    const { topicId, found } = await askOffset(context, topic, partition, query, timeoutMs);
    return { topicId, offset: found?.offset ?? 0, any: found !== undefined };
  };
  if (typeof position === "string") return ask(position);
  if ("offset" in position) {
    const offset = checked(Number(position.offset));
    return { offset, topicId: (await context.metadata.topic(topic)).topicId };
  }
  if ("tail" in position) {
    const back = checked(position.tail);
    const [earliest, latest] = await Promise.all([ask("earliest"), ask("latest")]);
    return { offset: Math.max(earliest.offset, latest.offset - back), topicId: latest.topicId };
  }
  checked(position.timestampMs);
  const found = await ask(position);
  return found.any ? found : ask("latest");
};

const checked = (value: number): number => {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `position ${value} is not allowed: use a whole number from 0 to 2^53-1`,
  );
};
