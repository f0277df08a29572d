/** The shards that a coordinator serves, and the streams of their members. */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { ErrorCode, type LeaderHint, MillraceError } from "@millrace/errors";
import { crcOf } from "@millrace/record";
import type { Target } from "../group/assignments.ts";
import type { NamePattern, Push, Session, Topics } from "../group/types.ts";
import { limits } from "../limits.ts";
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
}

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
}

const utf8 = new TextEncoder();

/** The shard of a group. Never changes: what is known of the group lies there. */
export const shardOf = (group: string, shardCount: number): number =>
  crcOf(utf8.encode(group)) % shardCount;

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

  /** Shards that are loaded. */
  get shards(): readonly Shard[] {
    return [...this.#hosted.values()].flatMap(({ runner }) => runner.shard ?? []);
  }

  get streamCount(): number {
    return this.#streams.size;
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
    const hosted = { runner, loading: Promise.resolve(), cancel: () => {}, pauseMs };
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
    const { assign, clock, logOf, offsetsRetentionMs, patternOf } = this.#setup;
    const { membersMax, offsetMetadataBytesMax } = limits;
    return new ShardRunner({
      ...{ clock, assign, limits },
      log: logOf(shard),
      empty: () =>
        new Shard({ membersMax, offsetMetadataBytesMax, offsetsRetentionMs }, this.#topics),
      replay: (of, encoded) => {
        const record = decodeRecord(encoded, patternOf);
        if (record !== undefined) of.replay(record);
      },
      push: (push) => this.#streams.get(push.session)?.push(push),
      failed: (error) => this.#failed(shard, error),
    });
  }

  #load(shard: number, hosted: Hosted): void {
    const { runner } = hosted;
    hosted.loading = runner.start().then(
      () => {
        hosted.pauseMs = limits.reloadMs;
        // They may have changed since the shard was made.
        runner.apply((of) => of.topicsChanged(this.#topics));
      },
      (thrown: unknown) => this.#failed(shard, MillraceError.from(thrown)),
    );
  }

  #failed(shard: number, err: MillraceError): void {
    const hosted = this.#hosted.get(shard);
    if (hosted === undefined) return;
    const { clock, logger } = this.#setup;
    logger.warn({ shard, err }, "a shard of groups cannot go on: loading it again");
    this.#endStreams(shard);
    hosted.runner.stop();
    hosted.runner = this.#runner(shard);
    hosted.cancel = clock.timer(hosted.pauseMs, () => this.#load(shard, hosted));
    hosted.pauseMs = Math.min(2 * hosted.pauseMs, limits.reloadMsMax);
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
