/** The shards that a coordinator serves, and the streams of their members. */
import { shardOf } from "@millrace/broker";
import type { Cancel, Clock, Logger } from "@millrace/env";
import { ErrorCode, type LeaderHint, MillraceError } from "@millrace/errors";
import type { Target } from "../group/assignments.ts";
import type { NamePattern, Push, Session, Topics } from "../group/types.ts";
import { limits } from "../limits.ts";
import { type GroupMetrics, noMetrics } from "../metrics.ts";
import { decodeRecord } from "../shard/records.ts";
import { Shard, type TargetRequest } from "../shard/shard.ts";
import type { ShardLog } from "./shard-log.ts";
import { ShardRunner } from "./shard-runner.ts";

export interface CoordinatorSetup {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Shards of the cluster: never changes. */
  readonly shardCount: number;
  readonly topics: Topics;
  readonly logOf: (shard: number) => ShardLog;
  readonly patternOf: (text: string) => NamePattern;
  readonly assign: (request: TargetRequest) => Promise<Target>;
  /** The coordinator that serves a shard, as far as it is known. */
  readonly hintOf: (shard: number) => LeaderHint | undefined;
  /** Offsets are kept so long, milliseconds. */
  readonly offsetsRetentionMs: number;
  /**
   * Resolves once this process knows the metadata as they are now; rejects when they cannot be
   * asked for. Without it they are always known.
   */
  readonly caughtUp?: () => Promise<unknown>;
  readonly metrics?: GroupMetrics;
}

/** For metrics. */
export interface CoordinatorState {
  readonly groups: number;
  readonly members: number;
  readonly shardsLoaded: number;
  readonly shardsLoading: number;
  readonly streams: number;
  readonly queuedBytes: number;
}

export const idle: CoordinatorState = {
  ...{ groups: 0, members: 0, shardsLoaded: 0, shardsLoading: 0, streams: 0, queuedBytes: 0 },
};

/** An open stream of a member. */
export interface MemberStream {
  readonly shard: number;
  push(push: Push): void;
  /** The shard is not served here any more. */
  end(error: MillraceError): void;
}

interface Hosted {
  runner: ShardRunner;
  /** Resolves once it is loaded, or an attempt has failed. */
  loading: Promise<void>;
  /** Of the next attempt to load it. */
  cancel: Cancel;
  pauseMs: number;
  /** When it was loaded. */
  loadedMs: number;
  isLoading: boolean;
}

export class Coordinator {
  readonly #setup: CoordinatorSetup;
  readonly #hosted = new Map<number, Hosted>();
  readonly #streams = new Map<Session, MemberStream>();
  #topics: Topics;
  #lastSession = 0;

  constructor(setup: CoordinatorSetup) {
    this.#setup = setup;
    this.#topics = setup.topics;
  }

  get topics(): Topics {
    return this.#topics;
  }

  get shardCount(): number {
    return this.#setup.shardCount;
  }

  /** Shards that are loaded. */
  get shards(): readonly Shard[] {
    return [...this.#hosted.values()].flatMap(({ runner }) => runner.shard ?? []);
  }

  get state(): CoordinatorState {
    const groups = this.shards.flatMap((shard) => [...shard.groups.values()]);
    const runners = [...this.#hosted.values()].map(({ runner }) => runner);
    const shardsLoaded = runners.filter(({ shard }) => shard !== undefined).length;
    return {
      groups: groups.length,
      members: groups.reduce((sum, { members }) => sum + members.size, 0),
      ...{ shardsLoaded, shardsLoading: runners.length - shardsLoaded },
      streams: this.#streams.size,
      queuedBytes: runners.reduce((sum, { queuedBytes }) => sum + queuedBytes, 0),
    };
  }

  shardOf(group: string): number {
    return shardOf(group, this.#setup.shardCount);
  }

  /**
   * The runner of a group's shard, which is waited for a while if it is being loaded. Throws
   * NOT_COORDINATOR, with a hint where one is known.
   */
  async runnerOf(group: string): Promise<ShardRunner> {
    const shard = this.shardOf(group);
    const hosted = this.#hosted.get(shard);
    if (hosted === undefined) throw this.#notCoordinator(shard);
    if (hosted.runner.shard === undefined) {
      const timeout = Promise.withResolvers<void>();
      const cancel = this.#setup.clock.timer(limits.loadWaitMs, timeout.resolve);
      await Promise.race([hosted.loading, timeout.promise]);
      cancel();
    }
    return hosted.runner;
  }

  /** Begins to serve a shard: it is loaded first, and again whenever it fails. */
  host(shard: number): void {
    if (this.#hosted.has(shard)) return;
    const runner = this.#runner(shard);
    const { reloadMs: pauseMs } = limits;
    const hosted = {
      ...{ runner, loading: Promise.resolve(), cancel: () => {}, pauseMs, loadedMs: 0 },
      isLoading: false,
    };
    this.#hosted.set(shard, hosted);
    this.#load(shard, hosted);
  }

  /** Stops serving a shard: another coordinator does. */
  drop(shard: number): void {
    const hosted = this.#hosted.get(shard);
    if (hosted === undefined) return;
    this.#hosted.delete(shard);
    hosted.cancel();
    hosted.runner.stop();
    this.#endStreams(shard);
  }

  close(): void {
    for (const shard of [...this.#hosted.keys()]) this.drop(shard);
  }

  topicsChanged(topics: Topics): void {
    this.#topics = topics;
    for (const { runner } of this.#hosted.values())
      runner.apply((shard) => shard.topicsChanged(topics));
  }

  /** A stream opens; the number that its member's commands carry. */
  opened(stream: MemberStream): Session {
    this.#lastSession += 1;
    this.#streams.set(this.#lastSession, stream);
    return this.#lastSession;
  }

  closed(session: Session): void {
    this.#streams.delete(session);
  }

  #runner(shard: number): ShardRunner {
    const {
      assign,
      clock,
      logOf,
      metrics = noMetrics,
      offsetsRetentionMs,
      patternOf,
    } = this.#setup;
    const { membersMax, offsetMetadataBytesMax } = limits;
    const runner: ShardRunner = new ShardRunner({
      ...{ clock, assign, limits, metrics },
      log: logOf(shard),
      empty: () =>
        new Shard({ membersMax, offsetMetadataBytesMax, offsetsRetentionMs }, this.#topics),
      replay: (of, encoded) => {
        const record = decodeRecord(encoded, patternOf);
        if (record !== undefined) of.replay(record);
      },
      push: (push) => this.#streams.get(push.session)?.push(push),
      failed: (error) => this.#failed(shard, runner, error),
    });
    return runner;
  }

  #load(shard: number, hosted: Hosted): void {
    const { runner } = hosted;
    const { clock, logger } = this.#setup;
    const fromMs = clock.monoMs();
    hosted.isLoading = true;
    hosted.loading = runner.start().then(
      () => {
        hosted.isLoading = false;
        hosted.loadedMs = clock.monoMs();
        const loadMs = Math.round(hosted.loadedMs - fromMs);
        logger.debug(
          { shard, load_ms: loadMs, groups: runner.shard?.groups.size },
          "a shard is loaded",
        );
        // They may have changed since the shard was made.
        runner.apply((of) => of.topicsChanged(this.#topics));
      },
      (thrown: unknown) => this.#failed(shard, runner, MillraceError.from(thrown)),
    );
  }

  #failed(shard: number, runner: ShardRunner, err: MillraceError): void {
    const hosted = this.#hosted.get(shard);
    // It was dropped, and perhaps is hosted anew.
    if (hosted?.runner !== runner) return;
    const { clock, logger } = this.#setup;
    logger.warn({ shard, err }, "a shard of groups cannot go on: loading it again");
    this.#endStreams(shard);
    runner.stop();
    hosted.runner = this.#runner(shard);
    hosted.isLoading = false;
    const isFenced = err.code === ErrorCode.END_OFFSET_MISMATCH;
    const pauseMsMax = isFenced ? limits.fencedMsMax : limits.reloadMsMax;
    if (clock.monoMs() - hosted.loadedMs > pauseMsMax) hosted.pauseMs = limits.reloadMs;
    this.#loadIn(shard, hosted, hosted.pauseMs);
    hosted.pauseMs = Math.min(2 * hosted.pauseMs, pauseMsMax);
    if (isFenced) void this.#loadIfOurs(shard, hosted);
  }

  #loadIn(shard: number, hosted: Hosted, ms: number): void {
    hosted.cancel();
    hosted.cancel = this.#setup.clock.timer(ms, () => this.#load(shard, hosted));
  }

  /**
   * Another coordinator has appended. If the newest metadata say that the shard is served here, it
   * does not need to wait. One that cannot know does: two that take a shard from one another all
   * the time serve nobody.
   */
  async #loadIfOurs(shard: number, hosted: Hosted): Promise<void> {
    const { runner } = hosted;
    try {
      await this.#setup.caughtUp?.();
    } catch {
      return;
    }
    if (this.#hosted.get(shard) !== hosted || hosted.runner !== runner) return;
    if (runner.shard !== undefined || hosted.isLoading) return;
    this.#loadIn(shard, hosted, limits.reloadMs);
  }

  #endStreams(shard: number): void {
    for (const stream of [...this.#streams.values()]) {
      if (stream.shard === shard) stream.end(this.#notCoordinator(shard));
    }
  }

  #notCoordinator(shard: number): MillraceError {
    const hint = this.#setup.hintOf(shard);
    return MillraceError.refusal(
      ErrorCode.NOT_COORDINATOR,
      "this coordinator does not serve the group: ask GetMetadata which one does",
      hint === undefined ? {} : { leaderHint: hint },
    );
  }
}
