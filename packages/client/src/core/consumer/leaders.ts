/** Keeps every cursor attached to the fetch stream of its partition's leader. */
import { create } from "@bufbuild/protobuf";
import type { Env } from "@millrace/env";
import { type Endpoint, ErrorCode, MillraceError } from "@millrace/errors";
import { ListOffsetsRequestSchema, OffsetSpec } from "@millrace/proto/broker";
import type { Channel } from "@millrace/rpc";
import { backoffMs } from "../backoff.ts";
import { replacedSilentMs } from "../deadlines.ts";
import { isRetriable, isSilence, wantsRefresh } from "../failures.ts";
import { isSameTopic, type TopicInfo } from "../metadata/index.ts";
import { methods } from "../methods.ts";
import { type CallContext, resolvePosition } from "../offsets.ts";
import type { Cursor } from "./cursor.ts";
import { Fetcher } from "./fetcher.ts";

export interface LeadersContext extends CallContext {
  readonly env: Pick<Env, "clock" | "random" | "compressor" | "logger">;
  readonly clientId: string;
}

export interface LeadersOptions {
  readonly isolation: number;
  readonly onOutOfRange: "error" | "earliest" | "latest";
  /** A cursor received data or failed. */
  readonly onNews: () => void;
  /** A stream to this `host:port` broke. */
  readonly onLost: (server: string, error: MillraceError) => void;
}

/** Deadline of one offset lookup, retries included, milliseconds. */
export const lookupTimeoutMs = 30_000;
/** Failed attempts after which a topic or partition missing from the metadata counts as deleted. */
const unknownTopicAttempts = 5;

/** Attaches cursors to leaders, and again after failures. */
export class Leaders {
  readonly #context: LeadersContext;
  readonly #options: LeadersOptions;
  readonly #fetchers = new Map<Channel, Fetcher>();
  readonly #stopFollowing: () => void;
  #stopped = false;

  constructor(context: LeadersContext, options: LeadersOptions) {
    this.#context = context;
    this.#options = options;
    this.#stopFollowing = context.metadata.onChange(() => this.#followLeaders());
  }

  /** Ends all streams. */
  stop(): void {
    this.#stopped = true;
    this.#stopFollowing();
    for (const fetcher of this.#fetchers.values()) fetcher.stop();
  }

  /** Adds the cursor to the stream of the leader, now or once there is a leader. */
  attach(cursor: Cursor): void {
    if (this.#stopped || cursor.state.name === "dropped" || cursor.fetchedToEnd) return;
    cursor.becomeDetached();
    if (cursor.held) return;
    const { metadata } = this.#context;
    const info = metadata.peek(cursor.topic);
    if (info !== undefined && !isSameTopic(info.topicId, cursor.topicId)) {
      this.#fail(cursor, recreated(cursor));
      return;
    }
    const leader = metadata.leaderOf(cursor.topic, cursor.partition);
    if (leader === undefined) this.#retry(cursor, noLeader(cursor, info));
    else this.#fetcherFor(leader.endpoint).add(cursor, leader);
  }

  /**
   * The error of a failed cursor that is drained, for the application. Undefined when
   * `onOutOfRange` says where to continue instead; then the cursor moves there by itself.
   */
  takeError(cursor: Cursor): MillraceError | undefined {
    if (cursor.state.name !== "failed") return undefined;
    const { error } = cursor.state;
    const { onOutOfRange } = this.#options;
    if (error.code !== ErrorCode.OFFSET_OUT_OF_RANGE || onOutOfRange === "error") return error;
    cursor.becomeDetached();
    const { topic, partition, fetchOffset } = cursor;
    this.#context.env.logger.warn(
      { topic, partition, offset: fetchOffset, err: error },
      `the position is not in the log: continuing from ${onOutOfRange}`,
    );
    this.#restart(cursor, onOutOfRange).catch((thrown: unknown) => {
      this.#fail(cursor, MillraceError.from(thrown));
    });
    return undefined;
  }

  async #restart(cursor: Cursor, at: "earliest" | "latest"): Promise<void> {
    const { topic, partition } = cursor;
    // The first restart is immediate; repeated ones must not become a busy loop.
    const { clock, random } = this.#context;
    if (cursor.restarts > 0) await clock.sleep(backoffMs(cursor.restarts - 1, random));
    cursor.restarts += 1;
    const resolve = (where: "earliest" | "latest") =>
      resolvePosition(this.#context, topic, partition, where, lookupTimeoutMs);
    const [start, end] = await Promise.all([resolve(at), resolve("latest")]);
    if (cursor.state.name === "dropped") return;
    const bounded = cursor.endOffset !== Number.POSITIVE_INFINITY;
    const oldEnd = isSameTopic(start.topicId, cursor.topicId)
      ? cursor.endOffset
      : Number.POSITIVE_INFINITY;
    const endOffset = bounded ? Math.min(oldEnd, end.offset) : Number.POSITIVE_INFINITY;
    cursor.restart({ ...start, endOffset });
    this.attach(cursor);
    this.#options.onNews();
  }

  /** Sees whether servers that are quiet are there. For `onState` alone: it costs calls. */
  probeQuiet(): void {
    for (const fetcher of this.#fetchers.values()) fetcher.probe();
  }

  /** True when a server may have something and not say so. */
  get isDoubtful(): boolean {
    for (const fetcher of this.#fetchers.values()) if (fetcher.isDoubtful) return true;
    return false;
  }

  #probe(endpoint: Endpoint, { topic, topicId, partition }: Cursor): Promise<unknown> {
    const queries = [{ topic, topicId, partition, spec: OffsetSpec.LATEST }];
    const request = create(ListOffsetsRequestSchema, { queries });
    const options = { timeoutMs: replacedSilentMs };
    return this.#context.connections.unary(endpoint, methods.listOffsets, request, options);
  }

  /** The log seems to end before the end that an iteration waits for: asks the leader. */
  async #checkEnd(cursor: Cursor): Promise<void> {
    const { topic, partition } = cursor;
    try {
      const end = await resolvePosition(this.#context, topic, partition, "latest", lookupTimeoutMs);
      if (!isSameTopic(end.topicId, cursor.topicId)) return;
      cursor.lowerEnd(end.offset);
      this.#options.onNews();
    } catch (thrown) {
      this.#context.env.logger.debug(
        { err: thrown, topic, partition },
        "the end of the log could not be checked",
      );
    }
  }

  #onData(cursor: Cursor): void {
    const bounded = cursor.endOffset !== Number.POSITIVE_INFINITY;
    if (cursor.fetchedToEnd) cursor.stopFetching();
    else if (bounded && cursor.highWatermark <= cursor.fetchOffset) void this.#checkEnd(cursor);
    this.#options.onNews();
  }

  #fail(cursor: Cursor, error: MillraceError): void {
    cursor.fail(error);
    this.#options.onNews();
  }

  /** Reads on at the new leader at once: the old one may be dead, and say nothing. */
  #followLeaders(): void {
    const { connections, metadata } = this.#context;
    for (const [channel, fetcher] of this.#fetchers) {
      for (const cursor of fetcher.cursors()) {
        const leader = metadata.leaderOf(cursor.topic, cursor.partition);
        if (leader === undefined || connections.channel(leader.endpoint) === channel) continue;
        cursor.stopFetching();
        this.attach(cursor);
      }
    }
  }

  /** `server` is the `host:port` of the one that failed, if any did. */
  #retry(cursor: Cursor, error: MillraceError, server?: string): void {
    if (cursor.state.name === "dropped" || this.#stopped) return;
    cursor.failures += 1;
    cursor.lastError = error;
    const { clock, metadata, random } = this.#context;
    const deleted =
      error.code === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION && cursor.failures > unknownTopicAttempts;
    if (!isRetriable(error) || deleted) {
      this.#fail(cursor, error);
      return;
    }
    if (error.leaderHint !== undefined) {
      metadata.applyHint(cursor.topic, cursor.partition, error.leaderHint);
    }
    const refresh = error.leaderHint === undefined && wantsRefresh(error);
    clock.timer(backoffMs(cursor.failures - 1, random, error.retryAfterMs), () => {
      if (cursor.state.name !== "detached" || this.#stopped) return;
      const lost = isSilence(error) ? server : undefined;
      void (refresh ? metadata.renew(lost) : Promise.resolve()).then(() => {
        // A new iteration may have attached the cursor during the refresh.
        if (cursor.state.name === "detached") this.attach(cursor);
      });
    });
  }

  #fetcherFor(endpoint: Endpoint): Fetcher {
    const { connections, metadata, clientId, env } = this.#context;
    const channel = connections.channel(endpoint);
    let fetcher = this.#fetchers.get(channel);
    if (fetcher === undefined) {
      const { clock, random, logger } = env;
      const { isolation } = this.#options;
      const clusterId = (): string => metadata.clusterId;
      const server = channel.endpoint;
      fetcher = new Fetcher(
        channel,
        {
          ...{ clock, random, logger, clientId, isolation, clusterId },
          probe: (cursor) => this.#probe(endpoint, cursor),
        },
        {
          onData: (cursor) => this.#onData(cursor),
          onFailed: (cursor, error) => this.#retry(cursor, error, server),
          onLost: (error) => this.#options.onLost(server, error),
        },
      );
      this.#fetchers.set(channel, fetcher);
    }
    return fetcher;
  }
}

const nameOf = ({ topic, partition }: Cursor): string => `${topic}-${partition}`;

const recreated = (cursor: Cursor): MillraceError =>
  new MillraceError(
    ErrorCode.OFFSET_OUT_OF_RANGE,
    `topic ${JSON.stringify(cursor.topic)} was deleted and created again, and offset ` +
      `${cursor.fetchOffset} of partition ${cursor.partition} belongs to the old topic: ` +
      "seek or assign again, or set onOutOfRange",
  );

const noLeader = (cursor: Cursor, info: TopicInfo | undefined): MillraceError => {
  if (info?.partitions[cursor.partition] !== undefined) {
    return new MillraceError(
      ErrorCode.LEADER_NOT_AVAILABLE,
      `${nameOf(cursor)} has no leader at the moment: check its brokers`,
    );
  }
  return new MillraceError(
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    `${nameOf(cursor)} does not exist: create it, or check the name`,
  );
};
