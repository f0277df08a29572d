/** The fetch stream to one broker. */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { HotFetchCursor, HotFetchRequest, HotFetchResponse } from "@millrace/record";
import type { Channel, ClientStream } from "@millrace/rpc";
import { backoffMs } from "../backoff.ts";
import { fromWire } from "../failures.ts";
import type { Leader } from "../metadata.ts";
import { fetchMethod } from "../methods.ts";
import type { Cursor } from "./cursor.ts";

/** What a fetcher tells its consumer. The cursors of `onFailed` are detached. */
export interface FetcherEvents {
  /** Batches, a high watermark, or both were added to the cursor. */
  onData(cursor: Cursor): void;
  onFailed(cursor: Cursor, error: MillraceError): void;
}

export interface FetcherContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly clientId: string;
  readonly isolation: number;
  readonly clusterId: () => string;
}

type Stream = ClientStream<HotFetchRequest, HotFetchResponse>;

const openTimeoutMs = 10_000;
/** Largest message asked for; smaller grants make smaller ones. */
const messageBytesMax = 1024 * 1024;
/** Silence after which the server counts as dead, in heartbeat intervals (each up to half longer). */
const silentIntervals = 3 * 1.5;

/** Reads all cursors of one broker over one stream. */
export class Fetcher {
  readonly endpoint: string;
  readonly #channel: Channel;
  readonly #context: FetcherContext;
  readonly #events: FetcherEvents;
  readonly #cursors = new Map<number, Cursor>();
  #stream: Stream | undefined;
  #remove: number[] = [];
  #add: HotFetchCursor[] = [];
  readonly #granting = new Set<Cursor>();
  #deferred = false;
  #nextId = 1;
  #failures = 0;
  #lastHeardMs = 0;
  #cancelTimer: () => void = () => {};
  #backingOff = false;
  #stopped = false;

  constructor(endpoint: string, channel: Channel, context: FetcherContext, events: FetcherEvents) {
    this.endpoint = endpoint;
    this.#channel = channel;
    this.#context = context;
    this.#events = events;
  }

  /** Starts reading from `cursor.fetchOffset`. */
  add(cursor: Cursor, leader: Leader): void {
    cursor.fetcher = this;
    cursor.cursorId = this.#nextId;
    this.#nextId += 1;
    cursor.grantedBytes = 0;
    cursor.grantedBytes = cursor.grantDue();
    this.#cursors.set(cursor.cursorId, cursor);
    this.#add.push({
      cursorId: cursor.cursorId,
      topicId: leader.topicId,
      topic: leader.topicId.length === 0 ? cursor.topic : "",
      partition: cursor.partition,
      offset: cursor.fetchOffset,
      leaderEpoch: leader.leaderEpoch,
      lastFetchedEpoch: cursor.lastEpoch,
      grantBytes: cursor.grantedBytes,
    });
    this.#schedule();
  }

  /** Stops reading the cursor. */
  drop(cursor: Cursor): void {
    if (!this.#cursors.delete(cursor.cursorId)) return;
    cursor.fetcher = undefined;
    this.#granting.delete(cursor);
    const at = this.#add.findIndex(({ cursorId }) => cursorId === cursor.cursorId);
    if (at >= 0) this.#add.splice(at, 1);
    else this.#remove.push(cursor.cursorId);
    this.#schedule();
  }

  /** The application took bytes, or resumed: more may be granted. */
  grant(cursor: Cursor): void {
    if (cursor.grantDue() === 0) return;
    this.#granting.add(cursor);
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#cursors.clear();
  }

  /** One message for all that this event-loop turn asks for. */
  #schedule(): void {
    if (this.#deferred || this.#stopped) return;
    this.#deferred = true;
    this.#context.clock.defer(() => {
      this.#deferred = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#stopped || this.#backingOff) return;
    const opening = this.#stream === undefined;
    if (opening && this.#cursors.size === 0) return;
    const grants: { cursorId: number; bytes: number }[] = [];
    for (const cursor of this.#granting) {
      const bytes = cursor.grantDue();
      if (bytes === 0) continue;
      cursor.grantedBytes += bytes;
      grants.push({ cursorId: cursor.cursorId, bytes });
    }
    this.#granting.clear();
    const request: HotFetchRequest = {
      open: opening
        ? {
            clientId: this.#context.clientId,
            messageBytesMax,
            clusterId: this.#context.clusterId(),
            isolation: this.#context.isolation,
          }
        : undefined,
      remove: opening ? [] : this.#remove,
      add: this.#add,
      grants,
    };
    this.#remove = [];
    this.#add = [];
    if (opening) this.#open();
    // What is queued is bounded by the cursors there are, so a full queue needs no waiting.
    this.#stream?.write(request);
  }

  #open(): void {
    const stream = this.#channel.bidi(fetchMethod);
    this.#stream = stream;
    this.#cancelTimer = this.#context.clock.timer(openTimeoutMs, () => {
      this.#lost(stream, this.#silent(openTimeoutMs));
    });
    void this.#receive(stream);
  }

  /** Reads until the stream ends. Never rejects. */
  async #receive(stream: Stream): Promise<void> {
    try {
      for (;;) {
        const message = stream.tryRead() ?? (await stream.read());
        if (this.#stream !== stream) return;
        if (message === undefined) break;
        this.#lastHeardMs = this.#context.clock.monoMs();
        if (message.opened !== undefined) {
          this.#failures = 0;
          this.#watch(stream, message.opened.heartbeatIntervalMs * silentIntervals);
        }
        this.#take(message);
        if (message.drain === undefined) continue;
        this.#lost(stream, new MillraceError(ErrorCode.SHUTTING_DOWN, "the server is stopping"));
        return;
      }
      this.#lost(stream, new MillraceError(ErrorCode.UNAVAILABLE, "the server ended the stream"));
    } catch (thrown) {
      this.#lost(stream, MillraceError.from(thrown));
    }
  }

  #take(message: HotFetchResponse): void {
    const cursor = this.#cursors.get(message.cursorId ?? 0);
    if (cursor === undefined) return;
    if (message.highWatermark !== undefined) cursor.highWatermark = message.highWatermark;
    if (message.error !== undefined) {
      this.#cursors.delete(cursor.cursorId);
      this.#granting.delete(cursor);
      cursor.fetcher = undefined;
      this.#events.onFailed(cursor, fromWire(message.error));
      return;
    }
    cursor.failures = 0;
    let bytes = 0;
    const nextOffset = message.nextOffset ?? cursor.fetchOffset;
    for (const view of message.batches) {
      const buffer = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
      bytes += buffer.length;
      cursor.chunks.push({ buffer, at: 0, nextOffset, highWatermark: cursor.highWatermark });
    }
    cursor.fetchOffset = nextOffset;
    if (message.leaderEpoch !== undefined) cursor.lastEpoch = message.leaderEpoch;
    cursor.bufferedBytes += bytes;
    cursor.grantedBytes = Math.max(0, cursor.grantedBytes - bytes);
    if (cursor.chunks.length === 0) cursor.position = Math.max(cursor.position, nextOffset);
    this.#events.onData(cursor);
  }

  #watch(stream: Stream, silentMs: number): void {
    this.#cancelTimer();
    if (silentMs === 0) return;
    const leftMs = this.#lastHeardMs + silentMs - this.#context.clock.monoMs();
    this.#cancelTimer = this.#context.clock.timer(Math.max(1, leftMs), () => {
      const quietMs = this.#context.clock.monoMs() - this.#lastHeardMs;
      if (quietMs >= silentMs) this.#lost(stream, this.#silent(silentMs));
      else this.#watch(stream, silentMs);
    });
  }

  #silent(ms: number): MillraceError {
    return new MillraceError(
      ErrorCode.UNAVAILABLE,
      `${this.endpoint} was silent for ${ms} ms: check the server and the network`,
    );
  }

  #lost(stream: Stream, error: MillraceError): void {
    if (this.#stream !== stream) return;
    this.#cancelTimer();
    this.#stream = undefined;
    stream.cancel(error);
    this.#context.logger.debug({ err: error, endpoint: this.endpoint }, "fetch stream lost");
    this.#backingOff = true;
    const ms = backoffMs(this.#failures, this.#context.random);
    this.#failures += 1;
    this.#cancelTimer = this.#context.clock.timer(ms, () => {
      this.#backingOff = false;
      this.#schedule();
    });
    const cursors = [...this.#cursors.values()];
    this.#cursors.clear();
    this.#granting.clear();
    this.#remove = [];
    this.#add = [];
    for (const cursor of cursors) {
      cursor.fetcher = undefined;
      this.#events.onFailed(cursor, error);
    }
  }
}
