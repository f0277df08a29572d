/** The log of a shard: a partition of the internal topic, by the calls that any client has. */
import { create } from "@bufbuild/protobuf";
import type { Env } from "@millrace/env";
import { ErrorCode, hasCode, must } from "@millrace/errors";
import {
  FetchOnceRequestSchema,
  FetchService,
  ListOffsetsRequestSchema,
  LogService,
  OffsetSpec,
  ProduceOnceRequestSchema,
  ProduceService,
} from "@millrace/proto/broker";
import type { RecordBatch } from "@millrace/proto/storage";
import {
  BatchBuilder,
  decodeRecords,
  parseBody,
  type TopicId,
  topicIdBytes,
} from "@millrace/record";
import { methodOf } from "@millrace/rpc";
import type { ShardLog } from "../runtime/shard-log.ts";
import { barrier, type EncodedRecord } from "../shard/records.ts";
import type { PartitionCalls } from "./partition-calls.ts";

const produceOnce = methodOf(ProduceService.method.produceOnce);
const fetchOnce = methodOf(FetchService.method.fetchOnce);
const listOffsets = methodOf(LogService.method.listOffsets);

/** Batch bytes of one read. */
const readBytesMax = 4 * 1024 * 1024;
/** Longest wait of a read for what is appended and not committed yet, ms. */
const waitMs = 500;
/** Bytes of a batch once it is inflated. */
const inflatedBytesMax = 64 * 1024 * 1024;

export interface ClusterLogOptions {
  readonly env: Pick<Env, "clock" | "compressor">;
  readonly calls: PartitionCalls;
  readonly topicId: TopicId;
  readonly partition: number;
}

export class ClusterLog implements ShardLog {
  readonly #options: ClusterLogOptions;

  constructor(options: ClusterLogOptions) {
    this.#options = options;
  }

  /**
   * Reads up to the high watermark, and then appends a barrier there. Once that is in, nobody who
   * had served the shard before can append any more, and everything that was appended is read.
   */
  async load(take: (record: EncodedRecord) => void, signal: AbortSignal): Promise<number> {
    let offset = await this.#start(signal);
    for (let maxWaitMs = 0; ; maxWaitMs = waitMs) {
      offset = await this.#readFrom(offset, maxWaitMs, take, signal);
      try {
        await this.append([barrier], offset, signal);
        return offset + 1;
      } catch (thrown) {
        if (!hasCode(thrown, ErrorCode.END_OFFSET_MISMATCH)) throw thrown;
      }
    }
  }

  async append(
    records: readonly EncodedRecord[],
    expectedEndOffset: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { calls, env, partition, topicId } = this.#options;
    const builder = new BatchBuilder();
    const timestampMs = env.clock.wallMs();
    for (const { key, value } of records) builder.append({ key, value, timestampMs, headers: [] });
    const request = create(ProduceOnceRequestSchema, {
      ...{ topicId: topicIdBytes(topicId), partition, clientId: "group-coordinator" },
      expectedEndOffset: BigInt(expectedEndOffset),
      batch: { body: builder.finishPlain() },
    });
    await calls.call(this.#options, produceOnce, request, signal);
  }

  async #start(signal: AbortSignal): Promise<number> {
    const { calls, partition, topicId } = this.#options;
    const query = { topicId: topicIdBytes(topicId), partition, spec: OffsetSpec.EARLIEST };
    const request = create(ListOffsetsRequestSchema, { queries: [query] });
    const { results } = await calls.call(this.#options, listOffsets, request, signal);
    return Number(results[0]?.offset ?? 0n);
  }

  /** Shows everything up to the high watermark, and returns that. */
  async #readFrom(
    from: number,
    maxWaitMs: number,
    take: (record: EncodedRecord) => void,
    signal: AbortSignal,
  ): Promise<number> {
    const { calls, partition, topicId } = this.#options;
    for (let offset = from; ; ) {
      const request = create(FetchOnceRequestSchema, {
        ...{ topicId: topicIdBytes(topicId), partition, offset: BigInt(offset) },
        ...{ maxBytes: readBytesMax, maxWaitMs: offset > from ? 0 : maxWaitMs },
      });
      const answer = await calls.call(this.#options, fetchOnce, request, signal);
      for (const batch of answer.batches) await this.#show(batch, offset, take);
      offset = Number(answer.nextOffset ?? 0n);
      if (offset >= Number(answer.highWatermark ?? 0n)) return offset;
    }
  }

  async #show(
    { baseOffset, body }: RecordBatch,
    from: number,
    take: (record: EncodedRecord) => void,
  ): Promise<void> {
    const { compressor } = this.#options.env;
    const info = parseBody(must(body, "body of a batch"));
    const records =
      info.compression === "none"
        ? info.records
        : await compressor.decompress(info.compression, info.records, inflatedBytesMax);
    for (const { key, offsetDelta, value } of decodeRecords(records, info.baseTimestampMs)) {
      if (key === undefined || Number(baseOffset) + offsetDelta < from) continue;
      take({ key, value });
    }
  }
}
