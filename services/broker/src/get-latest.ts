/** GetLatest: the latest records of keys of a compacted topic. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Compressor } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import {
  type FetchedRecord,
  type GetLatestRequest,
  type GetLatestResponse,
  GetLatestResponseSchema,
} from "@millrace/proto/broker";
import { bytesOfKey, keyOf } from "@millrace/record";
import type { CallContext } from "@millrace/rpc";
import type { KeyIndex } from "./latest/key-index.ts";
import { RecordReader } from "./latest/record-reader.ts";
import { indexRefusals } from "./latest/refusals.ts";
import { pageTokenOf, partitionFor, type Wanted, wantedOf } from "./latest-wanted.ts";
import { limits } from "./limits.ts";
import { requestOffset } from "./log-service.ts";
import type { BrokerMetrics } from "./metrics.ts";
import type { Leader } from "./partitions/leader.ts";
import type { Replica } from "./partitions/replica.ts";
import type { ReplicaManager } from "./partitions/replica-manager.ts";
import { progressOrTimeout } from "./progress.ts";

export interface GetLatestContext {
  readonly replicas: ReplicaManager;
  readonly clock: Clock;
  readonly compressor: Compressor;
  readonly metrics: BrokerMetrics;
}

/** What a record takes in a message besides its key, value and headers, at most about. */
const recordOverheadBytes = 64;

/** Keys that are looked up in one turn of the event loop, if nothing of them must be read. */
const keysPerTurn = 250;

/** A key, and its latest record; undefined where it has none. */
interface Found {
  readonly key: string;
  readonly record: FetchedRecord | undefined;
}

interface Page {
  readonly found: readonly Found[];
  /** There may be more keys, behind this one. */
  readonly nextFrom: string | undefined;
}

/** Waits until the index knows what the request asks for, and answers. */
export const getLatest = async (
  context: GetLatestContext,
  request: GetLatestRequest,
  call: CallContext,
): Promise<GetLatestResponse> => {
  const { metrics, replicas } = context;
  const wanted = wantedOf(request);
  if (request.maxWaitMs > limits.fetchWaitMsMax) {
    throw MillraceError.refusal(
      ErrorCode.INVALID_REQUEST,
      `max_wait_ms is ${request.maxWaitMs}: send at most ${limits.fetchWaitMsMax}`,
    );
  }
  const { topic, topicId } = request;
  const partition = request.partition ?? partitionFor(wanted, replicas.partitionCount(request));
  const replica = replicas.find({ topic, topicId, partition });
  try {
    const { epoch } = replica.requireLeader(request.leaderEpoch);
    const answer = new Answer(context, replica, epoch);
    const committedEnd = await answer.untilKnown(request, call);
    const { found, nextFrom } = await answer.pageOf(wanted);
    const records = found.map(({ key, record }) => ({
      key: bytesOfKey(key),
      ...(record === undefined ? {} : { record }),
    }));
    count(metrics, replica, found);
    return create(GetLatestResponseSchema, {
      ...{ partition, leaderEpoch: epoch, indexedOffset: BigInt(committedEnd), records },
      ...(nextFrom === undefined ? {} : { nextPageToken: pageTokenOf(nextFrom) }),
    });
  } catch (thrown) {
    metrics.onError(MillraceError.from(thrown));
    replica.meter.onError();
    throw thrown;
  }
};

const bytesOf = ({ key, record }: Found): number => {
  let bytes = key.length + (record?.value?.length ?? 0);
  for (const { name, value } of record?.headers ?? []) {
    bytes += (name?.length ?? 0) + (value?.length ?? 0);
  }
  return bytes;
};

const count = (metrics: BrokerMetrics, replica: Replica, found: readonly Found[]): void => {
  const records = found.filter(({ record }) => record !== undefined);
  if (records.length === 0) return;
  const bytes = records.reduce((sum, one) => sum + bytesOf(one), 0);
  metrics.onFetch(records.length, bytes);
  replica.meter.onFetch(records.length, bytes);
};

/** One answer of one leadership. */
class Answer {
  readonly #context: GetLatestContext;
  readonly #replica: Replica;
  readonly #epoch: number;
  readonly #reader: RecordReader;

  constructor(context: GetLatestContext, replica: Replica, epoch: number) {
    this.#context = context;
    this.#replica = replica;
    this.#epoch = epoch;
    const { clock, compressor } = context;
    const leader = this.#leader;
    const { likelyBatchBytes } = leader.requireKeyIndex();
    this.#reader = new RecordReader(clock, compressor, leader.log, likelyBatchBytes);
  }

  /** Throws once this broker does not lead in the epoch any more. */
  get #leader(): Leader {
    return this.#replica.requireLeader(this.#epoch);
  }

  /** Throws what `KeyIndex.requireReady` does. */
  get #index(): KeyIndex {
    const index = this.#leader.requireKeyIndex();
    index.requireReady();
    return index;
  }

  /**
   * Resolves with the offset before which everything is known: at least what was committed when
   * this was called, and `min_offset`. Rejects with the reason why it is not, after `max_wait_ms`.
   */
  async untilKnown({ maxWaitMs, minOffset }: GetLatestRequest, call: CallContext): Promise<number> {
    const { clock } = this.#context;
    const startMs = clock.monoMs();
    const committed = this.#leader.log.highWatermark;
    const wanted = Math.max(committed, minOffset === undefined ? 0 : requestOffset(minOffset));
    for (;;) {
      const why = this.#unknown(wanted);
      if (typeof why === "number") return why;
      // The index takes over what is committed within a few turns of the event loop.
      const isClose = wanted === committed && why.code === ErrorCode.OFFSET_OUT_OF_RANGE;
      const waitMs = isClose ? Math.max(maxWaitMs, limits.latestTakeMsMax) : maxWaitMs;
      const leftMs = startMs + waitMs - clock.monoMs();
      if (leftMs <= 0 || call.signal.aborted || call.draining.aborted) throw why;
      await progressOrTimeout(clock, this.#replica, leftMs, call);
    }
  }

  /** The records that are wanted, or the first of them that fit into one message. */
  async pageOf(wanted: Wanted): Promise<Page> {
    const isScan = wanted.kind === "prefix";
    const { keys, nextFrom } = isScan ? this.#scan(wanted) : { ...wanted, nextFrom: undefined };
    const found: Found[] = [];
    let bytes = 0;
    let before: string | undefined;
    for (const [i, key] of keys.entries()) {
      if (i % keysPerTurn === keysPerTurn - 1) await this.#turn();
      const one = { key, record: await this.#recordOf(key, isScan) };
      bytes += bytesOf(one) + recordOverheadBytes;
      if (before !== undefined && bytes > limits.fetchMessageBytesMax) {
        return { found, nextFrom: isScan ? before : undefined };
      }
      before = key;
      // Deleted since it was found.
      if (!isScan || one.record?.value !== undefined) found.push(one);
    }
    return { found, nextFrom };
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#context.clock.defer(resolve));
  }

  /** The offset before which everything is known, or why not all before `wanted` is. */
  #unknown(wanted: number): number | MillraceError {
    try {
      const { committedEnd } = this.#index;
      if (committedEnd >= wanted) return committedEnd;
      return indexRefusals.behind(this.#replica.name, wanted, committedEnd);
    } catch (thrown) {
      if (hasCode(thrown, ErrorCode.KEY_INDEX_LOAD_IN_PROGRESS)) return thrown;
      throw thrown;
    }
  }

  /** Keys with a value that begin with the prefix, and behind which one there may be more. */
  #scan({ from, limit, prefix }: Extract<Wanted, { kind: "prefix" }>) {
    const { logStartOffset } = this.#leader.log;
    const keys: string[] = [];
    let last: string | undefined;
    let nextFrom: string | undefined;
    let visits = 0;
    this.#index.scan(from, (key, { isTombstone, offset }) => {
      if (!key.startsWith(prefix)) return false;
      if (keys.length === limit || visits === limits.latestVisitsMax) {
        nextFrom = last;
        return false;
      }
      visits += 1;
      last = key;
      if (!isTombstone && offset >= logStartOffset) keys.push(key);
      return true;
    });
    return { keys, nextFrom };
  }

  /**
   * The latest record of a key, as of some moment of this call. Those of a scan are not remembered:
   * they would push out what is asked for by its key.
   */
  async #recordOf(key: string, isScan: boolean): Promise<FetchedRecord | undefined> {
    for (;;) {
      const place = this.#index.latest(key);
      if (place === undefined) return undefined;
      const { isTombstone, offset } = place;
      const known = this.#index.remembered(offset);
      const record = known ?? (await this.#recordAt(offset));
      const index = this.#index;
      if (record?.key !== undefined && keyOf(record.key) === key) {
        this.#context.metrics.onLatestRead(known !== undefined);
        if (known === undefined && !isScan) index.remember(offset, record);
        return record;
      }
      // A later record has taken its place meanwhile, or it was deleted.
      if (index.latest(key)?.offset !== offset) continue;
      if (record !== undefined || !isTombstone) {
        throw new MillraceError(
          ErrorCode.INTERNAL,
          `the log of ${this.#replica.name} has no record at offset ${offset} of a key whose ` +
            "latest record that is: report it",
        );
      }
      index.forget(key, offset);
    }
  }

  async #recordAt(offset: number): Promise<FetchedRecord | undefined> {
    try {
      return await this.#reader.at(offset);
    } catch (thrown) {
      // The log begins behind it by now.
      if (hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE)) return undefined;
      throw thrown;
    }
  }
}
