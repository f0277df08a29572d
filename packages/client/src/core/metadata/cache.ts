/** The metadata as the rest of the client uses them. */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import {
  dialable,
  type Endpoint,
  ErrorCode,
  formatEndpoint,
  type LeaderHint,
  MillraceError,
  must,
} from "@millrace/errors";
import { GetMetadataRequestSchema, type GetMetadataResponse } from "@millrace/proto/metadata";
import { backoffMs, backoffRangeMs } from "../backoff.ts";
import type { Connections } from "../connections.ts";
import { closedError, isSilence } from "../failures.ts";
import { methods } from "../methods.ts";
import { Servers } from "./servers.ts";
import {
  type BrokerInfo,
  type GroupCoordinatorInfo,
  type Leader,
  MetadataView,
  type TopicInfo,
} from "./view.ts";
import { MetadataWatch } from "./watch.ts";

export interface MetadataContext {
  readonly connections: Connections;
  /** At least one. */
  readonly bootstrap: readonly Endpoint[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Age at which metadata that no watch tells is asked for again, milliseconds. */
  readonly maxAgeMs: number;
  /** Longest wait for one server, milliseconds. */
  readonly callTimeoutMs: number;
}

/** How long to wait for an unknown topic to appear, milliseconds. */
const unknownTopicMs = 700;
/** How long to try to reach any server, milliseconds. */
const unreachableMs = 30_000;
/** Servers from this level on say where groups are. */
const groupsLevel = 3;
/** Longest wait of a failed request for the watch to be open again, milliseconds. */
const renewMs = backoffRangeMs.max;

/**
 * Follows the topics in use over a watch. Asks by GetMetadata when somebody wants to know for sure,
 * and where the servers have no watch: then on demand and at a maximum age.
 */
export class MetadataCache {
  readonly #context: MetadataContext;
  readonly #view = new MetadataView();
  readonly #servers: Servers;
  readonly #watch: MetadataWatch;
  readonly #wanted = new Set<string>();
  readonly #closing = new AbortController();
  #refreshing: Promise<void> | undefined;
  #renewing: Promise<void> | undefined;
  #coordinators: readonly GroupCoordinatorInfo[] = [];
  #trouble: MillraceError | undefined;
  #cancelTimer: Cancel = () => {};

  constructor(context: MetadataContext) {
    this.#context = context;
    const { bootstrap, clock, callTimeoutMs, maxAgeMs } = context;
    const brokers = () => this.#view.brokers().map(({ endpoint }) => endpoint);
    this.#servers = new Servers({ clock, bootstrap, brokers });
    this.#watch = new MetadataWatch({
      ...context,
      servers: this.#servers,
      view: this.#view,
      wanted: this.#wanted,
      openTimeoutMs: callTimeoutMs,
      unsupportedPauseMs: maxAgeMs,
    });
  }

  get clusterId(): string {
    return this.#view.clusterId;
  }

  /** Endpoint for Admin calls. A bootstrap server until the controller is known. */
  get controller(): Endpoint {
    const first = this.#view.controller ?? this.#servers.good ?? this.#context.bootstrap[0];
    return must(first, "bootstrap server");
  }

  get hasController(): boolean {
    return this.#view.controller !== undefined;
  }

  /** Why no server tells the metadata; undefined once one does. */
  get trouble(): MillraceError | undefined {
    return this.#trouble;
  }

  /** Rises with every change. */
  get version(): number {
    return this.#view.version;
  }

  /** Calls `listener` after every change. Returns how to stop. */
  onChange(listener: () => void): Cancel {
    return this.#view.onChange(listener);
  }

  brokers(): BrokerInfo[] {
    return this.#view.brokers();
  }

  /** The topic as it is known. */
  peek(topic: string): TopicInfo | undefined {
    return this.#view.peek(topic);
  }

  /** The known leader of a partition. Undefined without a known topic, leader or endpoint. */
  leaderOf(topic: string, partition: number): Leader | undefined {
    return this.#view.leaderOf(topic, partition);
  }

  /** From now on, answers must not be older than this revision, which an Admin call returned. */
  requireRevision(revision: bigint): void {
    this.#view.requireRevision(revision);
  }

  /** Applies the leader hint of an error, if it is newer than what is known. */
  applyHint(topic: string, partition: number, hint: LeaderHint): void {
    this.#view.takeHint(topic, partition, hint);
  }

  /** A topic, as known or from a server. Throws UNKNOWN_TOPIC_OR_PARTITION when the topic does not
   * appear within 0.7 s, UNAVAILABLE when no server answers within thirty, and
   * CLUSTER_ID_MISMATCH at once when they are of another cluster. */
  async topic(name: string, signal?: AbortSignal): Promise<TopicInfo> {
    const { clock, random } = this.#context;
    const startedMs = clock.monoMs();
    for (let attempt = 0; ; attempt += 1) {
      let failure: MillraceError | undefined;
      try {
        await this.#lookFor(name);
        const found = this.#view.peek(name);
        if (found !== undefined) return found;
      } catch (thrown) {
        failure = MillraceError.from(thrown);
      }
      const waitedMs = clock.monoMs() - startedMs;
      const isFinal = failure?.code === ErrorCode.CLUSTER_ID_MISMATCH;
      if (failure !== undefined && (isFinal || waitedMs > unreachableMs)) throw failure;
      if (failure === undefined && waitedMs >= unknownTopicMs) {
        this.#forget(name);
        throw new MillraceError(
          ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
          `topic ${JSON.stringify(name)} does not exist: create it, or check the name`,
        );
      }
      if (this.#closing.signal.aborted) throw closedError();
      const pauseMs = backoffMs(attempt, random);
      const leftMs = Math.max(1, unknownTopicMs - waitedMs);
      await this.#change(failure === undefined ? Math.min(pauseMs, leftMs) : pauseMs, signal);
    }
  }

  /** As `topic`, but asks a server first: partitions may have been added, or the topic recreated.
   * Falls back on what is known when no server answers. */
  async freshTopic(name: string): Promise<TopicInfo> {
    this.#use(name);
    // A request already on its way may miss changes made before this call.
    if (this.#refreshing !== undefined) await this.tryRefresh();
    await this.tryRefresh();
    return this.topic(name);
  }

  /**
   * Asks a server where a group is served. Throws NOT_COORDINATOR while nobody serves it,
   * UNSUPPORTED_OPERATION where servers have no groups, and what `refresh` throws.
   */
  async coordinatorOf(group: string): Promise<Endpoint> {
    const answer = await this.#ask([], [group]);
    const endpoint = answer.coordinators.find((one) => one.group === group)?.endpoint;
    const found = dialable(endpoint);
    if (found !== undefined) return found;
    throw answer.featureLevel < groupsLevel ? groupless(answer.featureLevel) : unserved(group);
  }

  /** All group coordinators, as of the last `refresh`. None where servers have no groups. */
  coordinators(): readonly GroupCoordinatorInfo[] {
    return this.#coordinators;
  }

  /** Asks a server for the topics in use. Concurrent calls share one request. */
  refresh(): Promise<void> {
    if (this.#closing.signal.aborted) return Promise.reject(closedError());
    this.#refreshing ??= this.#refreshOnce().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** As `refresh`, but only logs a failure. */
  async tryRefresh(): Promise<void> {
    try {
      await this.refresh();
    } catch (thrown) {
      this.#context.logger.debug({ err: thrown }, "the metadata could not be refreshed");
    }
  }

  /**
   * After an error that may come from old metadata. A live watch tells what changed by itself, so
   * that no server is asked; one that is being opened again is waited for, but not for long. `lost`
   * is the `host:port` of a server whose stream broke. Never rejects.
   */
  renew(lost?: string): Promise<void> {
    if (lost !== undefined) this.#watch.suspect(lost);
    this.#renewing ??= this.#renewOnce().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  /** This `host:port` has left something unanswered for `silentMs`. */
  suspect(server: string, silentMs: number): void {
    this.#watch.suspect(server, silentMs);
  }

  close(): void {
    this.#closing.abort(closedError());
    this.#watch.close();
    this.#view.close();
    this.#cancelTimer();
  }

  /** Looks for a topic by the watch, or else by GetMetadata. */
  async #lookFor(name: string): Promise<void> {
    this.#use(name);
    const { state } = this.#watch;
    // Only an answer to a request that names the revision shows what was just written.
    if (!this.#view.isCurrent(name)) return this.refresh();
    if (this.#view.peek(name) !== undefined || this.#watch.covers(name)) return undefined;
    if (state === "unsupported") return this.refresh();
    while (this.#watch.state !== "closed") {
      await this.#watch.attempted();
      if (this.#watch.covers(name)) return undefined;
      if (this.#watch.state !== "live") return this.refresh();
      this.#use(name);
    }
    throw closedError();
  }

  async #renewOnce(): Promise<void> {
    const { state } = this.#watch;
    if (state === "live") return;
    if (state === "opening" || state === "paused") {
      const isOver = await this.#attempted();
      if (!isOver || this.#watch.state === "live") return;
    }
    await this.tryRefresh();
  }

  /** Again and again while a topic is waited for: another waiter may have given it up. */
  #use(name: string): void {
    this.#wanted.add(name);
    this.#watch.follow();
  }

  #forget(name: string): void {
    this.#wanted.delete(name);
    this.#view.keepOnly(this.#wanted);
  }

  /** False when the attempt to open the watch takes longer than a request should wait. */
  async #attempted(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const cancel = this.#context.clock.timer(renewMs, () => resolve(false));
    void this.#watch.attempted().then(() => resolve(true));
    try {
      return await promise;
    } finally {
      cancel();
    }
  }

  /** Resolves at the next change, or after `ms`. */
  async #change(ms: number, signal?: AbortSignal): Promise<void> {
    const changed = new AbortController();
    const stop = this.#view.onChange(() => changed.abort());
    const signals = signal === undefined ? [changed.signal] : [changed.signal, signal];
    try {
      await this.#context.clock.sleep(ms, AbortSignal.any(signals));
    } catch (thrown) {
      if (signal?.aborted === true) throw thrown;
    } finally {
      stop();
    }
  }

  async #refreshOnce(): Promise<void> {
    const topics = [...this.#wanted];
    const answer = await this.#ask(topics);
    this.#trouble = undefined;
    const { generation } = this.#view;
    this.#view.takeAnswer(answer, topics, this.#wanted);
    this.#coordinators = answer.groupCoordinators.flatMap(({ coordinatorId, endpoint: told }) => {
      const endpoint = dialable(told);
      return endpoint === undefined ? [] : { coordinatorId, endpoint };
    });
    const isOther = Buffer.compare(generation, this.#view.generation) !== 0;
    if (isOther && generation.length > 0) this.#watch.restart();
    this.#armTimer();
  }

  #armTimer(): void {
    this.#cancelTimer();
    if (this.#closing.signal.aborted) return;
    this.#cancelTimer = this.#context.clock.timer(this.#context.maxAgeMs, () => {
      if (this.#watch.state === "live") this.#armTimer();
      else void this.tryRefresh();
    });
  }

  async #ask(
    topics: readonly string[],
    groups: readonly string[] = [],
  ): Promise<GetMetadataResponse> {
    const { connections, callTimeoutMs: timeoutMs } = this.#context;
    const request = create(GetMetadataRequestSchema, {
      ...{ topics: [...topics], groups: [...groups] },
      minRevision: this.#view.minRevision,
      generation: this.#view.generation,
    });
    const failed = new Map<string, MillraceError>();
    try {
      return await this.#servers.firstAnswer(async (endpoint, signal) => {
        const options = { timeoutMs, signal };
        try {
          const answer = await connections.unary(endpoint, methods.getMetadata, request, options);
          this.#view.check(answer, endpoint);
          return answer;
        } catch (thrown) {
          failed.set(formatEndpoint(endpoint), MillraceError.from(thrown));
          throw thrown;
        }
      }, this.#closing.signal);
    } catch (thrown) {
      const error = noAnswer(MillraceError.from(thrown), failed);
      this.#trouble = error;
      throw error;
    }
  }
}

const unserved = (group: string): MillraceError =>
  MillraceError.refusal(
    ErrorCode.NOT_COORDINATOR,
    `nobody serves the group ${JSON.stringify(group)} at the moment: look at the coordinators`,
  );

const groupless = (level: number): MillraceError =>
  MillraceError.refusal(
    ErrorCode.UNSUPPORTED_OPERATION,
    `the servers have feature level ${level}, and groups need ${groupsLevel}: upgrade them`,
  );

/** The text of an error without what to do, which is said once for all servers. */
const reasonOf = (server: string, { message }: MillraceError): string => {
  const [what = ""] = message.split(": ", 1);
  return what.includes(server) ? what : `${server}: ${what}`;
};

/** Why no server told the metadata. */
const noAnswer = (
  last: MillraceError,
  failed: ReadonlyMap<string, MillraceError>,
): MillraceError => {
  if (last.code === ErrorCode.UNSUPPORTED_OPERATION) {
    return new MillraceError(
      last.code,
      `${[...failed.keys()].at(-1) ?? "the server"} speaks gRPC and has no service for clients: it may be the ` +
        "port for health checks (7402 by default), the one between servers (7401), or a controller: " +
        "set bootstrap to brokers, at their port for clients (7400)",
      { cause: last },
    );
  }
  if (!isSilence(last)) return last;
  const reasons = [...failed].map(([server, error]) => reasonOf(server, error));
  return new MillraceError(
    ErrorCode.UNAVAILABLE,
    `no server answers (${reasons.join("; ") || last.message}): check bootstrap, the servers and ` +
      "the network",
    { cause: last },
  );
};
