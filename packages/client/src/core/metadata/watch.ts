/** Follows the metadata of the topics in use over one WatchMetadata stream. */
import { create } from "@bufbuild/protobuf";
import type { Clock, Logger, Random } from "@millrace/env";
import { type Endpoint, ErrorCode, formatEndpoint, hasCode, MillraceError } from "@millrace/errors";
import { WatchMetadataRequestSchema, type WatchMetadataResponse } from "@millrace/proto/metadata";
import type { ClientStream } from "@millrace/rpc";
import { backoffMs, backoffRangeMs } from "../backoff.ts";
import type { Connections } from "../connections.ts";
import { overdueMs } from "../deadlines.ts";
import { methods } from "../methods.ts";
import { SilenceTimer } from "../silence.ts";
import type { Servers } from "./servers.ts";
import { includesAll, type MetadataView } from "./view.ts";

export interface WatchContext {
  readonly connections: Connections;
  readonly servers: Servers;
  readonly view: MetadataView;
  /** Names of the topics in use; grows and shrinks. */
  readonly wanted: ReadonlySet<string>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Longest wait for the first message of a server, milliseconds. */
  readonly openTimeoutMs: number;
  /** Pause before servers that have no WatchMetadata are asked for it again, milliseconds. */
  readonly unsupportedPauseMs: number;
}

type Stream = ClientStream<never, WatchMetadataResponse>;

/** A stream whose first message has arrived and was not taken yet. */
interface Opened {
  readonly endpoint: Endpoint;
  readonly stream: Stream;
  readonly first: WatchMetadataResponse;
  readonly topics: ReadonlySet<string>;
}

/** Intervals without a heartbeat after which the server counts as dead. */
const silentIntervals = 3;
/** Where the server states no interval, milliseconds. */
const defaultIntervalMs = 5_000;

/**
 * `idle`: no topic is in use. `paused`: between two attempts. `unsupported`: no server that answers
 * has WatchMetadata.
 */
type State = "idle" | "opening" | "live" | "paused" | "unsupported" | "closed";

export class MetadataWatch {
  readonly #context: WatchContext;
  readonly #silence: SilenceTimer;
  readonly #closing = new AbortController();
  #state: State = "idle";
  #current: Opened | undefined;
  #intervalMs = defaultIntervalMs;
  /** Ends the current stream, so that another is opened. */
  #reopen: () => void = () => {};
  /** Resolves when an attempt to open ends. */
  #attempt = Promise.withResolvers<void>();
  #deferred = false;
  /** A message did not fit what is known: only a snapshot puts that right. */
  #mustList = false;

  constructor(context: WatchContext) {
    this.#context = context;
    this.#silence = new SilenceTimer(context.clock);
  }

  get state(): State {
    return this.#state;
  }

  /** True while the watch tells everything about the topic. */
  covers(topic: string): boolean {
    return this.#state === "live" && this.#current?.topics.has(topic) === true;
  }

  /** Follows the topics in use. One stream begins for all that are added in one turn. */
  follow(): void {
    if (this.#state === "idle") {
      this.#state = "opening";
      this.#context.clock.defer(() => void this.#run());
      return;
    }
    if (this.#deferred || this.#coversAll()) return;
    this.#deferred = true;
    this.#context.clock.defer(() => {
      this.#deferred = false;
      if (this.#state === "live" && !this.#coversAll()) this.#reopen();
    });
  }

  /** Resolves when the attempt to open that is under way, or the next one, has ended. */
  attempted(): Promise<void> {
    return this.#attempt.promise;
  }

  /**
   * A stream to this `host:port` broke, or has been silent for `silentMs`. When its watch is
   * overdue as well, or silent for as long, another is opened.
   */
  suspect(server: string, silentMs = Number.POSITIVE_INFINITY): void {
    const current = this.#current;
    if (current === undefined || formatEndpoint(current.endpoint) !== server) return;
    const { quietMs } = this.#silence;
    if (quietMs <= overdueMs(this.#intervalMs) && quietMs < silentMs) return;
    this.#context.servers.leave(current.endpoint);
    this.#reopen();
  }

  /** What is known is of another generation than the stream. */
  restart(): void {
    this.#reopen();
  }

  close(): void {
    this.#state = "closed";
    this.#silence.stop();
    this.#closing.abort(new MillraceError(ErrorCode.CANCELLED, "the client is closed"));
    this.#reopen();
    this.#attempt.resolve();
  }

  #coversAll(): boolean {
    return this.#current !== undefined && includesAll(this.#current.topics, this.#context.wanted);
  }

  /** True once closed: the state changes while the watch waits. */
  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { clock, logger, servers, wanted } = this.#context;
    for (let failures = 0; !this.#isClosed; ) {
      if (wanted.size === 0) {
        // A watch over no names would be one over all topics.
        this.#state = "idle";
        return;
      }
      const startedMs = clock.monoMs();
      let opened: Opened | undefined;
      try {
        this.#state = "opening";
        opened = await this.#open();
        if (await this.#readAll(opened)) continue;
      } catch (thrown) {
        if (this.#isClosed) return;
        if (opened !== undefined) servers.leave(opened.endpoint);
        else if (hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION)) this.#state = "unsupported";
        logger.debug({ err: thrown }, "the watch of the metadata ended");
      } finally {
        this.#drop();
      }
      // A stream that ends soon after it began is a failure, too.
      const lasted = opened !== undefined && clock.monoMs() - startedMs > backoffRangeMs.max;
      failures = lasted ? 0 : failures + 1;
      await this.#pause(failures);
    }
  }

  async #pause(failures: number): Promise<void> {
    const { clock, random, unsupportedPauseMs } = this.#context;
    if (this.#isClosed) return;
    const isUnsupported = this.#state === "unsupported";
    if (!isUnsupported) this.#state = "paused";
    const ms = isUnsupported ? unsupportedPauseMs : backoffMs(Math.max(0, failures - 1), random);
    this.#attempt.resolve();
    this.#attempt = Promise.withResolvers();
    await clock.sleep(ms, this.#closing.signal).catch(() => {});
  }

  /** Rejects with UNSUPPORTED_OPERATION when a server lacks the method and no other has it. */
  async #open(): Promise<Opened> {
    const { servers, view, wanted } = this.#context;
    const topics = new Set(wanted);
    view.keepOnly(topics);
    const resumes = !this.#mustList && view.follows(topics);
    const request = create(WatchMetadataRequestSchema, {
      topics: [...topics],
      ...(resumes ? { generation: view.generation, afterRevision: view.informed } : {}),
    });
    let unsupported: unknown;
    const ask = async (endpoint: Endpoint, signal: AbortSignal): Promise<Opened> => {
      try {
        const { stream, first } = await this.#openAt(endpoint, request, signal);
        return { endpoint, stream, first, topics };
      } catch (thrown) {
        if (hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION)) unsupported = thrown;
        throw thrown;
      }
    };
    try {
      return await servers.firstAnswer(ask, this.#closing.signal, ({ stream }) => stream.cancel());
    } catch (thrown) {
      throw unsupported ?? thrown;
    }
  }

  async #openAt(
    endpoint: Endpoint,
    request: Parameters<typeof methods.watchMetadata.input.encode>[0],
    signal: AbortSignal,
  ): Promise<{ readonly stream: Stream; readonly first: WatchMetadataResponse }> {
    const { clock, connections, openTimeoutMs, view } = this.#context;
    const stream = connections.serverStream(endpoint, methods.watchMetadata, request);
    const server = formatEndpoint(endpoint);
    const onAbort = (): void => stream.cancel(signal.reason);
    signal.addEventListener("abort", onAbort);
    const cancelTimer = clock.timer(openTimeoutMs, () =>
      stream.cancel(silent(server, openTimeoutMs)),
    );
    try {
      const first = await stream.read();
      if (first === undefined) throw ended(server);
      view.check(first, endpoint);
      const resumes = request.afterRevision > 0n;
      const isStale = isSame(first.generation, view.generation) && first.revision < view.informed;
      if (isStale || (!first.snapshot && !resumes)) throw stale(server, first.revision);
      return { stream, first };
    } catch (thrown) {
      stream.cancel(thrown);
      throw thrown;
    } finally {
      cancelTimer();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Takes what the stream tells. True: topics were added, begin again. Rejects when it breaks. */
  async #readAll(opened: Opened): Promise<boolean> {
    const { endpoint, first, stream } = opened;
    const server = formatEndpoint(endpoint);
    this.#current = opened;
    this.#intervalMs = first.heartbeatIntervalMs || defaultIntervalMs;
    let isAgain = false;
    this.#reopen = () => {
      isAgain = true;
      stream.cancel();
    };
    const silentMs = this.#intervalMs * silentIntervals;
    this.#silence.start(silentMs, () => stream.cancel(silent(server, silentMs)));
    for (let news: WatchMetadataResponse | undefined = first; ; ) {
      this.#mustList = !this.#context.view.takeNews(news, opened.topics, first);
      if (this.#mustList) {
        throw stale(server, news.revision);
      }
      if (this.#state === "opening") this.#becomeLive();
      try {
        news = stream.tryRead() ?? (await stream.read());
      } catch (thrown) {
        if (isAgain) return true;
        throw thrown;
      }
      this.#silence.heard();
      if (isAgain) return true;
      if (news === undefined) throw ended(server);
    }
  }

  #becomeLive(): void {
    this.#state = "live";
    this.#attempt.resolve();
    this.#attempt = Promise.withResolvers();
    // Topics may have been added while the stream was opened.
    this.follow();
  }

  #drop(): void {
    this.#silence.stop();
    this.#current?.stream.cancel();
    this.#current = undefined;
    this.#reopen = () => {};
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const silent = (server: string, ms: number): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `${server} was silent for ${ms} ms: check the server and the network`,
  );

const ended = (server: string): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, `${server} ended the watch of the metadata`);

const stale = (server: string, revision: bigint): MillraceError =>
  new MillraceError(
    ErrorCode.METADATA_STALE,
    `${server} tells revision ${revision}, which does not follow what is known: retry`,
  );
