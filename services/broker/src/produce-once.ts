/** ProduceOnce: one append per call, for callers that need no stream. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type ProduceOnceRequest,
  type ProduceOnceResponse,
  ProduceOnceResponseSchema,
} from "@millrace/proto/broker";
import { Acks } from "@millrace/proto/common";
import type { Record as RecordMessage } from "@millrace/proto/storage";
import { BatchBuilder } from "@millrace/record";
import type { Appender } from "./produce/appender.ts";
import type { AppendResult } from "./produce/pending-append.ts";

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
  const { body, bodyCrc, ownTime } = batchOf(request, appender.clock.wallMs());
  await appender.waitForCapacity();
  const { topicId, topic, partition, leaderEpoch } = request;
  const expectedEndOffset =
    request.expectedEndOffset === undefined ? undefined : Number(request.expectedEndOffset);
  const { expectedLastOffsetForKey: last } = request;
  const expectedLastOffsetForKey = last === undefined ? undefined : Number(last);
  const conditions = { expectedEndOffset, expectedLastOffsetForKey };
  const target = { topicId, topic, partition, leaderEpoch, ...conditions, bodyCrc, ownTime };
  const outcome = await new Promise<AppendResult>((resolve) => {
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
): {
  readonly body: Uint8Array;
  readonly bodyCrc: number | undefined;
  /** Some records had no timestamp. */
  readonly ownTime: boolean;
} => {
  const { batch, records } = request;
  if (batch !== undefined && records.length > 0)
    throw invalid("batch and records: send one of them");
  if (batch !== undefined) {
    return { body: batch.body ?? new Uint8Array(0), bodyCrc: batch.bodyCrc32c, ownTime: false };
  }
  if (records.length === 0) throw invalid("no records: send at least one");
  const builder = new BatchBuilder();
  for (const record of records) builder.append(inputOf(record, nowMs));
  const ownTime = records.some(({ timestampDeltaMs }) => timestampDeltaMs === undefined);
  return { body: builder.finishPlain(), bodyCrc: undefined, ownTime };
};

const inputOf = (record: RecordMessage, nowMs: number) => ({
  key: record.key,
  value: record.value,
  timestampMs: record.timestampDeltaMs === undefined ? nowMs : Number(record.timestampDeltaMs),
  headers: record.headers.map(({ name, value }) => ({ name: name ?? "", value })),
});
