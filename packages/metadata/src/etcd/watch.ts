/**
 * A watch on one stream to one etcd server.
 *
 * - The resume point is the last event's revision, or the revision of a progress notification that
 *   came after it. The header of the response that says *created* proves nothing: etcd may deliver
 *   the backlog up to 100 ms later. The header of a response with events may be ahead of them.
 * - A response may be a fragment of a revision: its events wait for the rest.
 * - A silent stream is asked for progress, and is lost if it does not answer.
 */
import type { Cancel, Clock } from "@millrace/env";
import type { IResponseHeader, IWatchRequest, IWatchResponse } from "etcd3";
import type { KeyRange, WatchEnd, WatchEvent, WatchHandle, WatchHandlers } from "../api.ts";
import { divergedError } from "../outcome.ts";
import { type Codec, numberOf } from "./codec.ts";
import type { Endpoints, Server } from "./endpoints.ts";
import { EtcdError, type RawStream } from "./raw-api.ts";

export interface EtcdWatchOptions {
  readonly clock: Clock;
  readonly endpoints: Endpoints;
  readonly codec: Codec;
  readonly range: KeyRange;
  readonly fromRevision: number;
  readonly handlers: WatchHandlers;
  /** Longest time until the watch is made, ms. */
  readonly timeoutMs: number;
  /** Silence after which the stream is asked for progress, and again until it is lost, ms. */
  readonly silenceMs: number;
  /** Of the store, as a read that sees every write finds it. */
  readonly readRevision: () => Promise<number>;
  /** Checks which cluster has answered. */
  readonly heard: (header: IResponseHeader) => void;
  /** Called once, before `onEnd`. */
  readonly ended: (watch: EtcdWatch) => void;
}

const lost = (message: string): EtcdError => new EtcdError(14, message);

export class EtcdWatch implements WatchHandle {
  readonly #options: EtcdWatchOptions;
  #server: Server | undefined;
  #stream: RawStream<IWatchRequest> | undefined;
  #state: "opening" | "live" | "ended" = "opening";
  /** All changes up to here have been delivered. */
  #revision: number;
  /** Events of a response that has more fragments. */
  #pending: WatchEvent[] = [];
  #asked = false;
  #heardSinceTick = false;
  #cancelTimer: Cancel = () => {};

  constructor(options: EtcdWatchOptions) {
    this.#options = options;
    this.#revision = options.fromRevision - 1;
    this.#cancelTimer = options.clock.timer(options.timeoutMs, () =>
      this.#lose(lost(`etcd has not made a watch within ${options.timeoutMs} ms`)),
    );
    this.#open().catch((thrown: unknown) => this.#lose(thrown));
  }

  cancel(): void {
    this.end({ reason: "cancelled" });
  }

  requestProgress(): void {
    if (this.#state === "opening") this.#asked = true;
    else this.#stream?.write({ progress_request: {} });
  }

  end(end: WatchEnd): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#cancelTimer();
    this.#stream?.close();
    const { clock, handlers, ended } = this.#options;
    ended(this);
    clock.defer(() => handlers.onEnd(end));
  }

  async #open(): Promise<void> {
    const { endpoints, codec, range, fromRevision, timeoutMs } = this.#options;
    this.#server = endpoints.current;
    const { server, context } = await endpoints.session(timeoutMs);
    if (this.#state === "ended") return;
    this.#server = server;
    this.#stream = server.raw.watch(context, {
      onData: (response) => this.#receive(response),
      onEnd: (error) => this.#lose(error),
    });
    this.#stream.write({
      create_request: {
        ...codec.range(range),
        ...{ start_revision: fromRevision, progress_notify: true, fragment: true },
      },
    });
  }

  #lose(thrown: unknown): void {
    if (this.#state === "ended") return;
    const { endpoints } = this.#options;
    endpoints.forgetLogin(thrown);
    if (this.#server !== undefined) endpoints.leave(this.#server, thrown);
    const error = thrown instanceof Error ? thrown : lost(String(thrown));
    this.end({ reason: "lost", error });
  }

  #receive(response: IWatchResponse): void {
    if (this.#state === "ended") return;
    this.#heardSinceTick = true;
    try {
      this.#options.heard(response.header);
      // Another cluster has answered, and all watches have ended.
      if (this.#isEnded()) return;
      if (response.canceled) this.#canceled(response);
      else if (response.created) this.#created(response);
      else this.#deliver(response);
    } catch (thrown) {
      this.#lose(thrown);
    }
  }

  #isEnded(): boolean {
    return this.#state === "ended";
  }

  #canceled({ compact_revision, cancel_reason }: IWatchResponse): void {
    const compactRevision = numberOf(compact_revision);
    if (compactRevision > 0) this.end({ reason: "compacted", compactRevision });
    else this.#lose(lost(`etcd has ended a watch: ${cancel_reason}`));
  }

  #created({ header }: IWatchResponse): void {
    this.#state = "live";
    this.#cancelTimer();
    this.#heardSinceTick = false;
    this.#tick();
    if (this.#asked) this.requestProgress();
    this.#asked = false;
    const { fromRevision, readRevision } = this.#options;
    if (numberOf(header.revision) >= fromRevision - 1) return;
    // This server lags behind the others, or the whole store is behind what the caller has seen.
    readRevision().then(
      (revision) => {
        if (revision >= fromRevision - 1) return;
        this.end({ reason: "diverged", error: divergedError(fromRevision, revision) });
      },
      (thrown: unknown) => this.#lose(thrown),
    );
  }

  #deliver({ header, events, fragment }: IWatchResponse): void {
    const { codec } = this.#options;
    // Progress says nothing about a revision that is still on its way.
    if (events.length === 0 && this.#pending.length > 0) return;
    this.#pending.push(...events.map((event) => codec.event(event)));
    if (fragment) return;
    const whole = this.#pending;
    this.#pending = [];
    if (whole.length === 0) {
      this.#batch([], numberOf(header.revision));
      return;
    }
    // One batch a revision, which etcd may send many of at once.
    for (let begin = 0; begin < whole.length; ) {
      const revision = whole[begin]?.kv.modRevision ?? 0;
      let end = begin + 1;
      while (whole[end]?.kv.modRevision === revision) end += 1;
      this.#batch(whole.slice(begin, end), revision);
      begin = end;
    }
  }

  /** Passes over what has been delivered before. */
  #batch(events: readonly WatchEvent[], revision: number): void {
    if (this.#isEnded()) return;
    if (events.length > 0 ? revision <= this.#revision : revision < this.#revision) return;
    this.#revision = revision;
    this.#options.handlers.onBatch({ events, revision });
  }

  /**
   * etcd says nothing of progress before it has reached the first revision of a watch. One that
   * waits for that, of a store in which nothing happens, is not lost.
   */
  #judgeSilence(error: EtcdError): void {
    const { readRevision, fromRevision } = this.#options;
    if (this.#revision >= fromRevision) {
      this.#lose(error);
      return;
    }
    readRevision().then(
      (revision) => {
        if (this.#isEnded()) return;
        if (this.#heardSinceTick || revision === fromRevision - 1) this.#tick();
        else if (revision >= fromRevision) this.#lose(error);
        else this.end({ reason: "diverged", error: divergedError(fromRevision, revision) });
      },
      (thrown: unknown) => this.#lose(thrown),
    );
  }

  /** Asks after a time of silence; after another one the stream is lost. */
  #tick(): void {
    const { clock, silenceMs } = this.#options;
    let asked = false;
    const check = (): void => {
      if (this.#heardSinceTick) asked = false;
      else if (asked) {
        this.#judgeSilence(lost(`a watch was silent for ${2 * silenceMs} ms`));
        return;
      } else {
        asked = true;
        this.requestProgress();
      }
      this.#heardSinceTick = false;
      this.#cancelTimer = clock.timer(silenceMs, check);
    };
    this.#cancelTimer = clock.timer(silenceMs, check);
  }
}
