/** Measures, while a plan is carried out, how far its copies are and what brokers have room for. */
import type { Clock, Logger } from "@millrace/env";
import { RebalanceState } from "@millrace/proto/common";
import type { StateMirror } from "../cluster-state.ts";
import type { BrokerWatch } from "../heartbeats/watch.ts";
import { rebalanceLimits } from "../limits.ts";
import { askLoads, type Loads, type LoadsContext } from "./loads.ts";
import { Pace } from "./pace.ts";
import { addedBy, keyOfMove, Outcome, type RunningPlan } from "./steps.ts";
import type { Measured } from "./traffic.ts";

export interface GaugeOptions extends LoadsContext {
  readonly state: Pick<StateMirror, "current">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Hears the brokers' beats. */
  readonly watch: Pick<BrokerWatch, "commitLagsMs">;
}

/** Topics whose logs are asked for at once. */
const topicsMax = 100;

export class Gauge {
  readonly #options: GaugeOptions;
  /** By broker, when it was first seen to be missing, ms. */
  readonly #missing = new Map<number, number>();
  #lagBytes: ReadonlyMap<string, number> = new Map();
  #freeBytes: ReadonlyMap<number, number> = new Map();
  #pace = new Pace();
  #movesPerBroker = 1;
  /** When the next measurement is due, ms; undefined while one is under way. */
  #dueMs: number | undefined = 0;
  /** Rises when nothing is measured any more. */
  #turn = 0;

  constructor(options: GaugeOptions) {
    this.#options = options;
  }

  get measured(): Measured {
    const { brokerGoneMs } = rebalanceLimits;
    const nowMs = this.#options.clock.monoMs();
    const gone = [...this.#missing].filter(([, sinceMs]) => nowMs - sinceMs >= brokerGoneMs);
    return {
      lagBytes: this.#lagBytes,
      freeBytes: this.#freeBytes,
      ...{ commitLagMs: this.#options.watch.commitLagsMs(), movesPerBroker: this.#movesPerBroker },
      gone: new Set(gone.map(([id]) => id)),
    };
  }

  /** Sees who is missing, and asks the brokers of unfinished moves when that is due. */
  watch(plan: RunningPlan): void {
    const { clock, state } = this.#options;
    const { brokers } = state.current;
    const nowMs = clock.monoMs();
    for (const { brokerId: id } of plan.record.before) {
      if (brokers.has(id)) this.#missing.delete(id);
      else if (!this.#missing.has(id)) this.#missing.set(id, nowMs);
    }
    const { movesPerBrokerMax, outcomes, state: stage } = plan.record;
    const longestMs = Math.max(0, ...this.#options.watch.commitLagsMs().values());
    this.#movesPerBroker = this.#pace.look(longestMs, movesPerBrokerMax, nowMs);
    const isQuiet = stage !== RebalanceState.REBALANCING && !outcomes.includes(Outcome.moving);
    if (isQuiet || this.#dueMs === undefined || nowMs < this.#dueMs) return;
    this.#dueMs = undefined;
    void this.#measure(plan);
  }

  /** No plan is carried out. */
  stop(): void {
    this.#turn += 1;
    this.#missing.clear();
    this.#pace = new Pace();
    this.#movesPerBroker = 1;
    this.#lagBytes = new Map();
    this.#freeBytes = new Map();
    this.#dueMs = 0;
  }

  /** Never rejects. */
  async #measure({ moves, record }: RunningPlan): Promise<void> {
    const { clock, logger, state } = this.#options;
    const turn = this.#turn;
    const { brokers, partitions } = state.current;
    const wanted = new Set<number>();
    const topics = new Set<string>();
    const unfinished = moves.filter((_, i) => (record.outcomes[i] ?? 0) <= Outcome.moving);
    const moving = moves.filter((_, i) => record.outcomes[i] === Outcome.moving);
    for (const move of [...moving, ...unfinished]) {
      if (topics.size >= topicsMax && !topics.has(move.topic)) continue;
      topics.add(move.topic);
      for (const id of addedBy(move)) wanted.add(id);
      const { leader } = partitions.get(keyOfMove(move))?.record ?? {};
      if (leader !== undefined) wanted.add(leader);
    }
    const known = [...wanted].filter((id) => brokers.has(id));
    const loads = await askLoads(this.#options, known, [...topics]);
    if (turn !== this.#turn) return;
    this.#dueMs = clock.monoMs() + rebalanceLimits.lagIntervalMs;
    for (const [broker, why] of loads.failures) {
      logger.debug({ broker, why }, "a broker does not tell how far its copies are");
    }
    this.#lagBytes = new Map(
      moving.flatMap((move): [string, number][] => {
        const lag = this.#lagOf(keyOfMove(move), loads);
        return lag === undefined ? [] : [[keyOfMove(move), lag]];
      }),
    );
    this.#freeBytes = new Map(
      [...loads.logs].flatMap(([id, { freeBytes }]): [number, number][] =>
        freeBytes === undefined ? [] : [[id, freeBytes]],
      ),
    );
  }

  /** Bytes that the new replicas of a partition lack; undefined where nobody can tell. */
  #lagOf(key: string, { logs }: Loads): number | undefined {
    const { adding = [], leader } = this.#options.state.current.partitions.get(key)?.record ?? {};
    const whole = leader === undefined ? undefined : logs.get(leader)?.bytes.get(key);
    if (whole === undefined) return undefined;
    const has = (id: number): number => logs.get(id)?.bytes.get(key) ?? 0;
    return adding.reduce((sum, id) => sum + Math.max(0, whole - has(id)), 0);
  }
}
