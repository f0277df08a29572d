/** The latest records of keys of compacted topics. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type FetchedRecord,
  type GetLatestRequest,
  GetLatestRequestSchema,
  type GetLatestResponse,
} from "@millrace/proto/broker";
import { partitionOfKey } from "@millrace/record";
import { checkFields, inRange, type Shape, shown } from "./checks.ts";
import { BytesRecord } from "./consumer/record.ts";
import { methods } from "./methods.ts";
import { askLeader, type CallContext } from "./offsets.ts";
import type { ConsumedRecord, Sendable } from "./types.ts";

/** A key of a compacted topic. */
export interface LatestQuery {
  readonly topic: string;
  /** A string is its UTF-8. */
  readonly key: Sendable;
  /** Absent: the one that the default partitioner sends the key to. */
  readonly partition?: number;
  /**
   * The answer must take everything before this offset into account; it is waited for, as long as
   * an Admin call may take. The leader takes into account what it had committed when it was asked.
   */
  readonly minOffset?: bigint | number;
}

/** Keys of a compacted topic that begin with something. */
export interface LatestScan {
  readonly topic: string;
  /** What the keys begin with; a string is its UTF-8. Absent: all keys. */
  readonly prefix?: Sendable;
  /** Absent: all partitions, one after the other. */
  readonly partition?: number;
  /** Records that are asked for at a time, 1 to 1,000, which is the default. */
  readonly pageRecordsMax?: number;
}

const queryShape: Shape<LatestQuery> = {
  topic: "string",
  key: "any",
  partition: "integer?",
  minOffset: "offset?",
};

const scanShape: Shape<LatestScan> = {
  topic: "string",
  prefix: "any?",
  partition: "integer?",
  pageRecordsMax: "integer?",
};

const bytesOf = (where: string, name: string, value: unknown): Uint8Array => {
  if (typeof value === "string") return Buffer.from(value);
  if (value instanceof Uint8Array) return value;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `${name} of ${where} is ${shown(value)}: give a string or a Uint8Array`,
  );
};

/** Part of the time of an attempt that the server may wait: its answer has to come, too. */
const waitedPart = 0.5;

const ask = (
  context: CallContext,
  topic: string,
  partition: number,
  timeoutMs: number,
  wanted: Partial<Omit<GetLatestRequest, "$typeName">>,
): Promise<GetLatestResponse> =>
  askLeader(context, topic, partition, timeoutMs, ({ endpoint, leaderEpoch, topicId }, leftMs) => {
    const maxWaitMs = Math.floor(leftMs * waitedPart);
    const request = create(GetLatestRequestSchema, {
      ...{ ...wanted, topicId, topic, partition, leaderEpoch, maxWaitMs },
    });
    const options = { timeoutMs: leftMs };
    return context.connections.unary(endpoint, methods.getLatest, request, options);
  });

const recordOf = (topic: string, partition: number, record: FetchedRecord): ConsumedRecord => {
  const { headers, key, leaderEpoch, offset, timestampMs, value } = record;
  return new BytesRecord({ topic, partition, leaderEpoch }, offset, {
    ...{ offsetDelta: 0, timestampMs: Number(timestampMs), key, value },
    headers: headers.map((header) => ({ name: header.name ?? "", value: header.value })),
  });
};

/** The latest committed record of a key; undefined when there is none. */
export const getLatest = async (
  context: CallContext,
  timeoutMs: number,
  query: LatestQuery,
): Promise<ConsumedRecord | undefined> => {
  checkFields("getLatest", query, queryShape);
  const { minOffset, topic } = query;
  const key = bytesOf("getLatest", "key", query.key);
  const { partitions } = await context.metadata.topic(topic);
  const partition = query.partition ?? partitionOfKey(key, partitions.length);
  const { records } = await ask(context, topic, partition, timeoutMs, {
    keys: [key],
    ...(minOffset === undefined ? {} : { minOffset: BigInt(minOffset) }),
  });
  const record = records[0]?.record;
  return record && recordOf(topic, partition, record);
};

/** The latest records of keys with a value, in the order of the keys of each partition. */
export async function* latest(
  context: CallContext,
  timeoutMs: number,
  scan: LatestScan,
): AsyncGenerator<ConsumedRecord, void, undefined> {
  const { topic } = scan;
  const keyPrefix = bytesOf("latest", "prefix", scan.prefix ?? "");
  const limit = scan.pageRecordsMax ?? 0;
  const { partitions } = await context.metadata.freshTopic(topic);
  const chosen = scan.partition === undefined ? [...partitions.keys()] : [scan.partition];
  for (const partition of chosen) {
    let pageToken: Uint8Array = new Uint8Array(0);
    do {
      const wanted = { keyPrefix, limit, pageToken };
      const page = await ask(context, topic, partition, timeoutMs, wanted);
      for (const { record } of page.records) {
        if (record !== undefined) yield recordOf(topic, partition, record);
      }
      pageToken = page.nextPageToken;
    } while (pageToken.length > 0);
  }
}

/** Throws INVALID_REQUEST. */
export const checkScan = (scan: LatestScan): void => {
  checkFields("latest", scan, scanShape);
  if (scan.pageRecordsMax !== undefined) inRange("pageRecordsMax", scan.pageRecordsMax, 1, 1_000);
};
