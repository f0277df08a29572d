/** A fetch stream: cursors that read forward, as fast as the client grants bytes. */
import type { Compressor, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { PartitionLog, ReadResult } from "@millrace/log";
import {
  blankFetchResponse,
  type WireFetchCursor,
  type WireFetchRequest,
  type WireFetchResponse,
} from "@millrace/record";
import type { ServerStream } from "@millrace/rpc";
import { checkFeatures, featureLevel } from "../features.ts";
import { limits } from "../limits.ts";
import { checkIsolation } from "../log-service.ts";
import type { BrokerMetrics } from "../metrics.ts";
import type { Replica } from "../partitions/replica.ts";
import type { ReplicaManager } from "../partitions/replica-manager.ts";
import { type Appender, wirePartitionError } from "../produce/appender.ts";
import { readHandshake } from "../stream-handshake.ts";
import type { TurnLimiter } from "./turn-limiter.ts";

type FetchStream = ServerStream<WireFetchRequest, WireFetchResponse>;

interface Cursor {
  readonly id: number;
  readonly replica: Replica;
  readonly log: PartitionLog;
  readonly leaderEpoch: number;
  offset: number;
  grantBytes: number;
  /** High watermark that the client was last told. */
  toldHighWatermark: number;
  state: CursorState;
}

/**
 * Where a cursor is. Exactly one pump serves it at a time, so its batches are sent once, in order.
 */
type CursorState =
  /** Nothing to send: a grant or progress of the log queues it. */
  | { readonly kind: "waiting"; readonly stop: () => void }
  /** In the queue of cursors that may have something to send. */
  | { readonly kind: "queued" }
  /** In a pump, which looks for more to send before it lets the cursor wait. */
  | { readonly kind: "serving" }
  /** The client removed it, or it failed: the pump that still has it lets go. */
  | { readonly kind: "removed" };

const queued: CursorState = { kind: "queued" };
const serving: CursorState = { kind: "serving" };
const removed: CursorState = { kind: "removed" };

const isActive = ({ kind }: CursorState): boolean => kind === "queued" || kind === "serving";

/** What a session needs from its broker. */
export interface FetchContext {
  readonly replicas: ReplicaManager;
  readonly appender: Appender;
  readonly random: Random;
  readonly compressor: Compressor;
  readonly metrics: BrokerMetrics;
  /** Shared by all streams of the broker; grants `addedPerTurn`. */
  readonly turnLimiter: TurnLimiter;
}

/**
 * Cursors that all streams together add in one turn of the event loop, so that a request with
 * thousands of them does not stall the other streams.
 */
export const addedPerTurn = 8;

/** Cursors of one stream that are read at the same time. */
const pumpsMax = 2;

const violation = (what: string): MillraceError =>
  new MillraceError(ErrorCode.STREAM_PROTOCOL_VIOLATION, `${what}: see FetchService.Fetch`);

/**
 * One stream. Cursors that may have something to send wait in a queue and are served in turn, one
 * message each, while the write queue of the stream is below its bound.
 */
export class FetchSession {
  readonly #stream: FetchStream;
  readonly #context: FetchContext;
  readonly #cursors = new Map<number, Cursor>();
  readonly #ready: Cursor[] = [];
  #messageBytesMax: number = limits.fetchMessageBytesDefault;
  #pumps = 0;
  /** Cursors that are queued or served. */
  #active = 0;
  /** The client has half-closed: a cursor that has caught up once is done. */
  #ending: (() => void) | undefined;
  #over = false;
  #full = false;
  #cancelHeartbeat: () => void = () => {};

  constructor(stream: FetchStream, context: FetchContext) {
    this.#stream = stream;
    this.#context = context;
  }

  /**
   * Resolves once the client has half-closed and every cursor has sent what it could read, within
   * its grant; rejects on a broken protocol.
   */
  async run(): Promise<void> {
    const stopDrain = this.#context.appender.onDrain(this.#stream.context, (graceMs) => {
      this.#stream.write({
        ...blankFetchResponse,
        drain: { graceMs, reason: "the server is stopping" },
      });
    });
    try {
      await this.#open();
      this.#heartbeat();
      for (;;) {
        const request = this.#stream.tryRead() ?? (await this.#stream.read());
        if (request === undefined) return await this.#finish();
        if (request.open !== undefined) throw violation("a second open");
        await this.#apply(request);
        // Stop reading until the client drains its responses.
        if (this.#full) await this.#stream.drained();
        this.#full = false;
      }
    } finally {
      this.#over = true;
      this.#cancelHeartbeat();
      stopDrain();
      for (const cursor of this.#cursors.values()) this.#move(cursor, removed);
    }
  }

  async #open(): Promise<void> {
    const first = await readHandshake(this.#stream, this.#context.appender.clock);
    const open = first.open;
    if (open === undefined) throw violation("the first message has no open");
    checkFeatures(open.requiredFeatures);
    this.#context.appender.checkClient(open.clientId, open.clusterId);
    checkIsolation(open.isolation);
    if (open.messageBytesMax > 0) {
      this.#messageBytesMax = Math.min(open.messageBytesMax, limits.fetchMessageBytesMax);
    }
    const { clusterId, brokerId } = this.#context.appender.identity;
    const opened = {
      heartbeatIntervalMs: limits.heartbeatIntervalMs,
      clusterId,
      brokerId,
      cursorsMax: limits.cursorsMax,
      featureLevel,
    };
    this.#stream.write({ ...blankFetchResponse, opened });
    await this.#apply(first);
  }

  #heartbeat(): void {
    const ms = limits.heartbeatIntervalMs * (0.5 + this.#context.random.float());
    this.#cancelHeartbeat = this.#context.appender.clock.timer(ms, () => {
      this.#stream.write(blankFetchResponse);
      this.#heartbeat();
    });
  }

  async #apply(request: WireFetchRequest): Promise<void> {
    for (const id of request.remove) this.#drop(id);
    for (const wanted of request.add) {
      const turn = this.#context.turnLimiter.take();
      if (turn !== undefined) await turn;
      // The client may have gone while this cursor waited for its turn.
      if (this.#stream.context.signal.aborted) return;
      this.#add(wanted);
    }
    for (const grant of request.grants) {
      const cursor = this.#cursors.get(grant.cursorId);
      if (cursor === undefined) continue;
      cursor.grantBytes = Math.min(cursor.grantBytes + grant.bytes, Number.MAX_SAFE_INTEGER);
      this.#wake(cursor);
    }
  }

  #add(wanted: WireFetchCursor): void {
    if (this.#cursors.has(wanted.cursorId)) throw violation(`cursor ${wanted.cursorId} is in use`);
    if (this.#cursors.size >= limits.cursorsMax)
      throw violation(`more than ${limits.cursorsMax} cursors`);
    let replica: Replica | undefined;
    try {
      replica = this.#context.replicas.find(wanted);
      const { epoch: leaderEpoch, log } = replica.requireLeader(wanted.leaderEpoch);
      const cursor: Cursor = {
        id: wanted.cursorId,
        replica,
        log,
        leaderEpoch,
        offset: wanted.offset,
        grantBytes: wanted.grantBytes,
        toldHighWatermark: -1,
        state: removed,
      };
      this.#cursors.set(cursor.id, cursor);
      this.#enqueue(cursor);
    } catch (thrown) {
      this.#fail(wanted.cursorId, MillraceError.from(thrown), replica, undefined);
    }
  }

  #drop(id: number): void {
    const cursor = this.#cursors.get(id);
    if (cursor !== undefined) this.#move(cursor, removed);
    this.#cursors.delete(id);
  }

  #fail(
    id: number,
    error: MillraceError,
    replica: Replica | undefined,
    log: PartitionLog | undefined,
  ): void {
    this.#drop(id);
    this.#context.metrics.onError(error);
    replica?.meter.onError();
    const more = this.#stream.write({
      ...blankFetchResponse,
      cursorId: id,
      highWatermark: log?.highWatermark,
      logStartOffset: log?.logStartOffset,
      error: wirePartitionError(error),
    });
    this.#full ||= !more;
  }

  /** Changes a cursor's state, and ends the stream with the last active one after a half-close. */
  #move(cursor: Cursor, state: CursorState): void {
    if (cursor.state.kind === "waiting") cursor.state.stop();
    this.#active += Number(isActive(state)) - Number(isActive(cursor.state));
    cursor.state = state;
    if (this.#active === 0) this.#ending?.();
  }

  /** A grant or progress of the log: the cursor may have something to send. */
  #wake(cursor: Cursor): void {
    if (cursor.state.kind === "waiting" && this.#ending === undefined) this.#enqueue(cursor);
  }

  #enqueue(cursor: Cursor): void {
    this.#move(cursor, queued);
    this.#ready.push(cursor);
    if (this.#pumps >= pumpsMax) return;
    this.#pumps += 1;
    this.#context.appender.clock.defer(() => void this.#pump());
  }

  /** Serves what is left after a half-close; ends at once for a client that is gone. */
  async #finish(): Promise<void> {
    if (this.#active === 0) return;
    const { signal } = this.#stream.context;
    await new Promise<void>((resolve) => {
      this.#ending = resolve;
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /**
   * Serves ready cursors in turn: while one message is sent, the next cursor's is read. Never
   * rejects.
   */
  async #pump(): Promise<void> {
    for (;;) {
      const cursor = this.#over ? undefined : this.#ready.shift();
      if (cursor === undefined) break;
      if (cursor.state.kind !== "queued") continue;
      this.#move(cursor, serving);
      let more = true;
      try {
        more = await this.#serve(cursor);
      } catch (thrown) {
        this.#fail(cursor.id, MillraceError.from(thrown), cursor.replica, cursor.log);
      }
      if (!more) await this.#stream.drained();
    }
    this.#pumps -= 1;
  }

  /** One message of one cursor. False when the write queue is full. */
  async #serve(cursor: Cursor): Promise<boolean> {
    const { log, replica } = cursor;
    replica.requireLeader(cursor.leaderEpoch);
    const bytes = Math.min(this.#messageBytesMax, cursor.grantBytes);
    let result: ReadResult | undefined;
    if (bytes > 0) {
      result =
        log.tryReadTail(cursor.offset, bytes, "high_watermark") ??
        (await log.read(cursor.offset, bytes, "high_watermark"));
      if (cursor.state.kind === "removed") return true;
      replica.requireLeader(cursor.leaderEpoch);
    } else if (cursor.toldHighWatermark < 0) {
      // A position out of range fails at once, even without a grant.
      log.tryReadTail(cursor.offset, bytes, "high_watermark");
    }
    if (result === undefined || result.bytes === 0) return this.#caughtUp(cursor);
    const records = result.nextOffset - cursor.offset;
    cursor.offset = result.nextOffset;
    cursor.grantBytes = Math.max(0, cursor.grantBytes - result.bytes);
    cursor.toldHighWatermark = result.highWatermark;
    this.#context.metrics.onFetch(records, result.bytes);
    replica.meter.onFetch(records, result.bytes);
    const more = this.#stream.write({
      ...blankFetchResponse,
      cursorId: cursor.id,
      highWatermark: result.highWatermark,
      logStartOffset: result.logStartOffset,
      lastStableOffset: result.highWatermark,
      leaderEpoch: cursor.leaderEpoch,
      nextOffset: result.nextOffset,
      batches: result.chunks,
    });
    this.#enqueue(cursor);
    return more;
  }

  /**
   * Nothing to send now: report a high watermark that moved, then wait for progress or a grant.
   * Returns false when the write queue is full.
   */
  #caughtUp(cursor: Cursor): boolean {
    const { log } = cursor;
    // A grant or progress may have come while the log was read.
    if (cursor.offset < log.highWatermark && cursor.grantBytes > 0) {
      this.#enqueue(cursor);
      return true;
    }
    const more = cursor.toldHighWatermark === log.highWatermark || this.#tellProgress(cursor);
    this.#move(cursor, {
      kind: "waiting",
      stop: cursor.replica.onceProgress(() => this.#wake(cursor)),
    });
    return more;
  }

  #tellProgress(cursor: Cursor): boolean {
    const { log } = cursor;
    cursor.toldHighWatermark = log.highWatermark;
    return this.#stream.write({
      ...blankFetchResponse,
      cursorId: cursor.id,
      highWatermark: log.highWatermark,
      logStartOffset: log.logStartOffset,
      lastStableOffset: log.highWatermark,
      leaderEpoch: cursor.leaderEpoch,
      nextOffset: cursor.offset,
    });
  }
}
