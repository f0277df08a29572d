/**
 * Carries out the plan of the metadata store, in one reign: which moves are over, which begin. All
 * that it has to remember is in the plan's record, so the next reign goes on where this one ends.
 */
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  decodeRecord,
  encodeRecord,
  type KeyValue,
  keys,
  type Mirror,
} from "@millrace/metadata";
import { RebalanceState } from "@millrace/proto/common";
import type { RebalanceMove, RebalancesRecord } from "@millrace/proto/storage";
import type { Dialer } from "@millrace/rpc";
import type { StateMirror } from "../cluster-state.ts";
import type { BrokerWatch } from "../heartbeats/watch.ts";
import { rebalanceLimits } from "../limits.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { unchangedPlacement } from "../placement.ts";
import type { Reign } from "../reign.ts";
import { Gauge } from "./gauge.ts";
import { askLoads, type Loads } from "./loads.ts";
import {
  isRunning,
  isUnchanged,
  putIndex,
  putPlan,
  type Stored,
  type StoredPlan,
} from "./plans.ts";
import { keyOfMove, nextStep, Outcome, type Step } from "./steps.ts";

export interface RebalancerOptions {
  readonly mirror: Mirror;
  readonly state: StateMirror;
  readonly reign: Reign;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Reaches the brokers. */
  readonly dialer: Dialer;
  /** Hears their beats. */
  readonly watch: Pick<BrokerWatch, "commitLagsMs">;
  readonly metrics: Pick<ControllerMetrics, "onFailure" | "onRebalance">;
}

/** A plan with its moves, as the mirror has them. */
interface LoadedPlan extends StoredPlan {
  readonly index: Stored<RebalancesRecord>;
  readonly moves: readonly RebalanceMove[];
}

/** Pause between two rounds, so that a busy cluster is not looked at all the time, ms. */
const pauseMs = 500;
/** Pause after a failure, ms; doubles with every one in a row. */
const retryMsMin = 100;
const retryMsMax = 5_000;
/** Longest wait for the mirror to have read what was written, ms. */
const mirrorTimeoutMs = 10_000;

export class Rebalancer {
  readonly #options: RebalancerOptions;
  readonly #gauge: Gauge;
  #moves:
    | { readonly values: readonly KeyValue[]; readonly moves: readonly RebalanceMove[] }
    | undefined;
  #plan: LoadedPlan | undefined;
  #waiting = "";
  /** Partitions that the next step may change. */
  #stepMax: number = rebalanceLimits.movesPerStep;
  #again = true;
  #failures = 0;
  #wake: () => void = () => {};
  #cancelLook: Cancel = () => {};

  constructor(options: RebalancerOptions) {
    this.#options = options;
    this.#gauge = new Gauge(options);
    const stopListening = options.mirror.onChange(() => this.#kick());
    options.reign.onEnd(() => {
      stopListening();
      this.#cancelLook();
      options.metrics.onRebalance(0, 0);
      this.#kick();
    });
    void this.#run();
  }

  /** Moves of this plan under way with the bytes that they lack, and why others wait. */
  progressOf(rebalanceId: number) {
    const plan = this.#plan;
    if (plan?.record.rebalanceId !== rebalanceId) return { ongoing: [], waiting: "" };
    const ongoing = plan.moves
      .filter((_, i) => plan.record.outcomes[i] === Outcome.moving)
      .map((move) => ({ move, lagBytes: this.#gauge.measured.lagBytes.get(keyOfMove(move)) }));
    return { ongoing, waiting: this.#waiting };
  }

  /** What brokers tell of all their logs, and their disks. Never rejects. */
  askLoads(brokers: Iterable<number>): Promise<Loads> {
    return askLoads(this.#options, brokers);
  }

  #kick(): void {
    this.#again = true;
    this.#wake();
  }

  async #run(): Promise<void> {
    const { clock, logger, metrics, random, reign } = this.#options;
    while (reign.isActive) {
      try {
        await this.#round();
        this.#failures = 0;
      } catch (thrown) {
        if (!reign.isActive || hasCode(thrown, ErrorCode.NOT_CONTROLLER)) return;
        metrics.onFailure();
        logger.warn({ err: MillraceError.from(thrown) }, "a rebalance cannot go on: trying again");
        const ms = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(this.#failures, 10));
        this.#failures += 1;
        this.#again = true;
        await clock.sleep(ms * (0.5 + random.float()));
      }
    }
  }

  /** Waits for something to do, and does it once. */
  async #round(): Promise<void> {
    const { clock, metrics, reign, state } = this.#options;
    if (!this.#again) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    this.#again = false;
    // The mirror may lack what the controller before has done.
    if (!reign.isActive || state.current.revision < reign.epoch) return;
    this.#plan = await this.#load();
    this.#cancelLook();
    if (this.#plan === undefined) {
      this.#gauge.stop();
      metrics.onRebalance(0, 0);
      return;
    }
    this.#cancelLook = clock.timer(rebalanceLimits.lookIntervalMs, () => this.#kick());
    this.#gauge.watch(this.#plan);
    const { measured } = this.#gauge;
    const step = nextStep(this.#plan, state.current, measured, this.#stepMax, clock.wallMs());
    this.#waiting = step.waiting;
    const { outcomes } = step.record ?? this.#plan.record;
    const count = (outcome: number): number => outcomes.filter((one) => one === outcome).length;
    metrics.onRebalance(count(Outcome.waiting), count(Outcome.moving));
    if (step.record === undefined) await clock.sleep(pauseMs);
    else await this.#write(this.#plan, step, step.record);
  }

  /** One transaction: the plan's record, and the partitions that begin to move or go back. */
  async #write(
    plan: LoadedPlan,
    { changes }: Step,
    record: NonNullable<Step["record"]>,
  ): Promise<void> {
    const { mirror, reign, state } = this.#options;
    const { rebalanceId } = record;
    const isOver = !isRunning(record);
    const compares: Compare[] = [isUnchanged(keys.rebalance(rebalanceId), plan)];
    if (changes.length > 0) compares.push(unchangedPlacement(state.current.placement));
    if (isOver) compares.push(isUnchanged(keys.rebalanceIndex, plan.index));
    const topics = new Map(changes.map(({ topic }) => [keys.topic(topic.name), topic]));
    for (const [key, topic] of topics) compares.push(isUnchanged(key, topic));
    for (const change of changes) compares.push(isUnchanged(change.key, change));
    const { succeeded, revision } = await reign.write(compares, [
      putPlan(record),
      ...(isOver ? [putIndex({ ...plan.index.record, runningId: 0 })] : []),
      ...changes.map(({ key, record: partition }) => ({
        ...{ type: "put" as const, key, value: encodeRecord.partition(partition) },
      })),
    ]);
    this.#again = true;
    // A partition that keeps changing must not hold up the others.
    const { movesPerStep } = rebalanceLimits;
    this.#stepMax = succeeded
      ? Math.min(movesPerStep, 2 * this.#stepMax)
      : Math.max(1, changes.length >> 1);
    if (succeeded) this.#report(plan, changes.length, record.state);
    else await this.#options.clock.sleep(pauseMs);
    if (await mirror.waitForRevision(revision, mirrorTimeoutMs)) return;
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      `the mirror of the metadata has not reached revision ${revision} within ${mirrorTimeoutMs} ms: ` +
        "check the metadata store",
    );
  }

  #report(plan: LoadedPlan, changes: number, after: RebalanceState): void {
    const { rebalanceId: rebalance, state: before } = plan.record;
    const { logger } = this.#options;
    if (changes > 0) logger.debug({ rebalance, partitions: changes }, "moves of a rebalance begin");
    if (after === before) return;
    const state = RebalanceState[after].toLowerCase();
    logger.info({ rebalance, state, moves: plan.moves.length }, "a rebalance is over");
  }

  /** The plan that the metadata names; undefined: there is none. */
  async #load(): Promise<LoadedPlan | undefined> {
    const { mirror } = this.#options;
    const found = mirror.get(keys.rebalanceIndex);
    if (found === undefined) return undefined;
    const index = { record: decodeRecord.rebalanceIndex(found), modRevision: found.modRevision };
    const id = index.record.runningId;
    if (id === 0) return undefined;
    const kv = mirror.get(keys.rebalance(id));
    if (kv === undefined) {
      await this.#giveUp(index, undefined, `rebalance ${id} has no record`);
      return undefined;
    }
    const record = decodeRecord.rebalance(kv);
    const stored = { record, modRevision: kv.modRevision };
    const moves = this.#movesOf(id, record.outcomes.length);
    if (moves !== undefined) return { ...stored, index, moves };
    const why = "its moves are not all in the metadata store: make another plan";
    await this.#giveUp(index, stored, why);
    return undefined;
  }

  /**
   * Undefined where they are not what the record counts. Decoded once for each value of the mirror:
   * a store that was restored may have other moves under the same id.
   */
  #movesOf(id: number, count: number): readonly RebalanceMove[] | undefined {
    const values: KeyValue[] = [];
    for (let chunk = 0; chunk * rebalanceLimits.movesPerChunk < count; chunk += 1) {
      const kv = this.#options.mirror.get(keys.rebalanceMoves(id, chunk));
      if (kv === undefined) return undefined;
      values.push(kv);
    }
    const known = this.#moves;
    const isSame = values.every((kv, i) => kv === known?.values[i]);
    if (isSame && known?.moves.length === count) return known.moves;
    const moves = values.flatMap((kv) => decodeRecord.rebalanceMoves(kv).moves);
    if (moves.length !== count) return undefined;
    this.#moves = { values, moves };
    return moves;
  }

  /** Without its moves a plan cannot go on. Those under way end as every reassignment does. */
  async #giveUp(
    index: Stored<RebalancesRecord>,
    plan: StoredPlan | undefined,
    reason: string,
  ): Promise<void> {
    const { clock, logger, mirror, reign } = this.#options;
    logger.error({ rebalance: index.record.runningId, reason }, "a rebalance has failed");
    const endedAtMs = BigInt(clock.wallMs());
    const failed = plan && { ...plan.record, state: RebalanceState.FAILED, reason, endedAtMs };
    const compares = [isUnchanged(keys.rebalanceIndex, index)];
    if (plan !== undefined) {
      compares.push(isUnchanged(keys.rebalance(plan.record.rebalanceId), plan));
    }
    const { revision } = await reign.write(compares, [
      putIndex({ ...index.record, runningId: 0 }),
      ...(failed === undefined ? [] : [putPlan(failed)]),
    ]);
    await mirror.waitForRevision(revision, mirrorTimeoutMs);
  }
}
