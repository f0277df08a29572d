/** FetchOnce: one read per call, for callers that need no stream. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ReadResult } from "@millrace/log";
import {
  type FetchedRecord,
  type FetchOnceRequest,
  type FetchOnceResponse,
  FetchOnceResponseSchema,
} from "@millrace/proto/broker";
import { type RecordBatch, SegmentSchema } from "@millrace/proto/storage";
import { decodeRecords } from "@millrace/record";
import type { CallContext } from "@millrace/rpc";
import type { FetchContext } from "./fetch/session.ts";
import { batchesIn, recordSetOf } from "./latest/log-records.ts";
import { fetchedRecord } from "./latest/record-reader.ts";
import { limits } from "./limits.ts";
import { checkIsolation, requestOffset } from "./log-service.ts";
import type { Replica } from "./partitions/replica.ts";
import { progressOrTimeout } from "./progress.ts";

/** Reads once, waiting for `min_bytes` up to `max_wait_ms`. */
export const fetchOnce = async (
  context: FetchContext,
  request: FetchOnceRequest,
  call: CallContext,
): Promise<FetchOnceResponse> => {
  const replica = context.replicas.find(request);
  try {
    return await readOnce(context, replica, request, call);
  } catch (thrown) {
    context.metrics.onError(MillraceError.from(thrown));
    replica.meter.onError();
    throw thrown;
  }
};

const readOnce = async (
  context: FetchContext,
  replica: Replica,
  request: FetchOnceRequest,
  call: CallContext,
): Promise<FetchOnceResponse> => {
  const { epoch: leaderEpoch, log } = replica.requireLeader(request.leaderEpoch);
  const offset = requestOffset(request.offset);
  checkIsolation(request.isolation);
  if (request.maxWaitMs > limits.fetchWaitMsMax) {
    throw new MillraceError(
      ErrorCode.INVALID_REQUEST,
      `max_wait_ms is ${request.maxWaitMs}: send at most ${limits.fetchWaitMsMax}`,
    );
  }
  const maxBytes = Math.min(
    request.maxBytes || limits.fetchOnceBytesDefault,
    limits.fetchMessageBytesMax,
  );
  const minBytes = Math.min(Math.max(1, request.minBytes), maxBytes);
  const { clock } = context.appender;
  const endMs = clock.monoMs() + request.maxWaitMs;
  let result: ReadResult;
  for (;;) {
    result = await log.read(offset, maxBytes, "high_watermark");
    replica.requireLeader(leaderEpoch);
    const leftMs = endMs - clock.monoMs();
    if (result.bytes >= minBytes || leftMs <= 0 || call.signal.aborted) break;
    if (call.draining.aborted) break;
    await progressOrTimeout(clock, replica, leftMs, call);
  }
  if (result.bytes > 0) {
    const read = result.nextOffset - offset;
    context.metrics.onFetch(read, result.bytes);
    replica.meter.onFetch(read, result.bytes);
  }
  const batches = batchesOf(result);
  const records = request.decode ? await decode(context, result, offset) : [];
  return create(FetchOnceResponseSchema, {
    highWatermark: BigInt(result.highWatermark),
    logStartOffset: BigInt(result.logStartOffset),
    leaderEpoch,
    nextOffset: BigInt(result.nextOffset),
    records,
    batches: request.decode ? [] : batches,
  });
};

/** Stored batches are the batches of a Segment, and so of the response. */
const batchesOf = (result: ReadResult): RecordBatch[] =>
  result.bytes === 0 ? [] : fromBinary(SegmentSchema, Buffer.concat(result.chunks)).batches;

const decode = async (
  { compressor }: FetchContext,
  result: ReadResult,
  offset: number,
): Promise<FetchedRecord[]> => {
  const records: FetchedRecord[] = [];
  for (const { baseOffset, info, leaderEpoch } of batchesIn(result)) {
    const set = await recordSetOf(info, compressor);
    for (const record of decodeRecords(set, info.baseTimestampMs)) {
      const at = baseOffset + record.offsetDelta;
      if (at >= offset) records.push(fetchedRecord(record, at, leaderEpoch));
    }
  }
  return records;
};
