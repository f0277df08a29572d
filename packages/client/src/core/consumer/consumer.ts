/** The consumer: assigned partitions in, records out, in offset order per partition. */
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Isolation } from "@millrace/proto/common";
import { backoffMs } from "../backoff.ts";
import { isRetriable, wantsRefresh } from "../failures.ts";
import { closedError } from "../metadata.ts";
import { type CallContext, listOffset, resolvePosition } from "../offsets.ts";
import { inRange } from "../producer/options.ts";
import type {
  Assignment,
  ConsumedBatch,
  ConsumedRecord,
  ConsumerOptions,
  PartitionOffset,
  Position,
} from "../types.ts";
import { Cursor } from "./cursor.ts";
import { decodeNext } from "./decode.ts";
import { Fetcher } from "./fetcher.ts";

export interface ConsumerContext extends CallContext {
  readonly env: Pick<Env, "clock" | "random" | "compressor" | "logger">;
  readonly clientId: string;
  readonly onClosed: () => void;
}

/** What ends an iteration. */
export interface IterationOptions {
  /** When aborted, the iteration throws CANCELLED. */
  readonly signal?: AbortSignal;
}

interface Taken {
  readonly cursor: Cursor;
  readonly records: readonly ConsumedRecord[];
  readonly nextOffset: number;
  readonly highWatermark: number;
}

/** One call for an offset, retries included, milliseconds. */
const lookupTimeoutMs = 30_000;
/** Retries after which a topic that the metadata lack counts as deleted. */
const unknownTopicAttempts = 5;

const key = (topic: string, partition: number): string => `${partition}/${topic}`;

/**
 * Reads assigned partitions. One iteration at a time; `seek`, `pause` and `assign` may be called
 * meanwhile, and nothing fetched for an older position is handed out after they are.
 */
export class Consumer implements AsyncDisposable {
  readonly #context: ConsumerContext;
  readonly #options: ConsumerOptions;
  readonly #bufferBytesMax: number;
  readonly #inflatedBytesMax: number;
  readonly #cursors = new Map<string, Cursor>();
  readonly #fetchers = new Map<string, Fetcher>();
  /** Start of the round-robin. */
  #turn = 0;
  #iterating = false;
  #closed = false;
  #wake: (() => void) | undefined;

  /** Throws INVALID_REQUEST for an option out of range. */
  constructor(options: ConsumerOptions, context: ConsumerContext) {
    this.#options = options;
    this.#context = context;
    const { bufferBytesMax = 32 * 1024 * 1024, inflatedBytesMax = 64 * 1024 * 1024 } = options;
    this.#bufferBytesMax = inRange("bufferBytesMax", bufferBytesMax, 1024, 2 ** 40);
    this.#inflatedBytesMax = inRange("inflatedBytesMax", inflatedBytesMax, 1024, 2 ** 31);
  }

  /** Bytes fetched or granted and not yet taken; within `bufferBytesMax` but for one batch each. */
  get bufferedBytes(): number {
    let bytes = 0;
    for (const cursor of this.#cursors.values()) bytes += cursor.bufferedBytes;
    return bytes;
  }

  /** Reads exactly these partitions from now on. Resolves once their start is known; until then, and
   * when it throws, what was assigned before stays. */
  async assign(assignments: readonly Assignment[]): Promise<void> {
    this.#check();
    const cursors = await Promise.all(
      assignments.map(({ topic, partition, from }) =>
        this.#start(topic, partition, from ?? "latest"),
      ),
    );
    this.#check();
    for (const cursor of this.#cursors.values()) this.#discard(cursor);
    this.#cursors.clear();
    for (const cursor of cursors) this.#cursors.set(key(cursor.topic, cursor.partition), cursor);
    const share = Math.floor(this.#bufferBytesMax / Math.max(1, cursors.length));
    for (const cursor of this.#cursors.values()) {
      cursor.capacityBytes = Math.max(1, share);
      this.#attach(cursor);
    }
    this.#notify();
  }

  /** Goes on from another place in an assigned partition. */
  async seek(topic: string, partition: number, to: Position): Promise<void> {
    const old = this.#require(topic, partition);
    const offset = await this.#resolve(topic, partition, to);
    if (this.#cursors.get(key(topic, partition)) !== old) return;
    const cursor = new Cursor(topic, partition, offset);
    cursor.capacityBytes = old.capacityBytes;
    cursor.endOffset = old.endOffset;
    cursor.paused = old.paused;
    this.#discard(old);
    this.#cursors.set(key(topic, partition), cursor);
    this.#attach(cursor);
    this.#notify();
  }

  /** Hands out and fetches nothing more of the partition; what is buffered is kept. */
  pause(topic: string, partition: number): void {
    this.#require(topic, partition).paused = true;
  }

  resume(topic: string, partition: number): void {
    const cursor = this.#require(topic, partition);
    cursor.paused = false;
    cursor.fetcher?.grant(cursor);
    this.#notify();
  }

  /** Per assigned partition, the offset after the last record handed out. */
  positions(): PartitionOffset[] {
    return [...this.#cursors.values()].map(({ topic, partition, position }) => ({
      topic,
      partition,
      offset: BigInt(position),
    }));
  }

  /** Per assigned partition, the high watermark now, asked of its leader. */
  endOffsets(): Promise<PartitionOffset[]> {
    return Promise.all(
      [...this.#cursors.values()].map(async ({ topic, partition }) => ({
        topic,
        partition,
        offset: BigInt(await this.#resolve(topic, partition, "latest")),
      })),
    );
  }

  /** Batches of records as they come, partitions in turn. The position moves with each batch. */
  async *batches(options: IterationOptions = {}): AsyncGenerator<ConsumedBatch, void, undefined> {
    for await (const taken of this.#iterate(options)) {
      taken.cursor.position = taken.nextOffset;
      yield {
        topic: taken.cursor.topic,
        partition: taken.cursor.partition,
        records: taken.records,
        nextOffset: BigInt(taken.nextOffset),
        highWatermark: BigInt(taken.highWatermark),
      };
    }
  }

  /** Records one by one. The position moves with each record. */
  async *records(options: IterationOptions = {}): AsyncGenerator<ConsumedRecord, void, undefined> {
    for await (const { cursor, records, nextOffset } of this.#iterate(options)) {
      for (const record of records) {
        if (cursor.dropped) break;
        cursor.position = Number(record.offset) + 1;
        yield record;
      }
      if (!cursor.dropped) cursor.position = nextOffset;
    }
  }

  /** Ends the streams; an iteration that waits ends. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const cursor of this.#cursors.values()) cursor.dropped = true;
    for (const fetcher of this.#fetchers.values()) fetcher.stop();
    this.#context.onClosed();
    this.#notify();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#iterate({ signal }: IterationOptions): AsyncGenerator<Taken, void, undefined> {
    this.#check();
    if (this.#iterating) {
      throw new MillraceError(
        ErrorCode.INVALID_REQUEST,
        "the consumer is being iterated already: end that iteration first",
      );
    }
    this.#iterating = true;
    const onAbort = (): void => this.#notify();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for (;;) {
        if (signal?.aborted === true) throw cancelled(signal.reason);
        if (this.#closed) return;
        const cursor = this.#next();
        if (cursor !== undefined) {
          const taken = await this.#takeFrom(cursor);
          if (taken !== undefined) yield taken;
        } else if (this.#done()) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      this.#iterating = false;
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** The next cursor in turn that has something. */
  #next(): Cursor | undefined {
    const cursors = [...this.#cursors.values()];
    for (let step = 0; step < cursors.length; step += 1) {
      const at = (this.#turn + step) % cursors.length;
      const cursor = cursors[at];
      if (cursor === undefined || !cursor.ready || cursor.finished) continue;
      this.#turn = at + 1;
      return cursor;
    }
    return undefined;
  }

  #done(): boolean {
    if (this.#options.untilEnd !== true) return false;
    for (const cursor of this.#cursors.values()) if (!cursor.finished) return false;
    return true;
  }

  /** Records of the next stored batch; undefined when it has none to hand out. */
  async #takeFrom(cursor: Cursor): Promise<Taken | undefined> {
    const chunk = cursor.chunks[0];
    if (chunk === undefined) {
      const error = cursor.error;
      cursor.error = undefined;
      if (error !== undefined) throw error;
      return undefined;
    }
    const { compressor } = this.#context.env;
    const decoded = await decodeNext(cursor, chunk, compressor, this.#inflatedBytesMax);
    if (cursor.dropped || cursor.chunks[0] !== chunk) return undefined;
    const bytes = decoded.nextAt - chunk.at;
    chunk.at = decoded.nextAt;
    cursor.bufferedBytes -= bytes;
    const last = chunk.at >= chunk.buffer.length;
    if (last) cursor.chunks.shift();
    cursor.fetcher?.grant(cursor);
    const { records } = decoded;
    const end = records.at(-1);
    const reached = end === undefined ? cursor.position : Number(end.offset) + 1;
    const nextOffset =
      last && cursor.chunks.length === 0 ? Math.max(reached, chunk.nextOffset) : reached;
    const { highWatermark } = chunk;
    if (records.length > 0) return { cursor, records, nextOffset, highWatermark };
    cursor.position = nextOffset;
    return undefined;
  }

  async #start(topic: string, partition: number, from: Position): Promise<Cursor> {
    const untilEnd = this.#options.untilEnd === true;
    // A given offset asks no broker anything: without this nobody would ask for the topic's leaders.
    await this.#context.metadata.topic(topic);
    const [start, end] = await Promise.all([
      this.#resolve(topic, partition, from),
      untilEnd ? this.#resolve(topic, partition, "latest") : Number.POSITIVE_INFINITY,
    ]);
    const cursor = new Cursor(topic, partition, start);
    cursor.endOffset = end;
    return cursor;
  }

  #resolve(topic: string, partition: number, position: Position): Promise<number> {
    return resolvePosition(this.#context, topic, partition, position, lookupTimeoutMs);
  }

  #require(topic: string, partition: number): Cursor {
    this.#check();
    const cursor = this.#cursors.get(key(topic, partition));
    if (cursor !== undefined) return cursor;
    throw new MillraceError(
      ErrorCode.INVALID_REQUEST,
      `${topic}-${partition} is not assigned: call assign with it first`,
    );
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #discard(cursor: Cursor): void {
    cursor.dropped = true;
    cursor.chunks.length = 0;
    cursor.bufferedBytes = 0;
    cursor.fetcher?.drop(cursor);
  }

  /** Hands the cursor to the leader's stream, now or once there is a leader. */
  #attach(cursor: Cursor): void {
    if (cursor.dropped || this.#closed || cursor.finished) return;
    const leader = this.#context.metadata.leaderOf(cursor.topic, cursor.partition);
    if (leader !== undefined) {
      this.#fetcherFor(leader.endpoint).add(cursor, leader);
      return;
    }
    const unknown = this.#context.metadata.peek(cursor.topic) === undefined;
    this.#retry(
      cursor,
      new MillraceError(
        unknown ? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION : ErrorCode.LEADER_NOT_AVAILABLE,
        `${cursor.topic}-${cursor.partition} has no leader: check the topic and its brokers`,
      ),
    );
  }

  #fetcherFor(endpoint: string): Fetcher {
    let fetcher = this.#fetchers.get(endpoint);
    if (fetcher === undefined) {
      const { connections, metadata, clientId, env } = this.#context;
      const committed = this.#options.isolation === "read_committed";
      const isolation = committed ? Isolation.READ_COMMITTED : Isolation.READ_UNCOMMITTED;
      const clusterId = (): string => metadata.clusterId;
      const { clock, random, logger } = env;
      fetcher = new Fetcher(
        endpoint,
        connections.channel(endpoint),
        { clock, random, logger, clientId, isolation, clusterId },
        {
          onData: () => this.#notify(),
          onFailed: (cursor, error) => this.#retry(cursor, error),
        },
      );
      this.#fetchers.set(endpoint, fetcher);
    }
    return fetcher;
  }

  #retry(cursor: Cursor, error: MillraceError): void {
    if (cursor.dropped || this.#closed) return;
    cursor.failures += 1;
    const { clock, random } = this.#context.env;
    const { metadata } = this.#context;
    if (error.code === ErrorCode.OFFSET_OUT_OF_RANGE) {
      this.#outOfRange(cursor, error);
      return;
    }
    const deleted =
      error.code === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION && cursor.failures > unknownTopicAttempts;
    if (!isRetriable(error) || deleted) {
      cursor.error = error;
      this.#notify();
      return;
    }
    if (error.leaderHint !== undefined) {
      metadata.applyHint(cursor.topic, cursor.partition, error.leaderHint);
    }
    const refresh = error.leaderHint === undefined && wantsRefresh(error);
    clock.timer(backoffMs(cursor.failures - 1, random, error.retryAfterMs), () => {
      if (cursor.dropped || this.#closed) return;
      void (refresh ? metadata.tryRefresh() : Promise.resolve()).then(() => this.#attach(cursor));
    });
  }

  /** The position left the log: retention passed it, or the log was truncated below it. */
  #outOfRange(cursor: Cursor, error: MillraceError): void {
    const { onOutOfRange = "error" } = this.#options;
    const { topic, partition, fetchOffset } = cursor;
    if (onOutOfRange === "error") {
      cursor.error = error;
      this.#notify();
      return;
    }
    this.#context.env.logger.warn(
      { topic, partition, offset: fetchOffset, high_watermark: cursor.highWatermark },
      `the position is out of range: going on from ${onOutOfRange}`,
    );
    void listOffset(this.#context, topic, partition, onOutOfRange, lookupTimeoutMs).then(
      (found) => {
        if (cursor.dropped) return;
        cursor.fetchOffset = found?.offset ?? 0;
        if (cursor.chunks.length === 0) cursor.position = cursor.fetchOffset;
        this.#attach(cursor);
      },
      (thrown: unknown) => {
        cursor.error = MillraceError.from(thrown);
        this.#notify();
      },
    );
  }
}

const cancelled = (reason: unknown): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the iteration was aborted", { cause: reason });
