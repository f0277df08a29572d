/** What copies ask of brokers at the moment, and whether one more is too much. Pure. */
import type { ClusterState } from "../cluster-state.ts";
import { rebalanceLimits } from "../limits.ts";
import { originalOf } from "../reassignment.ts";

/** What was measured while a plan is carried out. */
export interface Measured {
  /** Bytes that the new replicas of a partition lack, by its key. Absent: not measured yet. */
  readonly lagBytes: ReadonlyMap<string, number>;
  /** By broker, as far as they tell. */
  readonly freeBytes: ReadonlyMap<number, number>;
  /** By leader: how long its records have waited to be committed, ms. */
  readonly commitLagMs: ReadonlyMap<number, number>;
  /** Moves that a broker may take part in at the moment; no more than the plan allows. */
  readonly movesPerBroker: number;
  /** Brokers that have not been registered for long. */
  readonly gone: ReadonlySet<number>;
}

const seconds = (ms: number): string => (ms / 1000).toFixed(1);

export class BrokerTraffic {
  readonly #measured: Measured;
  readonly #movesMax: number;
  /** By broker: moves that it takes part in, and bytes that these have yet to copy. */
  readonly #moves = new Map<number, number>();
  readonly #lagBytes = new Map<number, number>();
  /** Bytes that are on their way to a broker. */
  readonly #comingBytes = new Map<number, number>();
  /** Brokers with a partition below its minimum, which have better things to do. */
  readonly #busy: ReadonlyMap<number, string>;

  constructor(state: ClusterState, measured: Measured, movesMax: number) {
    this.#measured = measured;
    this.#movesMax = Math.min(movesMax, measured.movesPerBroker);
    this.#busy = busyBrokers(state);
  }

  /** A move that is under way, or begins. */
  add(key: string, leader: number | undefined, added: readonly number[], bytes: number): void {
    if (added.length === 0) return;
    const lag = this.#measured.lagBytes.get(key) ?? bytes * added.length;
    const parties = leader === undefined ? added : [...added, leader];
    for (const id of parties) {
      this.#moves.set(id, (this.#moves.get(id) ?? 0) + 1);
      this.#lagBytes.set(id, (this.#lagBytes.get(id) ?? 0) + lag);
    }
    for (const id of added) {
      this.#comingBytes.set(id, (this.#comingBytes.get(id) ?? 0) + lag / added.length);
    }
  }

  /**
   * Why a copy does not begin; undefined: it may. Empty where the moves under way are as many as
   * there may be, which is no trouble.
   */
  holds(leader: number, added: readonly number[], bytes: number): string | undefined {
    const { commitLagMs, freeBytes } = this.#measured;
    for (const id of [...added, leader]) {
      const busy = this.#busy.get(id);
      if (busy !== undefined) return busy;
      if ((this.#moves.get(id) ?? 0) >= this.#movesMax) return "";
      if ((this.#lagBytes.get(id) ?? 0) > rebalanceLimits.lagBytesMax) {
        return `copies that broker ${id} takes part in have yet to catch up`;
      }
    }
    const lagMs = commitLagMs.get(leader) ?? 0;
    if (lagMs > rebalanceLimits.commitLagMsMax) {
      return `records of broker ${leader} wait ${seconds(lagMs)} s to be committed`;
    }
    const full = added.find((id) => {
      const free = freeBytes.get(id);
      return free !== undefined && (this.#comingBytes.get(id) ?? 0) + bytes > free;
    });
    return full === undefined ? undefined : `broker ${full} has no room for it yet`;
  }
}

/** Registered brokers of partitions below their minimum, or without a leader: with which one. */
const busyBrokers = (state: ClusterState): ReadonlyMap<number, string> => {
  const busy = new Map<number, string>();
  for (const { record, topicId } of state.partitions.values()) {
    const topic = state.topics.get(topicId);
    if (topic === undefined) continue;
    const min = Math.min(topic.minInsyncReplicas, originalOf(record).length);
    if (record.isr.length >= min && record.leader !== undefined) continue;
    const name = `${topic.name}-${record.partition}`;
    for (const id of record.replicas) {
      if (!state.brokers.has(id) || busy.has(id)) continue;
      busy.set(id, `broker ${id} has a partition below min.insync.replicas, ${name}`);
    }
  }
  return busy;
};
