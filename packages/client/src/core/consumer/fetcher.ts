/** The fetch stream to one broker. */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { WireFetchCursor, WireFetchRequest, WireFetchResponse } from "@millrace/record";
import type { Channel, ClientStream } from "@millrace/rpc";
import { backoffMs } from "../backoff.ts";
import { fetchSilentMs, leaderSilentMs } from "../deadlines.ts";
import { fromWire, isSilence } from "../failures.ts";
import type { Leader } from "../metadata/index.ts";
import { fetchMethod } from "../methods.ts";
import { SilenceTimer } from "../silence.ts";
import { owesAnswer, silentMs } from "../state.ts";
import type { Cursor } from "./cursor.ts";

/** What a fetcher reports about its cursors. */
export interface FetcherEvents {
  /** The cursor received batches, a high watermark, or both. */
  onData(cursor: Cursor): void;
  /** The cursor is no longer read. */
  onFailed(cursor: Cursor, error: MillraceError): void;
  /** The stream broke, or the server is stopping. */
  onLost(error: MillraceError): void;
}

export interface FetcherContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly clientId: string;
  readonly isolation: number;
  readonly clusterId: () => string;
  /** A short call to the server. Rejects with UNAVAILABLE or DEADLINE_EXCEEDED if it is silent. */
  readonly probe: (cursor: Cursor) => Promise<unknown>;
}

type Stream = ClientStream<WireFetchRequest, WireFetchResponse>;

/** Quiet of a stream after which its server is probed, milliseconds. */
const probeAfterMs = 750;
/** Quiet that a server which answers probes does not reach, milliseconds. */
const doubtMs = 1_200;
/** Largest message to ask for, bytes. */
const messageBytesMax = 1024 * 1024;

/** Reads all cursors of one broker over one stream. */
export class Fetcher {
  /** `host:port`, for texts. */
  readonly endpoint: string;
  readonly #channel: Channel;
  readonly #context: FetcherContext;
  readonly #events: FetcherEvents;
  readonly #cursors = new Map<number, Cursor>();
  #stream: Stream | undefined;
  #remove: number[] = [];
  #add: WireFetchCursor[] = [];
  /** Cursors that may be granted more. */
  readonly #granting = new Set<number>();
  readonly #silence: SilenceTimer;
  #deferred = false;
  #nextId = 1;
  #failures = 0;
  /** Why the stream broke last; undefined once it opened. */
  #lastError: MillraceError | undefined;
  /** When the server answered a probe last, monotonic. */
  #answeredMs = Number.NEGATIVE_INFINITY;
  #isProbing = false;
  #cancelTimer: () => void = () => {};
  #backingOff = false;
  #stopped = false;

  constructor(channel: Channel, context: FetcherContext, events: FetcherEvents) {
    this.endpoint = channel.endpoint;
    this.#channel = channel;
    this.#context = context;
    this.#events = events;
    this.#silence = new SilenceTimer(context.clock);
  }

  /** The cursors that are read. */
  cursors(): Cursor[] {
    return [...this.#cursors.values()];
  }

  /** Starts reading from `cursor.fetchOffset`. */
  add(cursor: Cursor, leader: Leader): void {
    const cursorId = this.#nextId;
    this.#nextId += 1;
    cursor.attach({
      grant: () => this.#grant(cursorId, cursor),
      detach: () => this.#drop(cursorId),
      trouble: () => this.#trouble(),
    });
    this.#cursors.set(cursorId, cursor);
    this.#add.push({
      cursorId,
      topicId: leader.topicId,
      topic: leader.topicId.length === 0 ? cursor.topic : "",
      partition: cursor.partition,
      offset: cursor.fetchOffset,
      leaderEpoch: leader.leaderEpoch,
      lastFetchedEpoch: cursor.lastFetchedEpoch,
      grantBytes: cursor.takeGrant(),
    });
    this.#schedule();
  }

  /** True when the server owes the answer to a probe: who knows what it has. */
  get isDoubtful(): boolean {
    return this.#cursors.size > 0 && this.#quietMs >= doubtMs;
  }

  #trouble(): MillraceError | undefined {
    if (this.#lastError !== undefined || this.#stream === undefined) return this.#lastError;
    const quietMs = this.#quietMs;
    return quietMs < silentMs ? undefined : owesAnswer(this.endpoint, quietMs);
  }

  /** How long nothing was heard of the server, milliseconds. */
  get #quietMs(): number {
    const { clock } = this.#context;
    return Math.min(this.#silence.quietMs, clock.monoMs() - this.#answeredMs);
  }

  /** Sees whether a quiet server is there: its heartbeats come too rarely to tell that soon. */
  probe(): void {
    const [cursor] = this.#cursors.values();
    if (cursor === undefined || this.#stream === undefined || this.#isProbing) return;
    if (this.#quietMs < probeAfterMs) return;
    this.#isProbing = true;
    const answered = (): void => {
      this.#answeredMs = this.#context.clock.monoMs();
    };
    this.#context
      .probe(cursor)
      .then(answered, (thrown: unknown) => {
        if (!isSilence(MillraceError.from(thrown))) answered();
      })
      .finally(() => {
        this.#isProbing = false;
      });
  }

  #drop(cursorId: number): void {
    if (!this.#cursors.delete(cursorId)) return;
    this.#granting.delete(cursorId);
    const at = this.#add.findIndex((added) => added.cursorId === cursorId);
    if (at >= 0) this.#add.splice(at, 1);
    else this.#remove.push(cursorId);
    this.#schedule();
  }

  #grant(cursorId: number, cursor: Cursor): void {
    if (cursor.grantDue() === 0) return;
    this.#granting.add(cursorId);
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
    this.#silence.stop();
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#cursors.clear();
  }

  /** Sends one message at the end of the turn for everything that the turn asked for. */
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
    for (const cursorId of this.#granting) {
      const bytes = this.#cursors.get(cursorId)?.takeGrant() ?? 0;
      if (bytes > 0) grants.push({ cursorId, bytes });
    }
    this.#granting.clear();
    const request: WireFetchRequest = {
      open: opening
        ? {
            clientId: this.#context.clientId,
            messageBytesMax,
            clusterId: this.#context.clusterId(),
            isolation: this.#context.isolation,
            requiredFeatures: [],
          }
        : undefined,
      remove: opening ? [] : this.#remove,
      add: this.#add,
      grants,
    };
    this.#remove = [];
    this.#add = [];
    if (opening) this.#open();
    // No need to wait for a full queue: the number of cursors bounds what is queued.
    this.#stream?.write(request);
  }

  #open(): void {
    const stream = this.#channel.bidi(fetchMethod);
    this.#stream = stream;
    this.#expect(stream, leaderSilentMs);
    void this.#receive(stream);
  }

  /** Reads until the stream ends. Never rejects. */
  async #receive(stream: Stream): Promise<void> {
    try {
      for (;;) {
        const message = stream.tryRead() ?? (await stream.read());
        if (this.#stream !== stream) return;
        if (message === undefined) break;
        this.#silence.heard();
        if (message.opened !== undefined) {
          const { heartbeatIntervalMs } = message.opened;
          this.#failures = 0;
          this.#lastError = undefined;
          this.#expect(stream, fetchSilentMs(heartbeatIntervalMs));
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

  #take(message: WireFetchResponse): void {
    const { cursorId = 0, error, nextOffset, highWatermark } = message;
    const cursor = this.#cursors.get(cursorId);
    if (cursor === undefined) return;
    if (error !== undefined) {
      this.#cursors.delete(cursorId);
      this.#granting.delete(cursorId);
      this.#fail(cursor, fromWire(error));
      return;
    }
    const batches = message.batches.map((view) =>
      Buffer.from(view.buffer, view.byteOffset, view.byteLength),
    );
    cursor.receive({ batches, nextOffset, highWatermark });
    this.#events.onData(cursor);
  }

  #fail(cursor: Cursor, error: MillraceError): void {
    cursor.becomeDetached();
    this.#events.onFailed(cursor, error);
  }

  /** Gives the stream up when nothing comes for `ms`; 0 waits forever. */
  #expect(stream: Stream, ms: number): void {
    this.#silence.stop();
    if (ms > 0) this.#silence.start(ms, () => this.#lost(stream, this.#silent(ms)));
  }

  #silent(ms: number): MillraceError {
    return new MillraceError(
      ErrorCode.UNAVAILABLE,
      `${this.endpoint} was silent for ${ms} ms: check the server and the network`,
    );
  }

  #lost(stream: Stream, error: MillraceError): void {
    if (this.#stream !== stream) return;
    this.#silence.stop();
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
    this.#lastError = error;
    this.#events.onLost(error);
    const cursors = [...this.#cursors.values()];
    this.#cursors.clear();
    this.#granting.clear();
    this.#remove = [];
    this.#add = [];
    for (const cursor of cursors) this.#fail(cursor, error);
  }
}
