/** ProduceOnce and FetchOnce: one call each, for callers that want no stream. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ReadResult } from "@millrace/log";
import {
  type FetchedRecord,
  FetchedRecordSchema,
  type FetchOnceRequest,
  type FetchOnceResponse,
  FetchOnceResponseSchema,
  type ProduceOnceRequest,
  type ProduceOnceResponse,
  ProduceOnceResponseSchema,
} from "@millrace/proto/broker";
import { Acks } from "@millrace/proto/common";
import {
  type RecordBatch,
  type Record as RecordMessage,
  SegmentSchema,
} from "@millrace/proto/storage";
import { BatchBuilder, decodeRecords, parseBody, readStored } from "@millrace/record";
import type { CallContext } from "@millrace/rpc";
import type { FetchContext } from "./fetch/session.ts";
import { limits } from "./limits.ts";
import { checkIsolation, requestOffset } from "./log-service.ts";
import type { Replica } from "./partitions/replica.ts";
import type { Appender } from "./produce/appender.ts";

const invalid = (what: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, what);

const knownAcks = new Set<Acks>([Acks.ALL, Acks.LEADER, Acks.NONE]);

/** Appends one batch. Resolves as the acks ask; rejects with the append's error. */
export const produceOnce = async (
  appender: Appender,
  request: ProduceOnceRequest,
): Promise<ProduceOnceResponse> => {
  appender.checkClient(request.clientId, "");
  const acks = request.acks === Acks.UNSPECIFIED ? Acks.ALL : request.acks;
  if (!knownAcks.has(acks))
    throw invalid(`acks ${request.acks} is unknown: use all, leader or none`);
  const { body, bodyCrc } = batchOf(request, appender.clock.wallMs());
  await appender.waitForCapacity();
  const { topicId, topic, partition, leaderEpoch } = request;
  const target = { topicId, topic, partition, leaderEpoch, bodyCrc };
  const outcome = await new Promise<Parameters<Parameters<Appender["append"]>[3]>[0]>((resolve) => {
    appender.append(target, body, acks, resolve);
  });
  if ("error" in outcome) throw outcome.error;
  return create(ProduceOnceResponseSchema, {
    baseOffset: BigInt(outcome.baseOffset),
    appendTimeMs: BigInt(outcome.appendTimeMs),
    logStartOffset: BigInt(outcome.logStartOffset),
    guarantee: outcome.guarantee,
    duplicate: outcome.duplicate,
  });
};

const batchOf = (
  request: ProduceOnceRequest,
  nowMs: number,
): { readonly body: Uint8Array; readonly bodyCrc: number | undefined } => {
  const { batch, records } = request;
  if (batch !== undefined && records.length > 0)
    throw invalid("batch and records: send one of them");
  if (batch !== undefined) {
    return { body: batch.body ?? new Uint8Array(0), bodyCrc: batch.bodyCrc32c };
  }
  if (records.length === 0) throw invalid("no records: send at least one");
  const builder = new BatchBuilder();
  for (const record of records) builder.append(inputOf(record, nowMs));
  return { body: builder.finishPlain(), bodyCrc: undefined };
};

const inputOf = (record: RecordMessage, nowMs: number) => ({
  key: record.key,
  value: record.value,
  timestampMs: record.timestampDeltaMs === undefined ? nowMs : Number(record.timestampDeltaMs),
  headers: record.headers.map(({ name, value }) => ({ name: name ?? "", value })),
});

/** Reads once, waiting for `min_bytes` up to `max_wait_ms`. */
export const fetchOnce = async (
  context: FetchContext,
  request: FetchOnceRequest,
  call: CallContext,
): Promise<FetchOnceResponse> => {
  const replica = context.replicas.find(request);
  const leaderEpoch = replica.requireLeader(request.leaderEpoch);
  const offset = requestOffset(request.offset);
  checkIsolation(request.isolation);
  if (request.maxWaitMs > limits.fetchWaitMsMax) {
    throw invalid(`max_wait_ms is ${request.maxWaitMs}: send at most ${limits.fetchWaitMsMax}`);
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
    result = await replica.log.read(offset, maxBytes, "high_watermark");
    replica.requireLeader(leaderEpoch);
    const leftMs = endMs - clock.monoMs();
    if (result.bytes >= minBytes || leftMs <= 0 || call.signal.aborted) break;
    if (call.draining.aborted) break;
    await progressOrTimeout(context, replica, leftMs, call);
  }
  context.metrics.onFetch(result.bytes);
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

const progressOrTimeout = (
  context: FetchContext,
  replica: Replica,
  ms: number,
  call: CallContext,
): Promise<void> =>
  new Promise((resolve) => {
    const settle = (): void => {
      cancel();
      stop();
      call.signal.removeEventListener("abort", settle);
      call.draining.removeEventListener("abort", settle);
      resolve();
    };
    const cancel = context.appender.clock.timer(ms, settle);
    const stop = replica.onceProgress(settle);
    call.signal.addEventListener("abort", settle);
    call.draining.addEventListener("abort", settle);
  });

/** Stored batches are the batches of a Segment, and so of the response. */
const batchesOf = (result: ReadResult): RecordBatch[] =>
  result.bytes === 0 ? [] : fromBinary(SegmentSchema, Buffer.concat(result.chunks)).batches;

const decode = async (
  context: FetchContext,
  result: ReadResult,
  offset: number,
): Promise<FetchedRecord[]> => {
  const bytes = Buffer.concat(result.chunks);
  const records: FetchedRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    const batch = readStored(bytes, at);
    if ("fault" in batch) {
      throw new MillraceError(ErrorCode.INTERNAL, "a read returned no whole batch");
    }
    const info = parseBody(bytes.subarray(batch.bodyStart, batch.bodyEnd));
    const set =
      info.compression === "none"
        ? info.records
        : await context.compressor.decompress(
            info.compression,
            info.records,
            limits.inflatedBytesMax,
          );
    for (const record of decodeRecords(set, info.baseTimestampMs)) {
      const recordOffset = batch.baseOffset + record.offsetDelta;
      if (recordOffset < offset) continue;
      records.push(
        create(FetchedRecordSchema, {
          offset: BigInt(recordOffset),
          timestampMs: BigInt(record.timestampMs),
          ...(record.key === undefined ? {} : { key: record.key }),
          ...(record.value === undefined ? {} : { value: record.value }),
          headers: record.headers.map(({ name, value }) => ({
            name,
            ...(value === undefined ? {} : { value }),
          })),
          leaderEpoch: batch.leaderEpoch,
        }),
      );
    }
    at = batch.bodyEnd;
  }
  return records;
};
